"""The released data set: its columns, its files, and how a record becomes a row.

    dataset/data/train-00000-of-00003.parquet  validation-...  dropped/  manifest.json  README.md  SOURCES.md

Columns and types are fixed and versioned here; readers of the data depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.errors import UserError
from boostqa.licences import most_restrictive
from boostqa.record import Labels, Record, Requested
from boostqa.shard import COUNTS, EntryFolder, fates, parquet_bytes, put
from boostqa.table import schema_of, to_table

if TYPE_CHECKING:
    import pyarrow as pa

    from boostqa.shard import Counts

RELEASE_VERSION = 1

COLUMNS: dict[str, str] = {
    "id": "string",
    "question": "string",
    "choices": "list<string>",
    "answer": "string",
    "solution": "string",
    "reasoning": "string",
    "text": "string",
    "question_type": "string",
    "language": "string",
    "discipline": "string",
    "field": "string",
    "secondary_fields": "list<string>",
    "stem": "string",
    "level": "string",
    "level_rubric": "string",
    "level_measured": "string",
    "level_se": "double",
    "grade": "string",
    "knowledge_points": "list<string>",
    "requested_discipline": "string",
    "requested_field": "string",
    "requested_level": "string",
    "requested_grade": "string",
    "route": "string",
    "strategy": "string",
    "pass_rate": "double",
    "judge_score": "double",
    "evidence": "list<string>",
    "refine_verdict": "string",
    "dup_cluster": "string",
    "contamination_score": "double",
    "parents": "list<string>",
    "source": "list<string>",
    "license": "string",
    "teacher": "string",
    "refiner": "string",
    "prompt_hash": "string",
    "round": "int64",
    "tokens": "int64",
}
"""Column -> type of the released files, in order."""


def release_schema() -> pa.Schema:
    """Arrow schema of the released files."""
    return schema_of(COLUMNS).with_metadata({"boostqa.release": str(RELEASE_VERSION)})


def render_text(record: Record) -> str:
    """Plain text for pre-training: question, lettered options, solution, answer; no chat tokens."""
    parts = [record.question.strip()]
    if record.choices:
        parts.append("\n".join(f"{chr(65 + i)}. {choice}" for i, choice in enumerate(record.choices)))
    if record.solution.strip() and record.solution.strip() != record.answer.strip():
        parts.append(record.solution.strip())
    answer = record.answer.strip()
    if record.choices and len(answer) == 1 and answer.isalpha() and ord(answer) - 65 < len(record.choices):
        answer = f"{answer}. {record.choices[ord(answer) - 65]}"
    label = "答案：" if record.language == "zh" else "Answer: "
    parts.append(label + answer)
    return "\n\n".join(parts)


def estimate_tokens(text: str) -> int:
    """Tokens by the rule bytes / 4; an estimate, and the card says so."""
    return max(1, len(text.encode("utf-8")) // 4)


def token_counter(path: str) -> Callable[[Sequence[str]], list[int]]:
    """Counts the tokens of texts, without special ones, with the Hugging Face tokenizer in the file `path`.

    Raises:
        UserError: the file is not there or is no `tokenizer.json`, or the extra `tokenizer` is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError(
            "dataset.tokenizer: needs the extra `tokenizer`: pip install 'boostqa[tokenizer]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"dataset.tokenizer: {path}: cannot be read ({error}); give a tokenizer.json"
        ) from None
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise UserError(f"dataset.tokenizer: {path}: is no tokenizer.json ({error}); give one") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        return [len(found) for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return count


def release_row(record: Record) -> dict[str, Any]:
    """One record as a row of `COLUMNS`."""
    labels, wish = record.labels, record.requested or Requested()
    text = render_text(record)
    row: dict[str, Any] = {
        name: getattr(record, name) for name in COLUMNS if name in Record.__struct_fields__
    }
    row |= {name: getattr(labels, name) for name in COLUMNS if name in Labels.__struct_fields__}
    row |= {
        "text": text,
        "requested_discipline": wish.discipline,
        "requested_field": wish.field,
        "requested_level": wish.level,
        "requested_grade": wish.grade,
        "route": wish.route,
        "strategy": wish.strategy,
        "pass_rate": record.scores.get("pass_rate"),
        "judge_score": record.scores.get("judge"),
        "contamination_score": record.scores.get("contamination"),
        "source": sorted({seed.source for seed in record.seeds if seed.source}),
        "license": licence_of(record),
        "tokens": record.tokens if record.tokens is not None else estimate_tokens(text),
    }
    return row


def licence_of(record: Record) -> str:
    """The most restrictive licence among the record's seeds."""
    return most_restrictive([seed.license or "unknown" for seed in record.seeds])


class ReleaseFolder(EntryFolder):
    """`dataset/`: a shard is a pair of train and validation files; the train file is its completion."""

    def kept(self, shard: str) -> Path:
        """The train file of a shard named `00000-of-00003`."""
        return self.path / "data" / f"train-{shard}.parquet"

    def validation(self, shard: str) -> Path:
        """The validation file of a shard."""
        return self.path / "data" / f"validation-{shard}.parquet"

    def done(self, folder: str) -> set[str]:
        """Names of the released shards, or of a state's as everywhere."""
        if folder != "kept":
            return super().done(folder)
        path = self.path / "data"
        return (
            {p.stem.removeprefix("train-") for p in path.glob("train-*.parquet")} if path.is_dir() else set()
        )

    def commit_records(self, shard: str, inputs: Iterable[tuple[str, str]], outputs: list[Record]) -> Counts:
        """Checks the fates and commits dropped, validation and train rows, in this order."""
        import pyarrow as pa

        counts = fates(inputs, outputs, f"{self.path.name}/{shard}")
        metadata = {COUNTS: msgspec.json.encode(counts, order="sorted")}
        gone = to_table(record for record in outputs if record.dropped is not None)
        put(self.dropped(shard), parquet_bytes(gone, level=3), replace=True)
        for split, path in (("validation", self.validation(shard)), ("train", self.kept(shard))):
            rows = [release_row(r) for r in outputs if r.dropped is None and r.split == split]
            schema = release_schema()
            table = pa.Table.from_pylist(rows, schema=schema.with_metadata({**schema.metadata, **metadata}))
            put(path, parquet_bytes(table, level=3), replace=split == "validation")
        return counts

    def rows_on_disk(self, shard: str) -> int:
        """Rows of train and validation together."""
        import pyarrow.parquet as pq

        paths = (self.kept(shard), self.validation(shard))
        return sum(pq.read_metadata(path).num_rows for path in paths)
