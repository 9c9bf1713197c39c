"""One record's whole story: where it stands in every stage, its family, and every prompt and reply about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from boostqa.errors import UserError
from boostqa.llm.ledger_files import entries as ledger_entries
from boostqa.pipeline import entries, part_of
from boostqa.record import Record
from boostqa.run import Run
from boostqa.shard import EntryFolder, read_parquet
from boostqa.table import from_table
from boostqa.view import entry_folder


def story(run: Run, identifier: str) -> dict[str, Any]:
    """Plain data: `stations` (record and fate per stage), `parents`, `children`, `calls`, `released`.

    Raises:
        UserError: when no stage has seen the id.
    """
    stations = []
    latest: Record | None = None
    for segment, name, folder in _folders(run):
        for half in ("kept", "dropped"):
            for record in _find(folder, half, identifier):
                latest = record
                stations.append({"segment": segment, "entry": name, "fate": half, "record": _plain(record)})
    if latest is None:
        raise UserError(
            f"{run.root}: no record {identifier!r}; ids stand in the data set's `id` and in the report"
        )
    parents = [p for parent in latest.parents for p in _anywhere(run, parent)]
    calls = [line for line in ledger_entries(run.root) if line.get("r") in {identifier, *latest.parents}]
    return {
        "id": identifier,
        "stations": stations,
        "parents": parents,
        "children": [_brief(record) for record in _children(run, identifier)],
        "calls": calls,
        "released": _released(run, identifier),
    }


def print_story(path: Path, identifier: str, *, as_json: bool) -> None:
    """Prints the story for a person, or as JSON."""
    found = story(Run.open(path), identifier)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    first = found["stations"][0]["record"]
    print(f"{first['kind']} {identifier}")
    for station in found["stations"]:
        record = station["record"]
        drop = record.get("dropped")
        fate = f"dropped: {drop['reason']} ({drop['evidence']})" if drop else station["fate"]
        print(f"\n[{station['segment']}/{station['entry']}] {fate}")
        for key in (
            "question",
            "choices",
            "answer",
            "solution",
            "passage",
            "labels",
            "requested",
            "evidence",
            "scores",
        ):
            if record.get(key):
                print(f"  {key}: {_shown(record[key])}")
    last = found["stations"][-1]["record"]
    for title, key in (("history", "history"),):
        print(f"\n{title}")
        for event in last.get(key, []):
            print(f"  {event['stage']}: {event['action']} {event.get('detail', '')}".rstrip())
    for title in ("parents", "children"):
        if found[title]:
            print(f"\n{title}")
            for item in found[title]:
                print(f"  {item['kind']} {item['id']} [{item['fate']}] {item['text']}")
    for call in found["calls"]:
        _print_call(call)
    print(f"\nreleased in: {found['released'] or 'nowhere'}")


def _print_call(call: dict[str, Any]) -> None:
    place = f"{call['segment']}/{call['entry']} {call['shard']}"
    print(
        f"\ncall {call['k']} by {call.get('role', '?')} ({call.get('model', '?')}) in {place}, for {call.get('r')}"
    )
    for message in (call.get("request") or {}).get("messages", [])[-1:]:
        print(f"  {message['role']}: {_shown(message['content'], 1500)}")
    reply = call.get("reply")
    if reply:
        print(f"  reply: {_shown(reply.get('text', ''), 1500)}")
    if call.get("err"):
        print(f"  error: {call['err']}")


def _folders(run: Run) -> Iterator[tuple[str, str, EntryFolder]]:
    for segment in run.segments:
        for entry in entries(part_of(segment["name"])):
            yield segment["name"], entry.name, entry_folder(run, segment["name"], entry)


def _files(folder: EntryFolder, half: str) -> list[Path]:
    return [folder.path / half / f"{shard}.parquet" for shard in sorted(folder.done(half))]


def _find(folder: EntryFolder, half: str, identifier: str) -> Iterator[Record]:
    import pyarrow.compute as pc

    for path in _files(folder, half):
        if identifier in read_parquet(path, ["id"]).column("id").to_pylist():
            table = read_parquet(path)
            yield from from_table(table.filter(pc.equal(table.column("id"), identifier)))


def _anywhere(run: Run, identifier: str) -> list[dict[str, Any]]:
    found = None
    for _, _, folder in _folders(run):
        for half in ("kept", "dropped"):
            found = next(_find(folder, half, identifier), found)
    return [_brief(found)] if found is not None else []


def _children(run: Run, identifier: str) -> list[Record]:
    """Latest state of every record that names `identifier` among its parents."""
    found: dict[str, Record] = {}
    for _, _, folder in _folders(run):
        for half in ("kept", "dropped"):
            for path in _files(folder, half):
                parents = read_parquet(path, ["parents"]).column("parents").to_pylist()
                rows = [i for i, group in enumerate(parents) if identifier in (group or [])]
                if rows:
                    found |= {record.id: record for record in from_table(read_parquet(path).take(rows))}
    return list(found.values())


def _released(run: Run, identifier: str) -> str | None:
    """File of the data set that holds the record."""
    folder = run.root / "dataset" / "data"
    for path in sorted(folder.glob("*.parquet")):
        if identifier in read_parquet(path, ["id"]).column("id").to_pylist():
            return str(path.relative_to(run.root))
    return None


def _brief(record: Record) -> dict[str, Any]:
    text = record.question or record.passage or _shown(_plain(record).get("requested", {}))
    fate = f"dropped: {record.dropped.reason}" if record.dropped else "kept"
    return {"id": record.id, "kind": record.kind, "fate": fate, "text": _shown(text, 160)}


def _plain(record: Record) -> dict[str, Any]:
    return dict(msgspec.to_builtins(record))


def _shown(value: Any, limit: int = 600) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    # Control characters of untrusted text could drive the terminal.
    text = "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
