"""Throughput of reading: HTML pages a second, MB of text a second, and memory against the size of a file.

    python benchmarks/reading.py                              on a corpus that it makes itself (memory: Linux only)
    python benchmarks/reading.py ../shared/data/seeds         on real pages and chapters

CPU seconds of one process, best of three; ratios are of one run. Pages: our reading beside the extractor alone
(resiliparse) and, where it is installed, trafilatura, with the share of planted furniture that is gone and of
planted content (formulas, code, tables, headings) that is kept. Text: every step from a raw passage to its
verdict. Memory: the peak of a process that reads files of growing size.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_TEXT = """
light travels straight until something bends it and what bends is a change of speed in glass or water
the wave that comes first arrives with energy which every body keeps for as long as nothing takes it away
"""
WORDS = _TEXT.split()
FURNITURE = [
    "Home page menu",
    "Share on a network",
    "Cookie settings here",
    "Imprint of the site",
    "You may also like",
]
CONTENT = ["## Part", "$e_{", "```\ndef f", "| cell", "- point number", "\\(q_"]


def sentence(random_: random.Random, count: int = 18) -> str:
    """A sentence of random words."""
    return " ".join(random_.choice(WORDS) for _ in range(count)).capitalize() + "."


def page(number: int) -> str:
    """A page with furniture around and formulas, code, tables and lists in its main text."""
    random_ = random.Random(number)
    menu = "".join(f'<li><a href="/{i}">Home page menu {i}</a></li>' for i in range(60))
    parts = []
    for i in range(12):
        prose = "".join(f"<p>{' '.join(sentence(random_) for _ in range(4))}</p>" for _ in range(4))
        parts.append(
            f'<h2>Part {i}<a class="headerlink" href="#p{i}">¶</a></h2>{prose}'
            f'<p>So <math display="inline"><semantics><mi>e</mi><annotation encoding="application/x-tex">e_{{{i}}}'
            f"</annotation></semantics></math> and \\(q_{i}\\) hold.</p>"
            f"<pre>def f_{i}(x):\n    return x + {i}\n</pre><table><tr><th>cell</th><th>b</th></tr>"
            f"<tr><td>{i}</td><td>2</td></tr></table><ul><li>point number {i}</li><li>point number {i + 1}</li></ul>"
        )
    return (
        f"<!DOCTYPE html><html><head><title>Page {number}</title></head><body><nav><ul>{menu}</ul></nav>"
        f'<div class="sidebar"><ul>{menu}</ul></div><main><h1>Title</h1>{"".join(parts)}'
        '<div><a href="#">Share on a network</a> <a href="#">Print</a></div></main><footer>'
        "<p>Cookie settings here</p><p>Imprint of the site</p><a href='/x'>You may also like</a></footer>"
        "</body></html>"
    )


def chapters(folder: Path | None) -> list[str]:
    """Raw texts, a few MB."""
    if folder is None:
        random_ = random.Random(1)
        marks = ["", "", " — as “they” say —", " where $x_1 < x_2$", " (see p. 12)"]

        def paragraph() -> str:
            return " ".join(sentence(random_)[:-1] + random_.choice(marks) + "." for _ in range(7))

        return ["\n\n".join(paragraph() for _ in range(40)) for _ in range(150)]
    found = []
    for path in sorted(folder.glob("openstax/*.jsonl.gz")):
        with gzip.open(path) as stream:
            found += [json.loads(line)["text"] for line in stream][::6]
    return found


def pages(folder: Path | None) -> list[bytes]:
    """Pages as they lie on a server."""
    if folder is None:
        return [page(i).encode() for i in range(60)]
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with (folder / "web" / "pages.warc.gz").open("rb") as stream:
        return [
            record.reader.read() for record in ArchiveIterator(stream, record_types=WarcRecordType.response)
        ]


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the best of three, and what came out."""
    times = []
    for _ in range(3):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def html(found: list[bytes], made: bool) -> None:
    """Prints the table of pages."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    from boostqa.readers.files import UnreadableError
    from boostqa.readers.html import read_html
    from boostqa.readers.items import Raw

    def ours(data: bytes) -> str:
        try:
            return "\n".join(item.passage for item in read_html(data) if isinstance(item, Raw))
        except UnreadableError:
            return ""

    def plain(data: bytes) -> str:
        tree = HTMLTree.parse(data.decode("utf-8", "replace"))
        return str(extract_plain_text(tree, main_content=True, preserve_formatting=True))

    rows: list[tuple[str, Callable[[bytes], str], int]] = [
        ("resiliparse alone", plain, 1),
        ("boostqa", ours, 1),
    ]
    try:
        import trafilatura

        def other(data: bytes) -> str:
            return (
                trafilatura.extract(
                    data, output_format="markdown", include_tables=True, include_formatting=True
                )
                or ""
            )

        rows.append(("trafilatura", other, 4))
    except ImportError:
        print("trafilatura is not installed")
    print(f"\n{len(found)} pages of {sum(map(len, found)) / len(found) / 1000:.0f} kB\n")
    print(f"{'':20} pages/s  ratio" + ("  furniture gone  content kept" if made else ""))
    base = 0.0
    for name, extract, step in rows:
        some = found[::step]
        seconds, texts = best(lambda extract=extract, some=some: [extract(data) for data in some])  # type: ignore[misc]
        each = seconds / len(some)
        base = base or each
        line = f"{name:20} {1 / each:7.0f} {each / base:6.2f}"
        if made:
            gone = sum(part not in text for text in texts for part in FURNITURE) / len(texts) / len(FURNITURE)
            kept = sum(part in text for text in texts for part in CONTENT) / len(texts) / len(CONTENT)
            line += f" {gone:15.0%} {kept:13.0%}"
        print(line)


def text(found: list[str]) -> None:
    """Prints the table of texts."""
    from boostqa.text import boilerplate, chunk, language, normalise, quality
    from boostqa.text.measures import measure

    size = sum(len(one.encode()) for one in found) / 1e6
    total = 0.0
    print(f"\n{size:.1f} MB of text in {len(found)} documents\n\n{'':24} MB/s")

    def step(name: str, work: Callable[[], Any]) -> Any:
        nonlocal total
        seconds, result = best(work)
        total += seconds
        print(f"{name:24} {size / seconds:6.1f}")
        return result

    pieces = [passage.text for one in found for passage in chunk.passages(one, 400)]
    language.detect("un texte pour charger le modèle de langue")
    step("boilerplate lines", lambda: [boilerplate.without(one) for one in found])
    texts = step("repair", lambda: normalise.repair_all(pieces))
    texts = [one for one, _ in step("personal data", lambda: quality.mask_all(texts))]
    prose = step("formulas and code apart", lambda: quality.prose_of(texts))
    counts = step("measures", lambda: measure(prose))
    codes = step(
        "language",
        lambda: [language.settled(m) or language.detect(t)[0] for t, m in zip(texts, counts, strict=True)],
    )
    step("quality", lambda: quality.judge(texts, prose, counts, codes))
    print(f"{'all of these':24} {size / total:6.1f}")
    seconds, _ = best(lambda: [chunk.passages(one, 400) for one in found])
    print(f"{'cutting into passages':24} {size / seconds:6.1f}")


def memory() -> Iterator[tuple[str, list[int]]]:
    """Peak MB of a process that reads a file of 10,000, 40,000 and 160,000 rows (36 MB), in each row format."""
    row = {"question": "What is 2 + 2? " * 5, "answer": "4", "solution": "Add. " * 20}
    for name in ("a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "a.arrow", "a.zip"):
        peaks = []
        for count in (10_000, 40_000, 160_000):
            with tempfile.TemporaryDirectory() as folder:
                path = write(Path(folder) / name, row, count)
                command = [sys.executable, __file__, "--read", str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                peaks.append(int(done.stdout) // 1000)
        yield name, peaks


def write(path: Path, row: dict[str, str], count: int) -> Path:
    """Writes the row `count` times in the format of the ending."""
    import csv
    import zipfile

    line = json.dumps(row) + "\n"
    if path.suffix in (".parquet", ".arrow"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist([row] * 10_000)
        if path.suffix == ".parquet":
            with pq.ParquetWriter(path, table.schema) as parquet:
                for _ in range(count // 10_000):
                    parquet.write_table(table)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as arrow:
                for _ in range(count // 10_000):
                    arrow.write_table(table)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(row)
            writer.writerows([list(row.values())] * count)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed, packed.open("a.jsonl", "w") as member:
            for _ in range(count):
                member.write(line.encode())
    else:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt") as text_stream:
            for _ in range(count):
                text_stream.write(line)
    return path


def main() -> None:
    """Prints all tables."""
    if sys.argv[1:2] == ["--read"]:
        from boostqa import readers

        limits = readers.Limits(ratio=10**9)
        for _ in readers.open(sys.argv[2], limits=limits):
            pass
        # Not ru_maxrss, which a process takes over from the one that started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        print(status.partition("VmHWM:")[2].split()[0])
        return
    folder = Path(sys.argv[1]) if sys.argv[1:] else None
    html(pages(folder), folder is None)
    text(chapters(folder))
    if folder is None:
        print(f"\n{'':12} peak MB of 10,000    40,000   160,000 rows")
        for name, peaks in memory():
            print(f"{name:12} {peaks[0]:17} {peaks[1]:9} {peaks[2]:9}")


if __name__ == "__main__":
    main()
