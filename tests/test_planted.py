"""Benchmark items planted among seeds: no form of them, and nothing that is almost one, gets through a run."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from fake_seeds import seed_rows, write_jsonl
from world import boostqa, fake_server, make_recipe

ITEMS: list[dict[str, Any]] = [
    {
        "id": "prism",
        "question": "A glass prism on the windowsill bends violet light more strongly than red light because the "
        "refractive index of the glass depends on which property of the light?",
        "choices": ["its wavelength", "its brightness", "its polarisation", "its coherence"],
        "answer": "A",
    },
    {
        "id": "reef",
        "question": "下列关于珊瑚礁白化现象的说法中，最符合海洋生态学研究结果的是哪一项？",
        "choices": [
            "由水温升高使虫黄藻离开引起",
            "由鱼类过多啃食引起",
            "由海水盐度恒定引起",
            "由月相变化引起",
        ],
        "answer": "A",
    },
    {
        "id": "pairs",
        "question": "Find the number of ordered pairs $(a, b)$ of positive integers with $a + b = 1000$ such that "
        "neither $a$ nor $b$ has a zero digit.",
        "answer": "738",
    },
]
ODD = {
    "id": "odd",
    "question": "Which lighthouse on the old chart stands the farthest to the north of the harbour?",
    "choices": ["the red one", "the tall one"],
    "answer": "F",
}
FULL = str.maketrans({chr(i): chr(i + 0xFEE0) for i in range(0x21, 0x7F)})


def planted() -> Iterator[dict[str, Any]]:
    """Each item as it is, with shuffled options, in full width, inside another text, with one word replaced."""
    for item in ITEMS:
        text, choices = item["question"], item.get("choices", [])
        chinese = item["id"] == "reef"
        before, after = ("想一想。", "请说明。") if chinese else ("Think this over. ", " Explain each step.")
        words = text.split(" ")
        words[len(words) // 3] = "curtain"
        mate = text.replace("研究", "调查") if chinese else " ".join(words)
        forms = {
            "verbatim": (text, choices),
            "shuffled": (text, choices[::-1]),
            "full": (text.translate(FULL), [one.translate(FULL) for one in choices]),
            "inside": (before + text + after, choices),
            "mate": (mate, choices),
        }
        for form, (asked, options) in forms.items():
            right = "AD"[form == "shuffled"] if choices else item["answer"]
            row = {"id": f"{item['id']}-{form}", "question": asked, "answer": right}
            yield row | ({"choices": options} if options else {})


def test_planted_items_and_their_mates_are_dropped_and_stand_in_the_audit(tmp_path: Path) -> None:
    rows = [*seed_rows(200), *planted()]
    random.Random(3).shuffle(rows)
    with fake_server(tmp_path) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=8)
        write_jsonl(tmp_path / "seeds.jsonl", rows)
        write_jsonl(tmp_path / "benchmark.jsonl", [*ITEMS, ODD])
        text = f"The guide ends with a task for the patient reader. {ITEMS[0]['question']} More are in the appendix."
        write_jsonl(
            tmp_path / "book.jsonl", [{"text": f"{text} Each of them comes with a hint on the next page."}]
        )
        data = yaml.safe_load(recipe.read_text())
        data["seeds"]["sources"].append({"name": "book", "path": "book.jsonl", "license": "CC0-1.0"})
        recipe.write_text(yaml.safe_dump(data))
        boostqa("run", recipe, "--out", tmp_path / "run", "--until", "decontaminate")
    dedup, decontaminate = (tmp_path / "run" / name for name in ("01-dedup", "02-decontaminate"))
    dropped = pl.concat([pl.read_parquet(f / "dropped" / "*.parquet") for f in (dedup, decontaminate)])
    kept = pl.read_parquet(decontaminate / "kept" / "*.parquet")
    marks = re.compile("windowsill|ｗｉｎｄｏｗｓｉｌｌ|珊瑚礁|zero digit|ｚｅｒｏ ｄｉｇｉｔ")

    def those(table: pl.DataFrame) -> int:
        texts = zip(table["question"], table["passage"], strict=True)
        return sum(bool(marks.search(f"{question} {passage}")) for question, passage in texts)

    assert (those(kept), those(dropped)) == (0, 16)
    # The others of a cluster went before as duplicates of the one that is contaminated.
    assert kept.height == 200 - (dropped.height - 16)
    boostqa("report", tmp_path / "run")
    html = (tmp_path / "run" / "report.html").read_text()
    audit = html[html.index('id="audit"') : html.index('id="cost"')]
    (row,) = re.findall(r'<tr><th scope="row">benchmark</th>(.*?)</tr>', audit, re.DOTALL)
    cells = [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
    taken = decontaminate / "dropped" / "*.parquet"
    assert cells[0][:5] == ["4", "1", "without", "an", "answer"]
    assert "benchmark.jsonl:4:" in cells[0]
    assert cells[1:3] == [[str(pl.read_parquet(taken).height)], ["0"]]
    assert cells[3][0] == "0"
    counts = json.loads((decontaminate / "manifest.json").read_text())["counts"]
    assert counts["reasons"] == {"contaminated": int(cells[1][0])}
