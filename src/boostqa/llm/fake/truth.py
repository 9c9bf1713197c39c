"""What is true of any text the fake provider is shown, and what it may write: the world plus answer keys.

Knows the world and the taxonomy's fields; nothing of models, prompts or HTTP.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import msgspec

from boostqa.llm.fake import words as voc
from boostqa.llm.fake import world
from boostqa.llm.fake.keys import Key
from boostqa.llm.fake.world import Chain, Made, Truth, normal, number_text, same_answer, unit

_LETTERS = "ABCDEFGHIJ"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@cache
def _taxonomy() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Field -> (discipline, lower-case words that speak for it)."""
    import yaml

    data = yaml.safe_load((files("boostqa") / "taxonomy" / "disciplines.yaml").read_text(encoding="utf-8"))
    found = {}
    for entry in data["fields"]:
        topics = [entry["name"], *entry.get("topics", []), *entry.get("topics_zh", [])]
        found[entry["name"]] = (entry["discipline"], tuple(str(topic).lower() for topic in topics))
    return found


def discipline_of(field: str) -> str:
    """The discipline of a field; the field itself where the taxonomy does not have it."""
    return _taxonomy().get(field, (field, ()))[0]


def fields() -> list[str]:
    """The fields of the taxonomy."""
    return list(_taxonomy())


class World:
    """Truths and questions for one world seed; the same seed and text always give the same.

    Args:
        seed: of everything that is decided by hash.
        keys: answers to questions that are not of the world.
    """

    def __init__(self, seed: int = 0, keys: Iterable[Key] = ()) -> None:
        self.seed = seed
        self.keys: dict[str, Key] = {}
        self.templates: dict[str, tuple[Key, dict[str, int]]] = {}
        for key in keys:
            self.keys.setdefault(normal(key.question), key)
            if key.formula:
                self._add_template(key)
        self._texts: dict[tuple[str, tuple[str, ...]], Truth] = {}
        frames = [form for forms in voc.FRAMES.values() for form in forms]
        names = "(?:" + "|".join(name for row in voc.PERSONS.values() for name in row) + ")"
        slots = {r"\{a\}": names, r"\{b\}": names, r"\{q\}": "(.+)"}
        self._frames = [re.compile(_replace(re.escape(form), slots), re.DOTALL) for form in frames]

    def _add_template(self, key: Key) -> None:
        numbers = [float(n) for n in _NUMBER.findall(key.question)]
        places: dict[str, int] = {}
        for name, value in key.variables.items():
            free = [i for i, number in enumerate(numbers) if number == value and i not in places.values()]
            if free:
                places[name] = free[0]
        if len(places) == len(key.variables):
            self.templates.setdefault(normal(_NUMBER.sub("", key.question)), (key, places))

    def truth(self, question: str, choices: Sequence[str] = ()) -> Truth:
        """What is true of a question (and its options)."""
        cached = self._texts.get((question, tuple(choices)))
        if cached is None:
            if len(self._texts) > 20_000:
                self._texts.clear()
            cached = self._texts[question, tuple(choices)] = self._truth(question.strip(), list(choices))
        return cached

    def _truth(self, question: str, choices: list[str]) -> Truth:
        chain, term, found = world.read_text(question)
        if chain is not None:
            truth = self._of_chain(question, chain, found)
        elif term is not None:
            truth = self._of_term(question, *term)
        else:
            truth = self._of_key(question) or self._unknown(question)
        if not choices:
            return truth
        letter = self._letter(truth, choices)
        kind = "multiple_choice"
        return msgspec.structs.replace(
            truth, answer=letter, ill_posed=truth.ill_posed or not letter, question_type=kind
        )

    def _of_chain(self, question: str, chain: Chain, found: tuple[str, ...]) -> Truth:
        index = len(chain.steps) - 1
        return Truth(
            answer=world.answer_of(chain),
            level=world.LEVELS[index],
            field=chain.field,
            grade=chain.grade or world.GRADES[min(index, 4)],
            question_type=chain.question_type,
            language=chain.language,
            secondary=found[1:],
            ill_posed=chain.start is None,
            self_contained=_REFERENCE.search(question) is None,
            key=normal(question),
            chain=chain,
        )

    def _of_term(self, question: str, field: str, index: int) -> Truth:
        row = world.words()[field].terms[index]
        language = "en" if row[1] in question else "zh"
        answer, meaning = row[:2] if language == "en" else row[2:]
        solution = (
            f"{answer}: {meaning}.\nAnswer: {answer}"
            if language == "en"
            else f"{answer}：{meaning}。\n答案：{answer}"
        )
        return Truth(
            answer=answer,
            level="H1",
            field=field,
            grade="middle",
            question_type="short_answer",
            language=language,
            self_contained=_REFERENCE.search(question) is None,
            key=normal(question),
            solution=solution,
        )

    def bare(self, question: str) -> str:
        """A question without the frame that `vary` may have put around it."""
        for pattern in self._frames:
            match = pattern.fullmatch(question)
            if match:
                return match[1].strip()
        return question

    def _of_key(self, question: str) -> Truth | None:
        bare = self.bare(question)
        key, answer = self.keys.get(normal(bare)), ""
        if key is None:
            template = self.templates.get(normal(_NUMBER.sub("", bare)))
            if template is None:
                return None
            key, places = template
            numbers = [float(n) for n in _NUMBER.findall(bare)]
            answer = _value(key.formula, {name: numbers[i] for name, i in places.items()})
        answer = answer or key.answer
        if key.choices and answer in _LETTERS[: len(key.choices)]:
            answer = key.choices[_LETTERS.index(answer)]
        level = key.level or self._level(bare)
        return Truth(
            answer=answer,
            level=level,
            field=key.field or self._field(bare),
            grade=key.grade or _grade(level),
            question_type=key.question_type or "short_answer",
            language=key.language or _language(bare),
            self_contained=_REFERENCE.search(question) is None,
            key=normal(question),
            solution=key.solution
            if answer == key.answer or key.choices
            else f"{key.formula}\nAnswer: {answer}",
        )

    def _unknown(self, text: str) -> Truth:
        level = self._level(text)
        return Truth(
            answer=str(int(unit(self.seed, "answer", normal(text)) * 900) + 10),
            level=level,
            field=self._field(text),
            grade=_grade(level),
            question_type="open",
            language=_language(text),
            self_contained=_REFERENCE.search(text) is None,
            known=False,
            key=normal(text),
        )

    def _level(self, text: str) -> str:
        return world.LEVELS[int(unit(self.seed, "level", normal(text)) * 5)]

    def _field(self, text: str) -> str:
        _, term, found = world.read_text(text)
        if found or term:
            return found[0] if found else term[0] if term else ""
        lower = text.lower()
        hits = {name: sum(word in lower for word in entry[1]) for name, entry in _taxonomy().items()}
        best = max(hits, key=lambda name: hits[name])
        return best if hits[best] else list(hits)[int(unit(self.seed, "field", normal(text)) * len(hits))]

    def _letter(self, truth: Truth, choices: list[str]) -> str:
        if not truth.known:
            return _LETTERS[int(unit(self.seed, "letter", truth.key) * len(choices))]
        value = (
            number_text(truth.chain.value) if truth.chain and truth.chain.start is not None else truth.answer
        )
        hits = [i for i, choice in enumerate(choices) if normal(choice) == normal(value)]
        hits = hits or [i for i, choice in enumerate(choices) if same_answer(choice, value)]
        return _LETTERS[hits[0]] if len(hits) == 1 else ""

    def right(self, truth: Truth) -> tuple[str, str]:
        """(solution, answer) of someone who knows."""
        if truth.chain is None or truth.chain.start is None:
            return (
                truth.solution or f"The answer follows from the facts.\nAnswer: {truth.answer}",
                truth.answer,
            )
        solution, answer = world.solve(truth.chain)
        return _relabel(solution, answer, truth.answer), truth.answer

    def wrong(self, truth: Truth, choices: Sequence[str], *salt: object) -> tuple[str, str]:
        """(solution, answer) of someone who errs; another `salt` may err in another way."""
        pick = unit(self.seed, "wrong", truth.key, *salt)
        answer, solution = "", ""
        if choices:
            others = [letter for letter in _LETTERS[: len(choices)] if letter != truth.answer]
            answer = others[int(pick * len(others))]
        if truth.chain is not None and truth.chain.start is not None:
            slip = int(unit(pick, "slip") * len(truth.chain.steps))
            solution, made = world.solve(truth.chain, slip)
            if not answer:
                answer = made if not same_answer(made, truth.answer) else _near(truth.answer, pick)
            return _relabel(solution, made, answer), answer
        answer = answer or _near(truth.answer, pick) or str(int(pick * 90) + 10)
        return f"This is a well-known fact.\nAnswer: {answer}", answer

    def make(self, source: random.Random, field: str, level: str, wish: Wish) -> Made:
        """A new question of the world, of exactly this field and level, with its right answer."""
        if (
            wish.question_type == "short_answer"
            and level == "H1"
            and field in world.words()
            and source.random() < 0.25
        ):
            return self._make_term(source, field, wish.language)
        chain = world.draw(source, field, level, wish.language)
        claim = ""
        if wish.question_type == "true_false":
            claim = number_text(chain.value + (0 if source.random() < 0.5 else source.randrange(1, 9)))
        chain = msgspec.structs.replace(
            chain,
            question_type=wish.question_type,
            grade=wish.grade,
            claim=claim,
            start=None if wish.ill_posed else chain.start,
        )
        return self.reword(chain, source, wish.secondary)

    def reword(self, chain: Chain, source: random.Random, secondary: Sequence[str] = ()) -> Made:
        """A question in other words, with answer, solution and formula."""
        question = world.word(chain, source, [name for name in secondary if name in world.words()])
        solution, answer = world.solve(chain)
        choices: list[str] = []
        if chain.question_type == "multiple_choice":
            choices, letter = world.options_of(chain.value, source)
            solution, answer = _relabel(solution, answer, letter), letter
        formula, variables = world.formula_of(chain)
        return Made(
            question=question,
            answer=answer,
            solution=solution,
            choices=choices,
            formula=formula,
            variables=variables,
        )

    def _make_term(self, source: random.Random, field: str, language: str) -> Made:
        row = source.choice(world.words()[field].terms)
        meaning = row[1] if language == "en" else row[3]
        form = source.choice(voc.TERM_ASKS[language])
        question = form.replace("{field}", field).replace("{meaning}", meaning)
        solution, answer = self.right(self.truth(question))
        return Made(question=question, answer=answer, solution=solution)

    def passage(self, source: random.Random, field: str, language: str = "en", sentences: int = 5) -> str:
        """A passage about a field, for seeds without a question."""
        rows = world.words()[field]
        parts = []
        for form in source.sample(voc.PASSAGE[language], min(sentences, len(voc.PASSAGE[language]))):
            term = source.choice(rows.terms)
            slots = {
                "q": world.quantity_words(field, source.randrange(len(rows.quantities)), language)[0],
                "person": source.choice(voc.PERSONS[language]),
                "occasion": source.choice(voc.OCCASIONS[language]),
                "cause": source.choice(voc.CAUSES[language]),
                "field": field,
                "term": term[0 if language == "en" else 2],
                "meaning": term[1 if language == "en" else 3],
            }
            text = _replace(form, {"{" + slot + "}": value for slot, value in slots.items()})
            parts.append(text[0].upper() + text[1:])
        return (" " if language == "en" else "").join(parts)

    def vary(self, question: str, source: random.Random) -> str:
        """The same question in other words."""
        truth = self.truth(question)
        if truth.chain is not None:
            return world.word(truth.chain, source, truth.secondary)
        a, b = source.sample(voc.PERSONS[truth.language], 2)
        form = source.choice(voc.FRAMES[truth.language])
        return _replace(form, {"{a}": a, "{b}": b, "{q}": self.bare(question)})

    def renumber(self, question: str, new: Mapping[float, float], source: random.Random) -> tuple[str, str]:
        """(question, right answer) with numbers replaced, old -> new."""
        chain = self.truth(question).chain
        if chain is not None:
            start = chain.start if chain.start is None else int(new.get(chain.start, chain.start))
            steps = tuple((operator, new.get(number, number)) for operator, number in chain.steps)
            chain = msgspec.structs.replace(chain, start=start, steps=steps)
            return world.word(chain, source), world.answer_of(chain)
        text = _NUMBER.sub(lambda m: number_text(new.get(float(m[0]), float(m[0]))), self.bare(question))
        a, b = source.sample(voc.PERSONS[_language(text)], 2)
        text = _replace(source.choice(voc.FRAMES[_language(text)]), {"{a}": a, "{b}": b, "{q}": text})
        return text, self.truth(text).answer


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a question of the world shall be like besides field and level."""

    language: str = "en"
    question_type: str = "calculation"
    grade: str = ""
    secondary: tuple[str, ...] = ()
    ill_posed: bool = False


_REFERENCE = re.compile("|".join(form.strip(" ,，") for form in voc.REFERENCES.values()), re.IGNORECASE)


def _replace(text: str, slots: Mapping[str, str]) -> str:
    for slot, value in slots.items():
        text = text.replace(slot, value)
    return text


def _language(text: str) -> str:
    return "zh" if re.search(r"[\u4e00-\u9fff]", text) else "en"


def _grade(level: str) -> str:
    return world.GRADES[min(world.LEVELS.index(level), 4)] if level in world.LEVELS else "high"


def _relabel(solution: str, old: str, new: str) -> str:
    """A solution whose last line names `new` instead of `old`."""
    head, mark, _ = solution.rpartition(old)
    return head + new if mark else solution


def _near(answer: str, pick: float) -> str:
    """A wrong answer of the same kind."""
    flip = {"true": "False", "false": "True", "对": "错", "错": "对"}.get(answer.lower())
    match = _NUMBER.search(answer)
    if flip or not match:
        others = [row[0] for entry in world.words().values() for row in entry.terms if row[0] != answer]
        return flip or others[int(pick * len(others))]
    value = float(match[0]) + (1 + int(pick * 5)) * (1 if float(match[0]).is_integer() else 0.1)
    return answer[: match.start()] + number_text(value) + answer[match.end() :]


def _value(formula: str, variables: Mapping[str, float]) -> str:
    from boostqa.text.arithmetic import evaluate

    try:
        return number_text(evaluate(formula, variables))
    except ValueError:
        return ""
