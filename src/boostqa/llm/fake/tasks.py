"""How a fake model does each task of the package's prompts, as well and as badly as its config says.

Everything is decided by hashes of (world seed, model, what was asked), so the same request always gets
the same reply. Knows prompts only by their outer form: the first system line `Task: <name>` and the `## `
sections of the last user message that has any. Knows nothing of HTTP and dialects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from boostqa.llm.fake import truth as truths
from boostqa.llm.fake import words as voc
from boostqa.llm.fake.persona import Persona, Write
from boostqa.llm.fake.truth import Wish, World
from boostqa.llm.fake.world import GRADES, LEVELS, Truth, normal, rng, same_answer, unit

_LETTERS = "ABCDEFGHIJ"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_CHOICE = re.compile(r"^([A-J])\. (.*)$", re.MULTILINE)


class Job(msgspec.Struct, frozen=True):
    """One request to a fake model, read."""

    world: World
    model: str
    persona: Persona
    task: str
    sections: list[tuple[str, str]]
    salt: str
    """Digest of the messages and, when sampled, the seed."""
    draw: str
    """The seed when sampled, else empty: what makes a second attempt at the same question differ."""
    schema: Mapping[str, Any] | None

    def first(self, title: str) -> str:
        """Body of the first section of that title, else empty."""
        return next((body for name, body in self.sections if name == title), "")

    def all(self, title: str) -> list[str]:
        """Bodies of all sections of that title."""
        return [body for name, body in self.sections if name == title]

    def choices(self) -> list[str]:
        """Option texts."""
        return [text.strip() for _, text in _CHOICE.findall(self.first("choices"))]

    def request(self) -> dict[str, str]:
        """The `key: value` lines of the request."""
        lines = (line.partition(":") for line in self.first("request").splitlines())
        return {key.strip(): value.strip() for key, mark, value in lines if mark}

    def chance(self, what: str, probability: float) -> bool:
        """Whether something happens in this request."""
        return unit(self.world.seed, self.model, what, self.salt) < probability

    def truth(self) -> Truth:
        """What is true of the question."""
        return self.world.truth(self.first("question"), self.choices())


class Result(msgspec.Struct, frozen=True):
    """What a model has to say."""

    data: dict[str, Any] | None = None
    text: str = ""
    """Instead of data."""
    thought: str = ""
    letters: dict[str, float] | None = None
    """Probabilities of the option letters, where one was chosen."""


def read_sections(text: str) -> list[tuple[str, str]]:
    """(title in lower case, body) of the `## ` sections."""
    parts = _SECTION.split(text)
    return [(parts[i].strip().lower(), parts[i + 1].strip()) for i in range(1, len(parts), 2)]


def respond(job: Job) -> Result:
    """What the model answers."""
    handler = _TASKS.get(job.task)
    if handler is None:
        if job.schema is not None:
            return Result(data={})
        return Result(
            text=f"Here is a plain reply, number {int(unit(job.world.seed, job.model, job.salt) * 10**6)}."
        )
    return handler(job)


def is_right(job: Job, truth: Truth) -> bool:
    """Whether the model solves this question in this draw."""
    ability = job.persona.ability.of(truth.field, truth.level)
    return unit(job.world.seed, job.model, "solve", truth.key, job.draw) < ability


def solved(job: Job, truth: Truth, choices: list[str]) -> tuple[str, str]:
    """(solution, answer) that the model finds."""
    right = is_right(job, truth)
    if truth.ill_posed and right and not choices:
        return "The question leaves out what is needed.", "It cannot be answered: a value is missing."
    if right and truth.answer:
        return job.world.right(truth)
    return job.world.wrong(
        truth, choices, job.model if truth.ill_posed else int(4 * unit(job.model, job.draw))
    )


def letter_odds(job: Job, truth: Truth, choices: list[str], answer: str) -> dict[str, float]:
    """Probabilities of the letters, highest for `answer`, which is the right one where the model knows it."""
    top = 0.45 + 0.5 * unit(job.world.seed, job.model, "sure", truth.key)
    others = [letter for letter in _LETTERS[: len(choices)] if letter != answer]
    shares = [0.2 + unit(job.world.seed, job.model, "share", truth.key, letter) for letter in others]
    return {answer: top} | {o: (1 - top) * s / sum(shares) for o, s in zip(others, shares, strict=True)}


def _solve(job: Job) -> Result:
    truth, choices = job.truth(), job.choices()
    solution, answer = solved(job, truth, choices)
    odds = letter_odds(job, truth, choices, answer) if choices else None
    return Result(data={"solution": solution, "answer": answer}, thought=solution, letters=odds)


def _label(job: Job) -> Result:
    passage = job.first("passage")
    truth = job.world.truth(passage or job.first("question"), [] if passage else job.choices())
    level = truth.level
    if not _accurate(job, "level", truth):
        up = level == "H1" or (level != "H5" and job.chance("up", 0.5))
        level = LEVELS[LEVELS.index(level) + (1 if up else -1)]
    field = (
        truth.field if _accurate(job, "field", truth) else _other(job, "field", truth.field, truths.fields())
    )
    right = truths.discipline_of(truth.field)
    disciplines = sorted({truths.discipline_of(name) for name in truths.fields()})
    discipline = (
        right if _accurate(job, "discipline", truth) else _other(job, "discipline", right, disciplines)
    )
    grade = truth.grade if _accurate(job, "grade", truth) else _other(job, "grade", truth.grade, list(GRADES))
    sure = 0.75 + 0.24 * unit(job.salt) if field == truth.field else 0.4 + 0.4 * unit(job.salt)
    kind = truth.question_type
    if not _accurate(job, "question_type", truth):
        kind = _other(job, "question_type", kind, list(voc.ASKS["en"]))
    return Result(
        data={
            "discipline": discipline,
            "field": field,
            "confidence": round(sure, 2),
            "second_field": _other(job, "second_field", field, truths.fields()),
            "second_confidence": round((1 - sure) / 2, 2),
            "level": level,
            "grade": grade,
            "secondary_fields": list(truth.secondary),
            "question_type": kind,
            "language": truth.language,
            "self_contained": truth.self_contained and not truth.ill_posed,
            "knowledge_points": _points(truth),
        }
    )


def _accurate(job: Job, kind: str, truth: Truth) -> bool:
    rates = job.persona.label_accuracy
    rate = rates.get(kind, 0.95) if isinstance(rates, dict) else rates
    return unit(job.world.seed, job.model, "label", kind, truth.key) < rate


def _other(job: Job, kind: str, right: str, options: list[str]) -> str:
    found = _property(job.schema, kind).get("enum") or options
    rest = [option for option in found if normal(str(option)) != normal(right)] or [right]
    return str(rest[int(unit(job.world.seed, job.model, "other", kind, job.salt) * len(rest))])


def _property(schema: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found = ((schema or {}).get("properties") or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _points(truth: Truth) -> list[str]:
    points = [f"{truth.field} basics"]
    if truth.chain is not None:
        kinds = {"+": "increase", "-": "decrease", "*": "multiplication", "/": "division"}
        points += sorted({kinds[operator] for operator, _ in truth.chain.steps})
    return points


def _write(job: Job) -> Result:
    lines, rates = job.request(), job.persona.write
    seeds = job.all("seed") or job.all("passage")
    language = "zh" if lines.get("language", "en").lower() in {"zh", "chinese", "中文"} else "en"
    field = lines.get("field") or (job.world.truth(seeds[0]).field if seeds else "Mathematics")
    level = lines["level"] if lines.get("level") in LEVELS else "H3"
    if job.chance("easier", rates.easier):
        level = LEVELS[max(LEVELS.index(level) - 1, 0)]
    flaw = _flaw(job, rates)
    kind = lines.get("question_type", "calculation")
    grade = lines.get("grade", "")
    secondary = tuple(part.strip() for part in lines.get("secondary_fields", "").split(",") if part.strip())
    wish = Wish(
        language=language,
        question_type=kind if kind in voc.ASKS["en"] else "open",
        secondary=secondary,
        grade=grade if grade in GRADES else "",
        ill_posed=flaw == "ill_posed",
    )
    pool = (
        ("pool", field, level, language, int(3 * unit(job.salt)))
        if flaw == "duplicate"
        else (job.model, job.salt)
    )
    made = job.world.make(rng(job.world.seed, *pool), field, level, wish)
    question, choices, answer, solution = made.question, made.choices, made.answer, made.solution
    if flaw == "copy" and seeds:
        question, choices = _copied(seeds[0]), []
        solution, answer = job.world.right(job.world.truth(question))
    truth = job.world.truth(question, choices)
    if truth.ill_posed or job.chance("wrong_answer", rates.wrong_answer):
        solution, answer = job.world.wrong(truth, choices, job.salt)
    if flaw == "leak":
        question += f" (The answer is {answer}.)" if language == "en" else f"（答案是{answer}。）"
    if flaw == "passage_reference":
        question = voc.REFERENCES[language] + question
    data: dict[str, Any] = {"question": question, "solution": solution, "answer": answer}
    if choices:
        data["choices"] = choices
    mechanism = f"The hardness lies in {lines.get('strategy', 'several steps')}: a hasty reader skips a step."
    thought = "First the answer, then the question that leads to it.\n" + solution
    return Result(data=data | ({"mechanism": mechanism} if job.task == "harden" else {}), thought=thought)


def _flaw(job: Job, rates: Write) -> str:
    """At most one of the flaws that exclude each other."""
    left = unit(job.world.seed, job.model, "flaw", job.salt)
    for name in ("ill_posed", "passage_reference", "leak", "copy", "duplicate"):
        left -= getattr(rates, name)
        if left < 0:
            return name
    return ""


def _copied(seed: str) -> str:
    match = re.search(r"^Question:\s*(.+?)(?=\n[A-J]\. |\nAnswer:|\Z)", seed, re.MULTILINE | re.DOTALL)
    return match[1].strip() if match else seed[:300].strip()


def _vary(job: Job) -> Result:
    question = job.world.vary(job.first("question"), rng(job.world.seed, job.model, job.salt))
    if job.chance("vary", job.persona.vary_breaks):
        question = re.sub(r"\d+", lambda m: str(int(m[0]) + 3), question, count=1)
    return Result(data={"question": question})


def _vary_numbers(job: Job) -> Result:
    pairs = re.findall(r"^(-?[\d.]+)\s*->\s*(-?[\d.]+)\s*$", job.first("replace"), re.MULTILINE)
    new = {float(old): float(value) for old, value in pairs}
    source = rng(job.world.seed, job.model, job.salt)
    question, answer = job.world.renumber(job.first("question"), new, source)
    if not answer or job.chance("vary", job.persona.vary_breaks):
        _, answer = job.world.wrong(job.world.truth(question), [], job.salt)
    return Result(data={"question": question, "answer": answer})


def _distract(job: Job) -> Result:
    truth = job.world.truth(job.first("question"))
    right = job.first("answer")
    shaped = msgspec.structs.replace(truth, answer=right, chain=None)
    found: list[str] = []
    for salt in range(40):
        text = job.world.wrong(shaped, [], job.salt, salt)[1]
        if text not in found and not same_answer(text, right):
            found.append(text)
        if len(found) == 3:
            break
    return Result(data={"distractors": found})


def _refine(job: Job) -> Result:
    truth, choices, draft = job.truth(), job.choices(), job.first("answer")
    solution, answer = job.world.right(truth)
    if not truth.answer:
        found = job.chance("fixes", job.persona.refine.fixes)
        verdict, solution, answer = "contradicted" if found else "unchanged", job.first("solution"), draft
    elif same_answer(draft, truth.answer) or (not truth.known and not choices):
        verdict = "improved" if job.chance("improve", 0.6) else "unchanged"
        answer = draft
        if job.chance("breaks", job.persona.refine.breaks):
            verdict, (solution, answer) = "contradicted", job.world.wrong(truth, choices, job.salt)
    elif job.chance("fixes", job.persona.refine.fixes):
        verdict = "contradicted"
    else:
        verdict, answer = "unchanged", draft
        solution = job.first("solution") or solution
    return Result(data={"solution": solution, "answer": answer, "verdict": verdict}, thought=solution)


def _judge(job: Job) -> Result:
    truth, answer = job.truth(), job.first("answer")
    bad = truth.ill_posed or not truth.self_contained
    wrong = truth.known and not same_answer(answer, truth.answer)
    rates = job.persona.judge
    if bad or wrong:
        found = job.chance("judge", rates.sensitivity)
        verdict = ("ill_posed" if bad else "wrong") if found else "correct"
    else:
        verdict = "correct" if job.chance("judge", rates.specificity) else "wrong"
    base = {"correct": 4, "wrong": 1, "ill_posed": 1}[verdict]
    reason = {
        "correct": "Every step was checked and no error was found.",
        "wrong": "The final answer is not right.",
        "ill_posed": "The question leaves out something that is needed.",
    }[verdict]
    score = base + (1 if job.chance("score", 0.5) else 0)
    return Result(
        data={"reason": reason, "verdict": verdict, "score": score}, thought=job.world.right(truth)[0]
    )


_TASKS: dict[str, Callable[[Job], Result]] = {
    "label": _label,
    "label_discipline": _label,
    "label_field": _label,
    "label_level": _label,
    "write": _write,
    "harden": _write,
    "vary": _vary,
    "vary_numbers": _vary_numbers,
    "distract": _distract,
    "solve": _solve,
    "solve_short": _solve,
    "refine": _refine,
    "judge": _judge,
}
