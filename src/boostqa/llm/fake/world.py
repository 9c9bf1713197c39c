"""The world behind the fake provider: questions whose truth can be read off their text alone.

A question of the world is a chain: a quantity of some field starts at a number and goes through as many steps
as its level says; or it asks for a term of a field (level H1). Whoever has the text has field, level, grade,
type, language and the right answer, so the fake needs no memory of what it wrote. Other questions are known
through answer keys; the rest gets a hidden truth by hash. Knows nothing of models, prompts or HTTP.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache, lru_cache

import msgspec
import xxhash

from boostqa.llm.fake import words as voc

LEVELS = ("H1", "H2", "H3", "H4", "H5")
GRADES = ("primary", "middle", "high", "undergraduate", "graduate", "professional")
_OPERATORS = "+-*/"
_LETTERS = "ABCDEFGHIJ"


def unit(*parts: object) -> float:
    """A number in [0, 1) that depends on `parts` alone."""
    return xxhash.xxh3_64_intdigest("\x1f".join(map(str, parts)).encode()) / 2**64


def rng(*parts: object) -> random.Random:
    """A random generator that depends on `parts` alone."""
    return random.Random(xxhash.xxh3_64_intdigest("\x1f".join(map(str, parts)).encode()))


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A question of the world before it is worded."""

    field: str
    quantity: int
    """Index among the field's quantities."""
    start: int | None
    """None: the question does not say, so it is ill-posed."""
    steps: tuple[tuple[str, float], ...]
    language: str = "en"
    question_type: str = "calculation"
    grade: str = ""
    """Empty: not said in the text."""
    claim: str = ""
    """The value that a true-or-false question claims."""

    @property
    def value(self) -> float:
        """The number at the end."""
        value = float(self.start or 0)
        for operator, number in self.steps:
            value = _apply(value, operator, number)
        return value


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of a question, whatever models say."""

    answer: str
    """The right answer: the letter where there are options; empty for an ill-posed question."""
    level: str
    field: str
    grade: str
    question_type: str
    language: str
    secondary: tuple[str, ...] = ()
    ill_posed: bool = False
    self_contained: bool = True
    known: bool = True
    """False: nothing in the text or the answer keys says it, so it is made up by hash."""
    key: str = ""
    """The same for all wordings in which white space, case and punctuation differ."""
    chain: Chain | None = None
    solution: str = ""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A question as text, with what a seed may carry."""

    question: str
    answer: str
    solution: str
    choices: list[str] = []
    formula: str = ""
    variables: dict[str, float] = {}


def _apply(value: float, operator: str, number: float) -> float:
    if operator == "+":
        return value + number
    if operator == "-":
        return value - number
    return value * number if operator == "*" else value / number if number else 0.0


def number_text(value: float) -> str:
    """A number as the world writes it: at most four decimals, none where it has none."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def normal(text: str) -> str:
    """Letters and digits of a text in lower case; what answer keys are looked up by."""
    return "".join(c for c in text.lower() if c.isalnum())


def same_answer(left: str, right: str) -> bool:
    """Whether two answers agree: as text, or by their first number (units are not compared)."""
    if normal(left) == normal(right):
        return bool(normal(left)) or left == right
    a, b = _NUMBER.search(left.replace(",", "")), _NUMBER.search(right.replace(",", ""))
    if a and b and not re.search(r"[\\^_=]|[0-9]/[0-9]", left + right):
        return abs(float(a[0]) - float(b[0])) < 1e-6 * max(1.0, abs(float(b[0])))
    return False


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_DIGITS = r"(-?\d+(?:\.\d+)?)"


class _Reader:
    """Regular expressions made from the vocabulary, compiled once."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[re.Pattern[str], list[str]]] = {}
        for language, operators in voc.STEPS.items():
            forms = [(form, operator) for operator, wordings in operators.items() for form in wordings]
            pattern = "|".join(re.escape(form).replace(r"\{\}", _DIGITS) for form, _ in forms)
            self.steps[language] = re.compile(pattern, re.IGNORECASE), [operator for _, operator in forms]
        self.quantity: dict[str, tuple[str, int]] = {}
        self.term: dict[str, tuple[str, int]] = {}
        for name, entry in words().items():
            for i, (en, _, zh, _) in enumerate(entry.quantities):
                self.quantity[en] = self.quantity[zh] = (name, i)
            for i, (_, en, _, zh) in enumerate(entry.terms):
                self.term[en] = self.term[zh] = (name, i)
        self.quantities = re.compile("|".join(map(re.escape, sorted(self.quantity, key=len, reverse=True))))
        self.terms = re.compile("|".join(map(re.escape, sorted(self.term, key=len, reverse=True))))
        self.generic = [
            re.compile(re.escape(form).replace(r"\{\}", "([^“”]{1,80})"))
            for row in voc.GENERIC
            for form in row[::2]
        ]
        self.claim = re.compile(r"(?:True or false: in the end, .+ is |判断对错：最后.+是)" + _DIGITS)
        self.asks = [
            (re.compile(re.escape(form).replace(r"\{q\}", ".+").replace(r"\{claim\}", ".+")), kind)
            for kinds in voc.ASKS.values()
            for kind, forms in kinds.items()
            for form in forms
        ]

    def fields(self, text: str) -> list[tuple[str, int]]:
        """(field, quantity) as they come in the text, each field once."""
        found = [(match.start(), *self.quantity[match[0]]) for match in self.quantities.finditer(text)]
        if "“" in text:
            found += [
                (m.start(), m[1], i // 2) for i, form in enumerate(self.generic) for m in form.finditer(text)
            ]
        first: dict[str, int] = {}
        for _, name, index in sorted(found):
            first.setdefault(name, index)
        return list(first.items())


@cache
def words() -> dict[str, voc.Words]:
    """Field name -> its vocabulary."""
    return voc.words()


@cache
def _reader() -> _Reader:
    return _Reader()


def quantity_words(field: str, index: int, language: str) -> tuple[str, str]:
    """(name, unit) of a quantity of a field."""
    entry = words().get(field)
    rows = entry.quantities if entry else voc.GENERIC
    row = rows[index % len(rows)]
    name, size = row[:2] if language == "en" else row[2:]
    return name.replace("{}", field), size


def draw(source: random.Random, field: str, level: str, language: str = "en") -> Chain:
    """A random chain of the wanted field and level, with distinct numbers and whole results."""
    value = start = source.randrange(24, 97)
    used, steps = {float(start)}, []
    for _ in range(LEVELS.index(level) + 1):
        options = [o for o in _OPERATORS if o != "*" or value < 400]
        operator = source.choice(options)
        numbers = [n for n in (range(3, 60) if operator in "+-" else range(2, 13)) if n not in used]
        if operator == "-":
            numbers = [n for n in numbers if n < value]
        elif operator == "/":
            numbers = [n for n in numbers if value % n == 0 and value > n]
        if not numbers:
            operator, numbers = "+", [n for n in range(61, 99) if n not in used]
        number = source.choice(numbers)
        used.add(float(number))
        steps.append((operator, float(number)))
        value = int(_apply(value, operator, number))
    size = len(words()[field].quantities) if field in words() else len(voc.GENERIC)
    return Chain(
        field=field, quantity=source.randrange(size), start=start, steps=tuple(steps), language=language
    )


def word(chain: Chain, source: random.Random, secondary: Sequence[str] = ()) -> str:
    """The question as text; other random numbers give other words for the same chain."""
    en = chain.language == "en"
    name, size = quantity_words(chain.field, chain.quantity, chain.language)
    causes = list(voc.CAUSES[chain.language])
    for other in secondary:
        changed = quantity_words(other, 0, chain.language)[0]
        causes.append(f"a change of {changed}" if en else f"{changed}变化")

    def fill(form: str, **more: str) -> str:
        kinds: dict[str, Sequence[str]] = {
            "person": voc.PERSONS[chain.language],
            "occasion": voc.OCCASIONS[chain.language],
            "cause": causes,
        }
        for slot, values in kinds.items():
            if "{" + slot + "}" in form:
                more[slot] = source.choice(values)
        for slot, text in more.items():
            form = form.replace("{" + slot + "}", text)
        return form

    parts = []
    if chain.grade:
        parts.append(voc.GRADES[chain.grade][0 if en else 1].strip())
    if chain.start is None:
        parts.append(fill(voc.UNSTATED[chain.language], q=name))
    else:
        form = source.choice(voc.OPENINGS[chain.language])
        parts.append(fill(form, q=name, n=number_text(chain.start), u=size))
    for i, (operator, number) in enumerate(chain.steps):
        link = source.choice(
            [form for form in voc.LINKS[chain.language] if not secondary or i or "{cause}" in form]
        )
        if secondary and not i:
            link = link.replace("{cause}", causes[-1])
        step = source.choice(voc.STEPS[chain.language][operator]).replace("{}", number_text(number))
        parts.append(fill(link) + step + ("." if en else "。"))
    ask = source.choice(
        voc.ASKS[chain.language].get(chain.question_type) or voc.ASKS[chain.language]["calculation"]
    )
    parts.append(fill(ask, q=name, claim=chain.claim))
    return (" " if en else "").join(parts)


def answer_of(chain: Chain) -> str:
    """The right answer, without options."""
    if chain.start is None:
        return ""
    if chain.question_type == "true_false":
        right = same_answer(chain.claim, number_text(chain.value))
        return ("True" if right else "False") if chain.language == "en" else ("对" if right else "错")
    return number_text(chain.value)


def solve(chain: Chain, slip: int | None = None) -> tuple[str, str]:
    """(worked solution, answer); with `slip`, the step of that index is done wrongly and carried on."""
    en, value = chain.language == "en", float(chain.start or 0)
    first = number_text(value)
    lines = [f"The starting value is {first}." if en else f"初始值为{first}。"]
    for i, (operator, number) in enumerate(chain.steps):
        after = _apply(value, operator, number)
        if i == slip:
            after += 1 + int(number) % 7
        sign = {"*": "\u00d7", "/": "\u00f7"}.get(operator, operator)
        lines.append(
            f"Step {i + 1}: {number_text(value)} {sign} {number_text(number)} = {number_text(after)}."
            if en
            else f"第{i + 1}步：{number_text(value)}{sign}{number_text(number)}={number_text(after)}。"
        )
        value = after
    answer = number_text(value)
    if chain.question_type == "true_false":
        holds = same_answer(chain.claim, answer)
        answer = ("True" if holds else "False") if en else ("对" if holds else "错")
    lines.append(f"Answer: {answer}" if en else f"答案：{answer}")
    return "\n".join(lines), answer


def formula_of(chain: Chain) -> tuple[str, dict[str, float]]:
    """(formula, variables) of a chain, such as `((a + b) * c)`; names in the order of the text."""
    names = "abcdefgh"
    formula, variables = "a", {"a": float(chain.start or 0)}
    for name, (operator, number) in zip(names[1:], chain.steps, strict=False):
        formula = f"({formula} {operator} {name})"
        variables[name] = number
    return formula.removeprefix("(").removesuffix(")") if chain.steps else formula, variables


def options_of(value: float, source: random.Random) -> tuple[list[str], str]:
    """(four options, letter of the right one) for a number."""
    wrong: list[str] = []
    while len(wrong) < 3:
        near = number_text(value + source.choice((-12, -7, -5, -3, -2, 2, 3, 4, 6, 9, 11)))
        if near not in wrong:
            wrong.append(near)
    place = source.randrange(4)
    wrong.insert(place, number_text(value))
    return wrong, _LETTERS[place]


def read_chain(text: str) -> Chain | None:
    """The chain in a text, if it holds one question of the world (or the last of several examples)."""
    reader = _reader()
    language = "zh" if re.search(r"[\u4e00-\u9fff]", text) else "en"
    pattern, operators = reader.steps[language]
    steps, first = [], None
    for match in pattern.finditer(text):
        index = match.lastindex or 1
        steps.append((operators[index - 1], float(match[index])))
        first = match.start() if first is None else first
    fields = reader.fields(text)
    if first is None or not fields or len(steps) > len(LEVELS):
        return None
    found = _NUMBER.search(text[:first])
    kind = next((kind for ask, kind in reader.asks if ask.search(text)), "calculation")
    grade = next((g for g, forms in voc.GRADES.items() if any(form.strip() in text for form in forms)), "")
    claim = reader.claim.search(text)
    return Chain(
        field=fields[0][0],
        quantity=fields[0][1],
        start=int(float(found[0])) if found else None,
        steps=tuple(steps),
        language=language,
        question_type=kind,
        grade=grade,
        claim=claim[1] if claim else "",
    )


@lru_cache(maxsize=20_000)
def read_text(text: str) -> tuple[Chain | None, tuple[str, int] | None, tuple[str, ...]]:
    """(chain, (field, term index), further fields) of a text."""
    reader = _reader()
    chain = read_chain(text)
    term = None if chain else reader.terms.search(text)
    fields = tuple(field for field, _ in reader.fields(text))
    return chain, reader.term[term[0]] if term else None, fields
