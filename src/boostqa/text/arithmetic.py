"""Numbers in text, quantities with units, and formulas over named variables; nothing is ever executed."""

from __future__ import annotations

import ast
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_FORMULA = 500
"""Characters; a longer formula is refused."""

_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt, "abs": abs, "exp": math.exp, "log": math.log, "ln": math.log,
    "log10": math.log10, "log2": math.log2, "sin": math.sin, "cos": math.cos, "tan": math.tan,
    "asin": math.asin, "acos": math.acos, "atan": math.atan, "radians": math.radians, "degrees": math.degrees,
    "floor": math.floor, "ceil": math.ceil, "min": min, "max": max, "round": lambda x, n=0: round(x, int(n)),
    "factorial": lambda x: math.gamma(x + 1),
    "comb": lambda n, k: math.comb(int(n), int(k)) if n < 1000 else math.nan,
}  # fmt: skip
_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b,
}


def evaluate(formula: str, variables: Mapping[str, float] | None = None) -> float:
    """Value of an arithmetic formula, such as `m * v ** 2 / 2` (`^` is a power too).

    Allowed: numbers, the names in `variables`, pi, e, tau, + - * / // % **, parentheses and the usual
    functions (sqrt, log, sin, ...). All values are floats, so no power can grow without bound.

    Raises:
        ValueError: naming the formula and what in it is not allowed, unknown, too large or undefined.
    """
    if len(formula) > MAX_FORMULA:
        raise ValueError(f"formula of {len(formula)} characters: at most {MAX_FORMULA} are read")
    try:
        tree = ast.parse(formula.replace("^", "**").strip(), mode="eval")
        value = _value(tree.body, variables or {})
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"formula {formula!r} is not arithmetic: {type(error).__name__}") from error
    except (ArithmeticError, TypeError) as error:
        raise ValueError(f"formula {formula!r} has no value: {error}") from error
    except ValueError as error:
        raise ValueError(f"formula {formula!r}: {error}") from error
    if isinstance(value, complex) or not math.isfinite(value):
        raise ValueError(f"formula {formula!r} has no finite real value")
    return float(value)


def _value(node: ast.expr, variables: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        if node.id in variables:
            return float(variables[node.id])
        if node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        raise ValueError(f"unknown name {node.id!r}; known: {', '.join(sorted(variables)) or 'none'}")
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left, variables), _value(node.right, variables))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _value(node.operand, variables)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _FUNCTIONS:
            raise ValueError(f"unknown function {node.func.id!r}")
        return float(_FUNCTIONS[node.func.id](*(_value(argument, variables) for argument in node.args)))
    raise ValueError(f"{type(node).__name__} is not allowed")


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_POWER = (
    r"(?:\s*(?:\\times|\\cdot|×|x|·|\*)\s*10\s*(?:\^|\*\*)\s*(?:\{\s*([+-]?\d{1,3})\s*\}|([+-]?\d{1,3})))"
)
_NUMBER = re.compile(
    rf"(?P<sign>(?<![A-Za-z0-9_)\]}}.])[-+])?(?:\\[dt]?frac\s*\{{\s*(?P<top>-?\d+)\s*\}}\s*\{{\s*(?P<bottom>\d+)\s*\}}"
    rf"|(?<![A-Za-z0-9_.])(?P<digits>{_DIGITS})(?:[eE](?P<e>[+-]?\d{{1,3}})(?![A-Za-z0-9_])|{_POWER})?"
    rf"(?:\s*/\s*(?P<over>\d+(?:\.\d+)?)(?![\w/]))?)"
)


@dataclass(frozen=True)
class Number:
    """A number as it stands in a text."""

    value: float
    step: float
    """One unit of the last digit as written; 0 for integers and fractions, which are exact."""
    significant: int
    """Significant digits as written; large for integers and fractions, which are exact."""
    end: int
    """Position in the (NFKC) text just behind it."""


def plain(text: str) -> str:
    """The text with one form for digits, minus signs and thousands spaces, for reading numbers."""
    text = unicodedata.normalize("NFKC", text.replace("{,}", ","))
    return re.sub("[\u2212\u2013\u2010\u2011]", "-", text)


def _numbers(text: str, position: int = 0, whole: bool = False) -> list[Number]:
    """Numbers of a text that went through `plain`; with `whole` only one that starts at `position`."""
    matches = [_NUMBER.match(text, position)] if whole else _NUMBER.finditer(text, position)
    numbers = [_read(match) for match in matches if match]
    return [number for number in numbers if number is not None]


def _read(match: re.Match[str]) -> Number | None:
    sign = -1.0 if match["sign"] == "-" else 1.0
    if match["top"] is not None:
        top, bottom = float(match["top"]), float(match["bottom"])
        if bottom == 0 or not (math.isfinite(top) and math.isfinite(bottom)):
            return None
        return Number(sign * top / bottom, 0.0, 99, match.end())
    digits = match["digits"].replace(",", "")
    # Groups 5.. belong to _POWER, whose two forms of exponent are unnamed.
    power = next((int(group) for group in match.groups()[5:7] if group is not None), None)
    exponent = int(match["e"]) if match["e"] is not None else power
    # Read as text: a power that is too large is infinite then and not an error.
    value = float(f"{digits}e{exponent or 0}")
    exact = "." not in digits and exponent is None
    step = 0.0 if exact else float(f"1e{(exponent or 0) - len(digits.partition('.')[2])}")
    significant = 99 if exact else len(digits.replace(".", "").lstrip("0"))
    if match["over"] is not None:
        if float(match["over"]) == 0:
            return None
        value, step, significant = value / float(match["over"]), 0.0, 99
    if not math.isfinite(value):
        return None
    return Number(sign * value, step, significant, match.end())


def numbers_in(text: str) -> list[float]:
    """The numbers of a text in order: 1,000 -> 1000.0, 3/4 -> 0.75, 50% -> 50.0, 1.5 x 10^3 -> 1500.0.

    Digits inside names (`x2`, `H2O`) do not count.
    """
    return [number.value for number in _numbers(plain(text))]


# Unit -> (dimension, factor to the base unit of that dimension).
_UNITS: dict[str, tuple[str, float]] = {}
for _dimension, _table in {
    "length": "km 1000,m 1,dm 0.1,cm 0.01,mm 0.001,um 1e-6,nm 1e-9,kilometer 1000,kilometre 1000,meter 1,"
    "metre 1,centimeter 0.01,centimetre 0.01,millimeter 0.001,millimetre 0.001,千米 1000,公里 1000,米 1,"
    "分米 0.1,厘米 0.01,毫米 0.001",
    "mass": "t 1000,kg 1,g 0.001,mg 1e-6,kilogram 1,gram 0.001,吨 1000,千克 1,公斤 1,克 0.001,毫克 1e-6",
    "time": "h 3600,hr 3600,hour 3600,min 60,minute 60,s 1,sec 1,second 1,ms 0.001,小时 3600,时 3600,"
    "分钟 60,秒 1",
    "area": "km^2 1e6,m^2 1,dm^2 0.01,cm^2 1e-4,mm^2 1e-6,平方米 1,平方分米 0.01,平方厘米 1e-4",
    "volume": "m^3 1000,dm^3 1,cm^3 0.001,l 1,ml 0.001,liter 1,litre 1,升 1,毫升 0.001,立方米 1000,"
    "立方厘米 0.001",
    "speed": "m/s 3.6,km/h 1,kmh 1,米/秒 3.6,千米/时 1,千米/小时 1",
    "force": "N 1,kN 1000,mN 0.001,MN 1e6,newton 1,牛 1,牛顿 1",
    "temperature": "K 1,kelvin 1",
    "voltage": "V 1,kV 1000,mV 0.001,volt 1,伏 1,伏特 1",
    "current": "A 1,mA 0.001,ampere 1,amp 1,安 1,安培 1",
    "resistance": "Ω 1,kΩ 1000,ohm 1,欧 1,欧姆 1",
    "frequency": "Hz 1,kHz 1000,MHz 1e6,GHz 1e9,hertz 1,赫兹 1",
    "amount": "mol 1,mmol 0.001,mole 1,摩尔 1",
    "energy": "J 1,kJ 1000,mJ 0.001,MJ 1e6,joule 1,焦 1,焦耳 1,千焦 1000",
    "power": "W 1,kW 1000,mW 0.001,MW 1e6,watt 1,瓦 1,千瓦 1000",
    "pressure": "Pa 1,kPa 1000,mPa 0.001,MPa 1e6,帕 1,千帕 1000",
    "dollars": "$ 1,dollar 1,usd 1,美元 1",
    "euros": "€ 1,euro 1,eur 1,欧元 1",
    "yuan": "yuan 1,rmb 1,cny 1,元 1",
    "yen": "yen 1,jpy 1,日元 1",
    "share": "% 0.01,percent 0.01,\\% 0.01",
}.items():
    for _entry in _table.split(","):
        _name, _, _factor = _entry.rpartition(" ")
        _UNITS[_name] = (_dimension, float(_factor))


_SPELLINGS: dict[str, set[str]] = {}
"""Unit in lower case -> its spellings: `mpa` may be MPa or mPa, `kw` is kW alone."""
for _name in _UNITS:
    _SPELLINGS.setdefault(_name.lower(), set()).add(_name)
_PREFIXED = 4
"""Characters up to which capitals may tell units apart (mSv, MSv); longer names may be written either way."""
_CASED = frozenset("SGTHkMaA")
"""Single letters that are something else in the other case: S and s, T and t, k (thousand) and K."""
_MAGNITUDES = {
    "hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "dozen": 12.0,
    "百": 1e2, "千": 1e3, "万": 1e4, "亿": 1e8,
}  # fmt: skip
_MAGNITUDE = re.compile(
    r"(hundred|thousand|million|billion|trillion|dozen)s?\b\s*|"
    r"([万亿]|千(?![克米瓦帕焦伏赫卡牛安欧升字比])|百(?![分帕]))\s*",
    re.IGNORECASE,
)
_NOT_FORGIVEN = frozenset(
    """
    k m b bn mn tn mio lakh lakhs crore crores score gross pair pairs half halves quarter quarters third thirds
    squared cubed factorial more less fewer than below above under over minus plus times short decrease increase loss
    am pm bc ad bce ce 对 双 倍 成 折
    january february march april may june july august september october november december
    """.split()  # noqa: SIM905
)
"""Words behind a number that make it another one, so that it is not the bare number."""
_UNIT = re.compile(r"(?:(?:[^\W\d_]|[%°µΩ$¥€£²³]|\\%)(?:[^\W\d_]|[%°²³/·. -]|\^\{?-?\d\}?){0,24})?")


@dataclass(frozen=True)
class Quantity:
    """A text that is one number with at most a unit behind it."""

    number: Number
    unit: str


def quantity(text: str) -> Quantity | None:
    """The number and unit that `text` consists of, or None if it is anything else."""
    text = (
        re.sub(r"\\(?:text|mathrm|operatorname)\s*\{([^{}]*)\}|\\[,;!]", r" \1", plain(text))
        .strip()
        .rstrip("。.")
        .strip()
    )
    if text.count("$") == 2 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    currency = re.match(r"\\?([$¥€£])\s*", text)
    text = text[currency.end() :] if currency else text
    found = _numbers(text, 0, whole=True)
    if not found:
        return None
    unit = re.sub(r"\s+", " ", text[found[0].end :]).strip()
    if not _UNIT.fullmatch(unit):
        return None
    unit = unit.replace("{", "").replace("}", "").rstrip(".")
    factor = 1.0
    while magnitude := _MAGNITUDE.match(unit):
        factor *= _MAGNITUDES[(magnitude[1] or magnitude[2]).lower()]
        unit = unit[magnitude.end() :]
    return Quantity(_scaled(found[0], factor), unit or (currency[1] if currency else ""))


def exact(value: float) -> Number:
    """A number that is known exactly."""
    return Number(value, 0.0, 99, 0)


def _scaled(number: Number, factor: float) -> Number:
    return Number(number.value * factor, number.step * factor, number.significant, 0)


def same_quantity(left: Quantity, right: Quantity) -> bool | None:
    """Whether two quantities are the same; None where units or too coarse rounding leave it open.

    A unit may be missing on one side, but not a word that makes the number another one (`5 dozen`, `5 May`).
    """
    a, b = _known(left.unit), _known(right.unit)
    if left.unit and right.unit and left.unit != right.unit:
        if a is None or b is None:
            alike = left.unit.lower() == right.unit.lower() and len(left.unit) > _PREFIXED
            return same_number(left.number, right.number) if alike else None
        if a[0] != b[0]:
            return False
        return same_number(left.number, _scaled(right.number, b[1] / a[1]))
    same = same_number(left.number, right.number)
    if left.unit == right.unit:
        return same
    if "share" in (a and a[0], b and b[0]):
        share, bare = (left.number, right.number) if left.unit else (right.number, left.number)
        if same_number(_scaled(share, 0.01), bare) is True:
            return True
        # `50` may be meant in percent where that was asked for; `0.5` may be a half as well.
        return same if same is not True or abs(bare.value) > 1 else None
    words = re.findall(r"[^\W\d_]+", (left.unit or right.unit).lower().replace(".", ""))
    return None if same is True and a is b is None and _NOT_FORGIVEN.intersection(words) else same


def _known(unit: str) -> tuple[str, float] | None:
    """Dimension and factor of a unit; None where it is unknown or its capitals leave it open."""
    for name in (unit, unit[:-1] if unit.endswith("s") else unit):
        if name in _UNITS:
            return _UNITS[name]
        spellings = _SPELLINGS.get(name.lower(), set())
        if len(spellings) == 1 and name not in _CASED:
            spelling = next(iter(spellings))
            # Mega and milli differ in nothing else.
            if len(name) > _PREFIXED or name[0] == spelling[0] or name[0] not in "mM":
                return _UNITS[spelling]
    return None


def same_number(left: Number, right: Number) -> bool | None:
    """Whether two numbers agree as far as the coarser is written; None if that is fewer than 3 digits."""
    a, b = left.value, right.value
    if not (math.isfinite(a) and math.isfinite(b)):
        return None
    # No absolute tolerance: an elementary charge is as good a number as a million.
    if math.isclose(a, b, rel_tol=1e-9):
        return True
    coarser = max(left, right, key=lambda number: number.step)
    if abs(a - b) > 0.51 * coarser.step:
        return False
    return True if coarser.significant >= 3 else None
