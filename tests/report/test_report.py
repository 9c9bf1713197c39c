"""The page: complete, bounded, offline, escaped, and right about the numbers of the run."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from boostqa.errors import UserError
from boostqa.flows import check, variant
from boostqa.pipeline import PIPELINE
from boostqa.report import finish, trust, write_report
from boostqa.report.annotation import KEPT, keep
from boostqa.report.facts import Items, items_of, released_of
from boostqa.report.html import clean, context, duration, render
from boostqa.report.numbers import collect
from boostqa.report.samples import accepted_samples, drop_examples
from boostqa.report.sections import ABOUT
from boostqa.report.trust import RUNGS, meters
from boostqa.run import Run
from boostqa.stages import verify
from report.small_run import SCRIPT, SmallRun

VOID = {"meta", "br", "col", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Reads a page strictly: every tag that is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(finished: Run) -> Page:
    return Page((finished.root / "report.html").read_text(encoding="utf-8"))


def test_page_is_one_file_without_script_or_address(finished: Run, page: Page) -> None:
    raw = (finished.root / "report.html").read_text(encoding="utf-8")
    assert len(raw) < 400_000
    assert "script" not in {tag for tag, _ in page.tags}
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
        links = [value for name, value in attrs.items() if name in ("src", "href", "action")]
        assert all((link or "").startswith("#") for link in links)
    assert not re.search(r"@import|url\((?!#)", raw)
    assert "default-src 'none'" in raw


def test_planted_markup_stays_text(finished: Run, page: Page) -> None:
    assert SCRIPT in page.text
    assert "<script" not in (finished.root / "report.html").read_text(encoding="utf-8")
    assert "b" in {tag for tag, _ in page.tags}  # our own; the planted one is shown as it is
    assert f"<b>{SCRIPT}</b>" in page.text


def test_pictures_have_titles_or_stand_beside_their_number(page: Page) -> None:
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(pictures) > 60
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in pictures)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for tag, a in page.tags if tag == "a"}
    assert targets <= set(ids)


def test_numbers_on_the_page_are_those_of_the_run(finished: Run, page: Page) -> None:
    run = finished
    numbers = collect(run)
    released, items = released_of(run), items_of(run)
    assert released.total == numbers["released"] > 30
    assert items.accepted_levels.total() == numbers["accepted"] > released.total
    assert sum(released.splits.values()) == sum(released.cells.values()) == released.total
    shown = context(run)
    assert shown["levels"]["accepted"]["total"] == numbers["accepted"]
    assert shown["ladder"]["inputs"] == shown["ladder"]["kept"] + sum(
        r["fell"] for r in shown["ladder"]["rungs"]
    )
    dropped = sum((row["counts"] or {}).get("dropped", 0) for row in numbers["entries"])
    assert sum(row["count"] for row in shown["drops"]) == dropped
    assert f"accepted {numbers['accepted']}" in page.text
    assert f"released items {released.total}" in page.text
    for row in shown["drops"]:
        assert row["reason"] in page.text
        assert row["record"] is not None, row["reason"]


def test_each_benchmark_has_a_row_with_its_hits_and_examples(finished: Run) -> None:
    html = render(finished)
    audit = html[html.index('id="audit"') : html.index('id="cost"')]
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', audit, re.DOTALL)
    cells = [re.sub(r"<[^>]+>", " ", row).split() for row in rows]
    assert [row[:4] for row in cells] == [["builtin", "20", "1", "without"], ["heldout", "17", "0", "0"]]
    first = " ".join(cells[0])
    assert "20 1 without an answer builtin.jsonl:4: answer_not_in_choices 2 0 1 (0.75)" in first
    assert "builtin builtin/001 score 0.93" in first
    assert "builtin builtin/002 with its answer 0.75" in first
    assert cells[1][4:] == ["0", "–"]


def test_meters_of_difficulty_are_compared_where_items_have_both(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = Items(meters=Counter({("H1", "H1"): 6, ("H1", "H2"): 2, ("H3", "H5"): 2, ("H2", "-"): 5}))
    held_out = {"n": 40, "same": 20, "near": 36, "spearman": 0.5}
    states = [{}, {"meter": {"fitted": True, "held_out": held_out}}, {"meter": {"fitted": False}}]
    first, second = meters(items, states)
    assert (first["n"], first["same"], first["near"]) == (10, 6, 8)
    assert second == {"name": "rubric and distilled meter, seeds held out", **held_out}
    assert meters(Items(), [{}]) == []
    title = "How far the meters of difficulty agree"
    assert title not in render(finished), "no item of this run has two levels"
    monkeypatch.setattr(trust, "meters", lambda *_: [first, second])
    page = Page(render(finished))
    assert title in page.text
    assert "rubric and distilled meter, seeds held out 40 50% 90% 0.50" in page.text


def test_unknown_cost_says_so_and_is_never_zero(finished: Run, page: Page) -> None:
    shown = context(finished)
    by_model = {row["name"]: row["cost"] for row in shown["spending"]["models"]}
    assert by_model == {"small": 0.0, "other": None}
    assert "cost unknown, per accepted item unknown" in page.text


def test_embedded_writer_is_named_plainly(page: Page, tmp_path: Path) -> None:
    assert "This shows the machine, not the quality." in page.text
    other = SmallRun(tmp_path / "other", seeds=24, teacher="other").build(rounds=1)
    assert "not the quality" not in write_report(other.root).read_text(encoding="utf-8")


def test_paths_of_this_machine_are_shortened(finished: Run) -> None:
    raw = (finished.root / "report.html").read_text(encoding="utf-8")
    assert "/home/someone" not in raw
    assert "…/seeds/textbook.md" in raw


def test_samples_are_spread_over_fields_and_stay_the_same(finished: Run) -> None:
    samples = accepted_samples(finished, 20)
    fields = [record.labels.field for record in samples]
    assert len(samples) == 20
    assert len(set(fields[:10])) == 10
    assert [r.id for r in samples] == [r.id for r in accepted_samples(finished, 20)]
    assert all(r.seeds and r.evidence and not r.dropped for r in samples)
    examples = drop_examples(finished)
    assert len({(e.part, e.entry, e.reason) for e in examples}) == len(examples) > 8


def test_a_run_that_stopped_early_has_a_report(tmp_path: Path) -> None:
    building = SmallRun(tmp_path / "half", seeds=30)
    building.head()
    text = Page(write_report(building.run.root).read_text(encoding="utf-8")).text
    assert "Not complete: the same command resumes it" in text
    assert "There is no plan yet." in text
    assert "Nothing is accepted yet." in text
    stopped = SmallRun(tmp_path / "unreleased", seeds=30).build(rounds=1, release=False)
    text = Page(write_report(stopped.root).read_text(encoding="utf-8")).text
    assert "items that were accepted, drawn by hash" in text
    assert not (stopped.root / "dataset" / "README.md").exists()
    empty = Run(tmp_path / "empty")
    empty.save()
    assert "Nothing is done yet." in write_report(empty.root).read_text(encoding="utf-8")


def test_words_for_every_stage_and_every_reason_of_verify() -> None:
    assert set(ABOUT) == {entry.name for entry in PIPELINE}
    named = {reason for _, _, group in RUNGS for reason in group}
    constants = {v for k, v in vars(verify).items() if k.isupper() and isinstance(v, str)}
    found = re.findall(r'Problem\(\s*"(\w+)"', inspect.getsource(check) + inspect.getsource(variant))
    assert named == constants | set(found)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        write_report(tmp_path)


def test_long_and_odd_texts_are_cut_and_cleaned() -> None:
    assert clean("x" * 100_000, 50) == "x" * 50 + " … (cut; 100,000 characters)"
    assert clean("a\u202eb\x00c\r\n👩‍🔬 שלום") == "a\ufffdb\ufffdc\r\n👩‍🔬 שלום"
    assert clean(None) == ""
    assert [duration(s) for s in (None, 3.2, 61, 3700, 900)] == [
        "–",
        "3.2 s",
        "1 min 01 s",
        "1 h 01 min",
        "15 min",
    ]


def test_finish_prints_what_came_out_and_what_next(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    finish(finished)
    shown = capsys.readouterr().out
    assert "report.html" in shown
    assert "given up: Agronomy" in shown
    assert "it shows the machine, not the quality" in shown
    assert 'load_dataset("parquet"' in shown
    finish(finished, as_json=True)
    found = msgspec.json.decode(capsys.readouterr().out)
    assert found["complete"]
    assert Path(found["report"]).exists()
    assert Path(found["card"]).exists()
    assert found["cost_per_accepted"] is None
    assert found["short"] <= found["quota"]


def test_an_evaluation_against_gold_is_shown(finished: Run, tmp_path: Path) -> None:
    seen = {"n": 120, "accuracy": 0.8, "low": 0.72, "high": 0.86, "kappa": 0.78, "calibration_error": 0.031}
    seen |= {"macro_f1": 0.7, "macro_f1_low": 0.64, "macro_f1_high": 0.75}
    keep(finished.root, {"items": 120, "rows": [{"label": "field", "language": "zh", **seen}]})
    try:
        text = Page(write_report(finished.root).read_text(encoding="utf-8")).text
    finally:
        (finished.root / KEPT).unlink()
    assert "A classifier against 120 gold items" in text
    assert "field zh 120 80% 72% to 86% 0.78 macro-F1 0.70 (0.64 to 0.75) calibration error 0.031" in text
    with pytest.raises(UserError):
        keep(tmp_path / "none", {})
