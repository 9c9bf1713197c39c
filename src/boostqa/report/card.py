"""The data set's card (dataset/README.md) and the list of its sources (dataset/SOURCES.md).

The card's head is metadata for the Hub, so that a copied folder loads by its name. Text from recipes is data
here, too: it enters YAML through its writer and Markdown with its marks escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from boostqa.licences import canonical, most_restrictive
from boostqa.pipeline import part_of
from boostqa.release import COLUMNS
from boostqa.report.facts import NOT_KNOWN, Released, Seeds, released_of, seeds_of
from boostqa.report.sections import LEVELS, words
from boostqa.report.setup import SMALL_MODEL, Setup, read_setup
from boostqa.report.trust import EVIDENCE
from boostqa.run import Run
from boostqa.shard import put

MEANING = {
    "id": "id for life; `boostqa show RUN ID` tells its whole story",
    "question": "the question",
    "choices": "option texts without letters; empty unless multiple choice",
    "answer": "the letter for multiple choice, else the final answer alone",
    "solution": "worked solution that ends in the answer",
    "reasoning": "the writer's thought, where the recipe keeps it",
    "text": "question, options, solution and answer as plain text for pre-training, without chat tokens",
    "question_type": "open, multiple_choice, short_answer, calculation, ... (`taxonomy/types.yaml`)",
    "language": "ISO 639-1 code",
    "discipline": "upper level of the taxonomy, as found",
    "field": "leaf of the taxonomy, as found; `Other` fits none",
    "secondary_fields": "further fields of an item that crosses disciplines",
    "stem": "core, extended or no",
    "level": "difficulty H1 (recall) to H5 (expert): the level that counts",
    "level_rubric": "H1..H5 as read off the rubric",
    "level_measured": "H1..H5 from the pass rate of reference solvers; null where nothing was solved",
    "level_se": "standard error of the measured difficulty, in levels",
    "grade": "primary, middle, high, undergraduate, graduate or professional",
    "knowledge_points": "what the item is about, in a few words each",
    "requested_discipline": "what the plan asked for",
    "requested_field": "what the plan asked for",
    "requested_level": "what the plan asked for; compare with `level`",
    "requested_grade": "what the plan asked for",
    "route": "multi_grade or high_difficulty",
    "strategy": "how the question was made",
    "pass_rate": "share of reference solutions that reach the answer, 0..1",
    "judge_score": "lowest score by an independent judge, 1..5",
    "evidence": "what supports the answer: "
    + ", ".join(f"`{kind}`" for kind in EVIDENCE)
    + " (with the model's name)",
    "refine_verdict": "unchanged, improved or contradicted: what a second look at the answer said",
    "dup_cluster": "id of the duplicate cluster",
    "contamination_score": "largest overlap with a benchmark item, 0..1",
    "parents": "ids of the task and of the seeds behind it",
    "source": "names of the seed sources behind it (see SOURCES.md)",
    "license": "the most restrictive licence of those sources",
    "teacher": "id of the model that wrote it",
    "refiner": "id of the model that refined it",
    "prompt_hash": "hash of the prompt template",
    "round": "round of the run",
    "tokens": "length of `text`, in tokens (see below)",
}
"""Column -> what it holds."""

_HUB_LICENSES = {
    "CC0-1.0", "MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-3.0", "CC-BY-2.0", "CC-BY-SA-4.0", "CC-BY-SA-3.0",
    "CC-BY-NC-4.0", "CC-BY-NC-3.0", "CC-BY-NC-SA-4.0", "CC-BY-NC-SA-3.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0",
    "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "ODbL-1.0",
}  # fmt: skip
"""Licences that the Hub knows under their lower-case names; others are called `other` there."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
          (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip


def write_card(run: Run) -> list[Path]:
    """Writes README.md and SOURCES.md into the data set's folder; nothing while there is no data set.

    Raises:
        StorageStop: when they cannot be written.
    """
    folder = run.root / "dataset"
    if not (folder / "manifest.json").exists():
        return []
    setup, released, seeds = read_setup(run), released_of(run), seeds_of(run)
    texts = {"README.md": card(run, setup, released, seeds), "SOURCES.md": sources(setup, released, seeds)}
    for name, text in texts.items():
        put(folder / name, text.encode(), replace=True)
    return [folder / name for name in texts]


def card(run: Run, setup: Setup, released: Released, seeds: Seeds) -> str:
    """The whole card."""
    title = (setup.data.get("dataset") or {}).get("title") or setup.name
    head = yaml.safe_dump(metadata(setup, released, title), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---\n\n# {plain(title)}\n",
        _what(setup, released),
        _how(run, setup, released),
        "## Load\n\n```python\nfrom datasets import load_dataset\n"
        'data = load_dataset("parquet", data_dir="PATH/TO/dataset")  # train, validation\n'
        "import polars\n"
        'train = polars.read_parquet("PATH/TO/dataset/data/train-*.parquet")\n```\n',
        _counts(released),
        "## Columns\n\n"
        + table(
            ("column", "type", "meaning"), ((f"`{c}`", f"`{t}`", MEANING[c]) for c, t in COLUMNS.items())
        ),
        _support(released),
        _rights(setup, released),
        _limits(setup, released),
    ]
    return "\n".join(parts)


def metadata(setup: Setup, released: Released, title: str) -> dict[str, Any]:
    """The card's head, as the Hub reads it."""
    licence = canonical(most_restrictive(released.by["license"])) if released.total else "unknown"
    known = licence in _HUB_LICENSES
    found: dict[str, Any] = {
        "pretty_name": str(title),
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": licence, "license_link": "SOURCES.md"}),
        "language": sorted(set(released.by["language"]) - {NOT_KNOWN}),
        "size_categories": [next((name for size, name in _SIZES if released.total < size), "n>1B")],
        "task_categories": ["question-answering", "text-generation"],
        "tags": ["synthetic", "boostqa", "mid-training"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "data/train-*"},
                    {"split": "validation", "path": "data/validation-*"},
                ],
            }
        ],
    }
    return found


def sources(setup: Setup, released: Released, seeds: Seeds) -> str:
    """SOURCES.md: what each source gave, under which licence."""
    named = {source["name"]: source for source in (setup.data.get("seeds") or {}).get("sources", [])}
    names = sorted({*named, *released.sources, *seeds.by["source"]} - {NOT_KNOWN})
    rows = [
        (
            plain(name),
            plain(canonical(named.get(name, {}).get("license"))),
            f"{seeds.by['source'][name]:,}",
            f"{released.sources[name]:,}",
            share(released.sources[name], released.total),
        )
        for name in names
    ]
    licences = (
        (plain(name), f"{count:,}", share(count, released.total))
        for name, count in ranked(released.by["license"])
    )
    return (
        "# Sources and licences\n\n"
        "Every released item names its sources in `source` and the most restrictive of their licences in "
        "`license`. "
        "An item made from seeds of several sources counts for each of them.\n\n"
        + table(("source", "licence", "labelled seeds", "released items", "share"), rows)
        + "\n## Released items by licence\n\n"
        + table(("licence", "items", "share"), licences)
        + "\nA licence that asks for attribution asks for it here, too: name the sources above when you "
        "pass the data on. "
        "This table is no legal advice.\n"
    )


def _what(setup: Setup, released: Released) -> str:
    text = (
        f"{released.total:,} question-answer pairs in {len(released.by['field'])} fields, about "
        f"{released.tokens:,} tokens of "
        "text, written by language models from real seeds where a target model was found weak, and kept "
        "only where "
        "evidence that is independent of the writer supports the answer. Made with `boostqa`.\n"
    )
    if setup.writer and setup.writer["embedded"]:
        size = " of 135 million parameters" if setup.writer["id"] == SMALL_MODEL else ""
        text += (
            f"\n> **This shows the machine, not the quality.** The embedded model "
            f"{plain(setup.writer['id'])}{size} wrote these "
            "items. For data worth training on, name a strong teacher in the recipe.\n"
        )
    return text


def _how(run: Run, setup: Setup, released: Released) -> str:
    rounds = sum(part_of(segment["name"]) == "round" for segment in run.segments)
    roles = table(("role", "model"), ((role["role"], plain(role["id"])) for role in setup.roles))
    return (
        "## How it was made\n\nSeeds were deduplicated, compared with benchmarks, labelled by field and "
        "level, and a held-out "
        "part of them was asked of a target model. What that model lacks became a plan; then in "
        f"{rounds} round{'s' if rounds != 1 else ''} a teacher wrote questions and answers, a second model "
        "refined them, "
        "checks and independent models verified them, and duplicates and benchmark items were taken out.\n\n"
        f"{roles}\nThe validation split holds whole duplicate clusters, chosen by their hash.\n"
    )


def _counts(released: Released) -> str:
    text = "## Numbers\n\n" + table(
        ("split", "items"), ((name, f"{n:,}") for name, n in sorted(released.splits.items()))
    )
    names = sorted({name for name, _ in released.cells})
    levels = [*LEVELS, *sorted({level for _, level in released.cells} - set(LEVELS))]
    rows = [
        (
            plain(name),
            *(f"{released.cells[name, level]:,}" for level in levels),
            f"{released.by['discipline'][name]:,}",
        )
        for name in names
    ]
    text += "\n" + table(("discipline", *levels, "all"), rows)
    for title, column in (
        ("language", "language"),
        ("grade", "grade"),
        ("question type", "question_type"),
        ("route", "route"),
    ):
        text += "\n" + table((title, "items"), _values(released.by[column]))
    return text


def _support(released: Released) -> str:
    rows = (
        (words(kind), EVIDENCE.get(kind, ""), f"{count:,}", share(count, released.total))
        for kind, count in ranked(released.evidence)
    )
    return "## What supports the answers\n\n" + table(("evidence", "meaning", "items", "share"), rows)


def _rights(setup: Setup, released: Released) -> str:
    text = "## Licences and terms\n\n" + table(("licence", "items"), _values(released.by["license"]))
    text += "\nWhich source has which licence stands in [SOURCES.md](SOURCES.md). "
    text += "On top of them come the terms of the models:\n\n"
    writers = {role["id"]: role for role in setup.roles if role["role"] in ("teacher", "refiner")}
    for name, role in sorted(writers.items()):
        terms = (
            plain(role["terms"])
            if role["terms"]
            else "the recipe states none; see the model's licence or its provider"
        )
        text += f"- {plain(name)}: {terms}\n"
    return text


def _limits(setup: Setup, released: Released) -> str:
    tokenizer = (setup.data.get("dataset") or {}).get("tokenizer")
    # Its folder usually has the model's name; the rest of the path is nobody's business.
    named = "/".join(Path(tokenizer).parts[-2:]) if tokenizer else ""
    rule = f"`tokens` are counted with {plain(named)}." if named else (
        "`tokens` are an estimate: bytes of `text` in UTF-8 divided by 4."
    )  # fmt: skip
    return (
        f"## Limits\n\n- {rule}\n"
        "- The items are synthetic. Evidence lowers the share of wrong answers, it does not make it zero.\n"
        "- Field, level and grade were found by models, not by people; `level_measured` depends on the "
        "solvers in use.\n"
        "- Overlap was searched with the benchmarks that the run knew; others may be touched.\n"
        "- Questions may carry the errors and slants of their seeds and of the models above.\n"
    )


def _values(counts: Counter[str]) -> Iterable[tuple[str, str]]:
    return (
        (plain(words(name) if name != NOT_KNOWN else name), f"{count:,}") for name, count in ranked(counts)
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are taken as they are."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first, ties by name, since Arrow counts in no fixed order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def share(part: int, whole: int) -> str:
    """A percentage with one digit."""
    return f"{part / whole:.1%}" if whole else "–"


def plain(text: Any) -> str:
    """A text from a recipe as one line of Markdown that stays text."""
    line = " ".join(str(text or "").split())
    escaped = "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in line)
    return escaped[:2000]
