"""Whether two LaTeX formulas are the same, by parsing both and trying numbers.

Sets, intervals and points are taken apart as text; their members are parsed by math-verify's LaTeX grammar.
Its plain-expression parser is not used because it evaluates text, and neither are its time-outs (signals,
which only work in a main thread). SymPy is never asked to evaluate anything, because a few characters can
stand for more digits than there is memory: only commands that are known to be parsed without evaluation are
read, and what was parsed is worked out here in floating point, where nothing can grow without bound.
"""

from __future__ import annotations

import cmath
import logging
import math
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any

MAX_LENGTH = 200
"""Characters; a longer formula is not read."""
MAX_DEPTH = 6
"""Brackets within brackets; the parser's time grows steeply with them."""
MAX_MEMBERS = 12
"""Members of a set that are compared with those of another."""
MAX_CALLS = 3_000_000
"""Function calls and returns of the parser, whose time grows without bound with some texts; a usual formula
needs some ten thousand. A count is the same on every machine, a time is not."""
MAX_NODES = 500
"""Operations and operands of a parsed formula; one with more is not read."""
_COMMANDS = frozenset(
    """
    frac dfrac tfrac sqrt pi cdot times div le leq ge geq lt gt ne neq infty exp ln log sin cos tan cot sec csc
    arcsin arccos arctan sinh cosh tanh circ alpha beta delta epsilon varepsilon theta lambda mu nu rho
    sigma tau phi varphi psi omega Delta Omega left right text mathrm mathbf quad lfloor rfloor lceil rceil displaystyle
    """.split()  # noqa: SIM905
)
"""What the parser turns into unevaluated objects; others may be evaluated while they are parsed."""
_COSTLY = re.compile(
    r"\d{16,}|!\s*!|\\sqrt\s*\[\s*(?!\d{1,3}\s*\]|[a-z]\s*\])|\|\s*_|\d[eE][+-]?\d{3,}"
    r"|(?:\\(?:arc)?(?:sin|cos|tan|cot|sec|csc|ln|log|exp)(?s:.*)){7}"
    r"|(?:[\^_]\s*(?:\\?[A-Za-z0-9]+|\{[^{}]*\})\s*){4}|(?:\|[^|]*){5}|(?:[-+]\s*){8}|(?:\\[a-z]+\s*){8}"
)
"""What is not even tried: long numbers, what the parser works out at once, and chains that it is slow with."""
_BRACKETS = re.compile(r"(\\\{|[(\[])(.*)(\\\}|[)\]])", re.DOTALL)
_SEVERAL = re.compile(r",(?!\d{3}(?!\d))|\\\{|(?<!sqrt)\s*\[")
"""Sets and intervals are compared with each other by SymPy as soon as they are parsed."""
_COMMA = re.compile(r",(?!\d{3}(?!\d))|;|\\text\s*\{\s*(?:or|and)\s*\}|\b(?:or|and)\b")
"""What separates the members of a list without brackets, where a comma may be one of thousands, too."""
_PLAIN_COMMA = re.compile(r"[,;]")
_POINTS = (0.7312, -1.3174, 2.2391, 3.8147)
_UNBOUNDED = 1e300
_FUNCTIONS: dict[str, Callable[..., complex]] = {
    "exp": cmath.exp, "log": cmath.log, "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan,
    "cot": lambda x: 1 / cmath.tan(x), "sec": lambda x: 1 / cmath.cos(x), "csc": lambda x: 1 / cmath.sin(x),
    "asin": cmath.asin, "acos": cmath.acos, "atan": cmath.atan,
    "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh,
    "Abs": abs, "floor": lambda x: math.floor(_real(x)), "ceiling": lambda x: math.ceil(_real(x)),
    "factorial": lambda x: math.gamma(_real(x) + 1), "UnevaluatedExpr": lambda x: x,
}  # fmt: skip


class _TooLongError(BaseException):
    """The parser was stopped; no `Exception`, because it goes on after those."""


@lru_cache(maxsize=256)
def parse(text: str) -> Any:
    """SymPy expression or relation of a formula without or with `$`; None if unreadable or costly."""
    text = _plain(text)
    if not text or len(text) > MAX_LENGTH or text.count("{") > 40 or _COSTLY.search(text):
        return None
    if _SEVERAL.search(text) or _depths(text)[1] > MAX_DEPTH:
        return None
    if re.search(r"[^\x20-\x7e°π√×÷·≤≥∞]", text) or re.search(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}", text):
        return None
    text = _spelled(text)
    if not _COMMANDS.issuperset(re.findall(r"\\([a-zA-Z]+)", text)):
        return None
    import sympy

    found = _read(text)
    if not found or not isinstance(found[0], (sympy.Expr, sympy.core.relational.Relational)):
        return None
    nodes = sum(1 for _ in islice(sympy.preorder_traversal(found[0]), MAX_NODES + 1))
    return found[0] if nodes <= MAX_NODES else None


def _read(text: str) -> Any:
    """What math-verify makes of a formula; nothing where it needs more than `MAX_CALLS`."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    from math_verify import LatexExtractionConfig
    from math_verify import parse as read

    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > MAX_CALLS:
            raise _TooLongError

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return read(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    except _TooLongError:
        return []
    finally:
        sys.setprofile(before)


def _depths(text: str) -> tuple[int, int]:
    """Smallest and largest number of brackets that are open anywhere in the text."""
    steps = ({"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(char, 0) for char in text)
    depths = list(accumulate(steps, initial=0))
    return min(depths), max(depths)


def _plain(text: str) -> str:
    text = text.strip().strip("$").strip()
    return text.removeprefix("\\(").removesuffix("\\)").removeprefix("\\[").removesuffix("\\]").strip()


def _spelled(text: str) -> str:
    """The text with LaTeX commands for what people type without them."""
    for sign, command in (
        ("°", "^\\circ"), ("π", "\\pi "), ("×", "\\times "), ("·", "\\cdot "), ("÷", "/"), ("≤", "\\le "),
        ("≥", "\\ge "), ("∞", "\\infty "),
    ):  # fmt: skip
        text = text.replace(sign, command)
    text = re.sub(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi ", text)
    text = re.sub(r"√\s*(\d+|\w)", r"\\sqrt{\1}", text).replace("**", "^").replace("*", "\\cdot ")
    return re.sub(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)


def same(left: str, right: str) -> bool | None:
    """Whether two formulas are the same; None where one cannot be read or they cannot be compared."""
    if max(len(left), len(right)) > MAX_LENGTH:
        return None
    left, right = (re.sub(r"(?<=[,;])\s+", "", text.strip()) for text in (left, right))
    if left == right:
        return True
    (ours, a), (theirs, b) = _members(left), _members(right)
    if ours != theirs:
        # An interval with another end is another one; a set against a point cannot be compared.
        return False if {ours, theirs} <= {"()", "[]", "(]", "[)"} and len(a) == len(b) == 2 else None
    if ours == "":
        return _same_members(a, b)
    if len(a) != len(b):
        return False
    results = [same(x, y) for x, y in zip(a, b, strict=True)]
    return False if False in results else None if None in results else True


def _members(text: str) -> tuple[str, list[str]]:
    """(brackets, members) of a point or interval; brackets are empty for a set or list, or a plain formula."""
    text = re.sub(r"\\(?:left|right)(?=[\\()\[\]{}|])|\\[!,]", "", _plain(text).replace("{,}", ","))
    found = _BRACKETS.fullmatch(text)
    if found and ("," in found[2] or found[1] == "\\{") and _depths(found[2])[0] >= 0:
        members = _parts(found[2], _PLAIN_COMMA)
        return ("", _signed(members)) if found[1] == "\\{" else (found[1] + found[3], members)
    return "", _signed(_parts(text, _COMMA))


def _parts(text: str, comma: re.Pattern[str]) -> list[str]:
    """The text split at commas that stand outside of all brackets."""
    starts, ends = [0], []
    for found in comma.finditer(text):
        before = text[: found.start()]
        if sum(map(before.count, "([{")) == sum(map(before.count, ")]}")):
            ends.append(found.start())
            starts.append(found.end())
    return [text[start:end].strip() for start, end in zip(starts, [*ends, len(text)], strict=True)]


def _signed(members: list[str]) -> list[str]:
    r"""The members with those that hold one \\pm written out."""
    pairs = [
        [item.replace("\\pm", sign).replace("±", sign) for sign in "+-"]
        if item.count("\\pm") + item.count("±") == 1
        else [item]
        for item in members
    ]
    return [item for pair in pairs for item in pair]


def _same_members(left: list[str], right: list[str]) -> bool | None:
    """Whether two sets of formulas are the same."""
    if sorted(left) == sorted(right):
        return True
    if len(left) != len(right) or len(left) > MAX_MEMBERS:
        # Not to be told from a formula that could not be taken apart rightly.
        return False if min(len(left), len(right)) > 1 and len(left) != len(right) else None
    if len(left) == 1:
        ours, theirs = parse(left[0]), parse(right[0])
        return None if ours is None or theirs is None else _same(ours, theirs)
    unsure = False
    for item in left:
        results = [same(item, other) for other in right]
        if True in results:
            right.pop(results.index(True))
        elif None in results:
            unsure = True
        else:
            return False
    return None if unsure else True


def value(text: str) -> float | None:
    """Real value of a formula without symbols, or None; None also for what may be rounding instead of zero."""
    found = parse(text)
    if found is None:
        return None
    found = _stated(found)[1]
    if getattr(found, "free_symbols", True):
        return None
    number = _number(found, {})
    if number is None or abs(number.imag) > 1e-12 or (abs(number) < 1e-8 and _cancels(found)):
        return None
    return number.real


def _stated(found: Any) -> tuple[Any, Any]:
    """`x = 3` as (x, 3); anything else as (None, itself)."""
    import sympy

    if isinstance(found, sympy.Eq) and found.lhs.is_Symbol and found.lhs not in found.rhs.free_symbols:
        return found.lhs, found.rhs
    return None, found


def _same(a: Any, b: Any) -> bool | None:
    import sympy

    (name, a), (other, b) = _stated(a), _stated(b)
    if name != other and name is not None and other is not None:
        return None
    related = sympy.core.relational.Relational
    if isinstance(a, related) and isinstance(b, related):
        if type(a) is type(b.reversed):
            b = b.reversed
        return (_same_value((a.lhs, a.rhs), (b.lhs, b.rhs)) or None) if type(a) is type(b) else None
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return _same_value((a,), (b,))
    return None


def _same_value(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool | None:
    """Compare at fixed points; None if the symbols differ or no point gives a number.

    Of two terms (the sides of a relation) their difference is compared.
    """
    names = [set().union(*(term.free_symbols for term in side)) for side in (ours, theirs)]
    if names[0] != names[1] and names[0] and names[1]:
        return None
    symbols = sorted(names[0] | names[1], key=str)
    rounded = max(len(ours), len(theirs)) > 1 or any(map(_cancels, (*ours, *theirs)))
    compared = 0
    for shift, _ in enumerate(_POINTS):
        point = {symbol: _POINTS[(shift + i) % 4] + 0.1 * i for i, symbol in enumerate(symbols)}
        x, y = _difference(ours, point), _difference(theirs, point)
        if x is None or y is None:
            continue
        size = max(abs(x), abs(y))
        if abs(x - y) > 1e-8 * size:
            # What is left of a difference near zero may be rounding alone.
            return None if rounded and abs(x - y) <= 1e-8 * max(1.0, size) else False
        compared += 1
    return True if compared >= min(2, len(_POINTS)) else None


def _cancels(expression: Any) -> bool:
    """Whether terms of a formula may cancel to nothing but rounding: sums and functions may, products not."""
    if expression.is_Add or not (expression.is_Atom or expression.is_Mul or expression.is_Pow):
        return True
    return any(map(_cancels, expression.args))


def _difference(terms: tuple[Any, ...], point: dict[Any, float]) -> complex | None:
    values = [_number(term, point) for term in terms]
    if any(number is None for number in values):
        return None
    first, *rest = (number for number in values if number is not None)
    return first - sum(rest)


def _number(expression: Any, point: dict[Any, float]) -> complex | None:
    """Value at a point; None where it has none, is too large or holds something else than is known here."""
    try:
        found = _work_out(expression, point)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        return None
    return found if abs(found) < _UNBOUNDED else None


def _work_out(node: Any, point: dict[Any, float]) -> complex:
    import sympy

    if node in point:
        return complex(point[node])
    if node.is_Number or node.is_NumberSymbol:
        return complex(float(node))
    if node is sympy.I:
        return 1j
    values = [_work_out(part, point) for part in node.args]
    if node.is_Add:
        return sum(values, 0j)
    if node.is_Mul:
        return math.prod(values, start=1 + 0j)
    if node.is_Pow:
        return _power(*values)
    known = _FUNCTIONS.get(type(node).__name__)
    if known is None:
        raise ValueError(f"{type(node).__name__} is not known")
    return complex(known(*values))


def _power(base: complex, exponent: complex) -> complex:
    whole = exponent.imag == 0 and exponent.real == round(exponent.real)
    if base.imag == 0 and base.real < 0 and not whole:
        # The cube root of -8 is -2 to some and complex to others.
        raise ValueError("a fractional power of a negative number")
    return base**exponent


def _real(number: complex) -> float:
    if abs(number.imag) > 1e-12:
        raise ValueError("a real number is needed")
    return number.real
