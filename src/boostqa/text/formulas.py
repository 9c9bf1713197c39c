"""Whether two LaTeX formulas are the same, by parsing both and trying numbers.

Parsing is math-verify's LaTeX grammar. Its plain-expression parser is not used because it evaluates text, and
neither are its time-outs (signals, which only work in a main thread) nor simplification (unbounded): what is
parsed is limited in length, depth and exponents first, and compared by value at fixed points.
"""

from __future__ import annotations

import logging
import re
from typing import Any

MAX_LENGTH = 200
_COSTLY = re.compile(
    r"\\(?:int|iint|oint|sum|prod|lim|binom|input|def|newcommand|begin)\b|\d{16,}|\d{3,}\s*!|!\s*!"
)
_BIG_POWER = re.compile(r"\^\s*\{?\s*-?\s*(?:\d{4,}|\d+\s*\^)|\^[^^]*\^[^^]*\^[^^]*\^|\}\s*\}\s*\^")
_PAIR = re.compile(r"(?:\\left)?\(([^()]*,[^()]*?)(?:\\right)?\)")
_POINTS = (0.7312, -1.3174, 2.2391, 3.8147)


def parse(text: str) -> Any:
    """SymPy object of a formula without or with `$`, or None if it cannot be read or could be costly."""
    text = text.strip().strip("$").strip()
    text = text.removeprefix("\\(").removesuffix("\\)").removeprefix("\\[").removesuffix("\\]").strip()
    if (
        not text
        or len(text) > MAX_LENGTH
        or text.count("{") > 40
        or _COSTLY.search(text)
        or _BIG_POWER.search(text)
    ):
        return None
    if re.search(r"[^\x20-\x7e°π√×÷·≤≥∞]", text) or re.search(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}", text):
        return None
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    from math_verify import LatexExtractionConfig
    from math_verify import parse as read

    text = text.replace("°", "^\\circ").replace("π", "\\pi ").replace("×", "\\times ").replace("·", "\\cdot ")
    text = (
        re.sub(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi ", text)
        .replace("÷", "/")
        .replace("≤", "\\le ")
        .replace("≥", "\\ge ")
        .replace("∞", "\\infty ")
    )
    text = re.sub(r"√\s*(\d+|\w)", r"\\sqrt{\1}", text).replace("**", "^").replace("*", "\\cdot ")
    text = re.sub(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    found = read(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found and not isinstance(found[0], str) else None


def same(left: str, right: str) -> bool | None:
    """Whether two formulas are the same; None where one cannot be read or they cannot be compared."""
    pairs = [_PAIR.fullmatch(text.strip().strip("$").strip()) for text in (left, right)]
    if pairs[0] and pairs[1]:
        # Point or open interval: the same either way, and (2, 1) would be read as an empty interval.
        ours, theirs = pairs[0][1].split(","), pairs[1][1].split(",")
        if len(ours) != len(theirs):
            return False
        results = [same(a, b) for a, b in zip(ours, theirs, strict=True)]
        return False if False in results else None if None in results else True
    a, b = parse(left), parse(right)
    return None if a is None or b is None else _same(a, b)


def value(text: str) -> float | None:
    """Real value of a formula without symbols, or None."""
    found = _bare(parse(text))
    if found is None or not hasattr(found, "evalf") or getattr(found, "free_symbols", True):
        return None
    number = _number(found, {})
    return None if number is None or abs(number.imag) > 1e-12 else number.real


def _same(a: Any, b: Any) -> bool | None:
    import sympy

    a, b = _bare(a), _bare(b)
    if isinstance(a, sympy.MatrixBase) or isinstance(b, sympy.MatrixBase):
        if not (isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase)) or a.shape != b.shape:
            return None
        return _all_same(list(a), list(b))
    if isinstance(a, sympy.Tuple) and isinstance(b, sympy.Tuple):
        return _all_same(a.args, b.args) if len(a.args) == len(b.args) else False
    if _is_finite_set(a) and _is_finite_set(b):
        return _same_members(list(a.args), list(b.args))
    if isinstance(a, sympy.Interval) and isinstance(b, sympy.Interval):
        if (a.left_open, a.right_open) != (b.left_open, b.right_open):
            return False
        return _all_same([a.start, a.end], [b.start, b.end])
    if isinstance(a, sympy.core.relational.Relational) and isinstance(b, sympy.core.relational.Relational):
        if type(a) is type(b.reversed):
            b = b.reversed
        if type(a) is not type(b):
            return None
        return _same_value(a.lhs - a.rhs, b.lhs - b.rhs) or None
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return _same_value(a, b)
    return None


def _bare(value: Any) -> Any:
    """`x = 3` as 3, {3} as 3."""
    import sympy

    if isinstance(value, sympy.Eq) and value.lhs.is_Symbol and value.lhs not in value.rhs.free_symbols:
        return value.rhs
    if _is_finite_set(value) and len(value.args) == 1:
        return value.args[0]
    return value


def _is_finite_set(value: Any) -> bool:
    return type(value).__name__ == "FiniteSet"


def _all_same(left: Any, right: Any) -> bool | None:
    results = [_same(a, b) for a, b in zip(left, right, strict=True)]
    return False if False in results else None if None in results else True


def _same_members(left: list[Any], right: list[Any]) -> bool | None:
    if len(left) != len(right):
        return False
    unsure = False
    for item in left:
        results = [_same(item, other) for other in right]
        if True in results:
            right.pop(results.index(True))
        elif None in results:
            unsure = True
        else:
            return False
    return None if unsure else True


def _same_value(a: Any, b: Any) -> bool | None:
    """Compare at fixed points; None if the symbols differ or no point gives a number."""
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    if a.free_symbols != b.free_symbols and (a.free_symbols and b.free_symbols):
        return None
    compared = 0
    for shift, _ in enumerate(_POINTS):
        point = {symbol: _POINTS[(shift + i) % 4] + 0.1 * i for i, symbol in enumerate(symbols)}
        x, y = _number(a, point), _number(b, point)
        if x is None or y is None:
            continue
        if abs(x - y) > 1e-8 * max(1.0, abs(x), abs(y)):
            return False
        compared += 1
    return True if compared >= min(2, len(_POINTS)) else None


def _number(expression: Any, point: dict[Any, float]) -> complex | None:
    try:
        value = complex(expression.evalf(15, subs=point) if point else expression.evalf(15))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
    return value if abs(value) < 1e300 else None
