"""What a fake model is like: abilities, error rates, speed; the entries of `models` in the fake's config."""

from __future__ import annotations

import msgspec

from boostqa.llm.fake.truth import discipline_of


class Ability(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How likely a model is to solve a question, 0..1."""

    default: float = 0.8
    cells: dict[str, float] = {}
    """`Field/H4`, `Discipline/H4`, `*/H4`, `Field` or `Discipline` -> probability; the first fit counts."""

    def of(self, field: str, level: str) -> float:
        """Probability for a question of this true field and level."""
        discipline = discipline_of(field)
        for cell in (f"{field}/{level}", f"{discipline}/{level}", f"*/{level}", field, discipline):
            if cell in self.cells:
                return self.cells[cell]
        return self.default


class Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of what goes wrong when a model writes questions, 0..1."""

    wrong_answer: float = 0.0
    easier: float = 0.0
    """One level lower than asked for."""
    leak: float = 0.0
    copy: float = 0.0
    """The seed's own words."""
    passage_reference: float = 0.0
    ill_posed: float = 0.0
    duplicate: float = 0.0
    """One of three questions that others of the same field and level get too."""


class Refine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model refines answers, 0..1."""

    fixes: float = 0.7
    """Share of wrong drafts that it finds and mends."""
    breaks: float = 0.02
    """Share of right drafts that it spoils."""


class Judge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model judges, 0..1."""

    sensitivity: float = 0.9
    """Share of bad items that it calls bad."""
    specificity: float = 0.95
    """Share of good items that it calls correct."""


class Persona(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fake model."""

    dialect: str = "openai"
    """openai, vllm, sglang, deepseek or llamacpp."""
    ability: Ability = Ability()
    label_accuracy: float | dict[str, float] = 0.95
    """For all labels, or by kind: field, discipline, level, grade, question_type."""
    write: Write = Write()
    refine: Refine = Refine()
    judge: Judge = Judge()
    vary_breaks: float = 0.0
    """Share of reworded or renumbered questions whose meaning or answer is spoiled."""
    ignores: tuple[str, ...] = ()
    """Fields of a request that it passes over without a word, as many servers do."""
    refuses: tuple[str, ...] = ()
    """Fields that it answers with an error."""
    thinking: bool | None = None
    """Whether it can think first, and does where the request leaves that open; None: only `deepseek` does."""
    thought_tokens: int = 0
    """At least so many tokens per thought."""
    reasoning_field: str = ""
    """reasoning_content, reasoning or inline (`<think>` in the content); empty: as the dialect has it."""
    latency_s: float = 0.0
    """Seconds per reply before the first token."""
    token_s: float = 0.0
    """Seconds per generated token."""
    spread_s: float = 0.0
    """Up to so many seconds more per reply, at random, so that answers do not come in bursts."""
    slots: int = 0
    """Replies worked on at once, the rest queues without bound; 0: no limit."""
    max_in_flight: int = 0
    """More requests than that are answered 429; 0: no limit."""
    rpm: float = 0.0
    """Requests a minute, 429 beyond (a bucket of one second's worth, at least 1); 0: no limit."""
    context: int = 32768
    """Tokens of prompt and reply together."""
    raw_bytes: int = 0
    """Above 0: every reply is a canned one of that size (for benchmarks), whatever is asked."""
    fresh_samples: bool = False
    """Repeats of a sampled request get new replies, as from real servers; then replies depend on order."""
