from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from boostqa import readers
from boostqa.errors import UserError
from boostqa.readers import BadRow, Raw
from boostqa.readers.pdf import page_text, running_lines
from boostqa.text.chunk import passages

MARKDOWN = """---
title: Optics
---
# Light

Light travels in straight lines.

## Exercises

**Q:** What is the unit of frequency?
**A:** Hertz
**Solution:** One per second is a hertz.

Q: Which is a primary colour?
A. brown
B. red
Answer: B

问：光速约为多少？答：每秒三十万公里

```
Q: not a question
A: not an answer
```

Q: A question nobody answered?

The end.
"""


def test_markdown_gives_pairs_and_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(MARKDOWN)
    found = [row for row in readers.open(str(path)) if isinstance(row, Raw)]
    assert [(row.question, row.answer, row.line) for row in found[:-1]] == [
        ("What is the unit of frequency?", "Hertz", 10),
        ("Which is a primary colour?", "B", 14),
        ("光速约为多少？", "每秒三十万公里", 19),
    ]
    assert found[0].solution == "One per second is a hertz."
    assert found[0].heading == ["Optics", "Light", "Exercises"]
    assert found[1].choices == ["brown", "red"]
    rest = found[-1].passage
    assert found[-1].heading == ["Optics"]
    assert "not a question" in rest
    assert "nobody answered" in rest
    assert "Hertz" not in rest
    assert passages(rest)[0].line == 6


def test_text_in_other_encodings(tmp_path: Path) -> None:
    cases = [
        ("a", "gb18030", "光沿直线传播。"),
        ("b", "utf-16", "Light"),
        ("c", "cp1252", "Zürich ist schön"),
    ]
    for name, encoding, text in cases:
        path = tmp_path / f"{name}.txt"
        path.write_bytes(text.encode(encoding))
        assert [row.passage for row in readers.open(str(path)) if isinstance(row, Raw)] == [text]


PAGE = r"""<html><head><title>Limits</title>
<link rel="canonical" href="https://example.org/limits"></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/x">Menu</a></li></ul></nav>
<main><h1>Limits &amp; more<a class="headerlink" href="#l">¶</a></h1>
<p>A limit is what a function comes near to. Here it is
<img class="tex" alt="{\displaystyle x^{2}}" src="a.png">
and <math alttext="a+b"><mi>a</mi></math>, shown as
<math display="block"><semantics><mi>x</mi>
<annotation encoding="application/x-tex">\frac{x}{2}</annotation></semantics></math>
or \(q_1\).</p>
<pre><code>def f():
    if x:

        return  1</code></pre>
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
<h2>Questions</h2><ul><li>one item of text</li><li>two item of text</li></ul>
<p><b>Q:</b> What is 2+2?<br><b>A:</b> 4</p></main><footer>Imprint and cookies</footer></body></html>"""


def test_html_keeps_headings_code_tables_and_formulas(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(PAGE)
    pair, text = [row for row in readers.open(str(path)) if isinstance(row, Raw)]
    assert (pair.question, pair.answer, pair.url) == ("What is 2+2?", "4", "https://example.org/limits")
    assert pair.heading == ["Limits & more", "Questions"]
    for kept in [
        "# Limits & more\n",
        "$x^{2}$",
        "$a+b$",
        "$$\\frac{x}{2}$$",
        "\\(q_1\\)",
        "```\ndef f():\n    if x:\n\n        return  1\n```",
        "| a | b |\n| --- | --- |\n| 1 | 2 |",
        "- one item",
    ]:
        assert kept in text.passage, kept
    for gone in ["Menu", "Imprint", "¶"]:
        assert gone not in text.passage


def test_tags_in_capitals_count_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    tag = re.compile(r"</?(?:html|body|main|h[1-6]|p|pre|table|tr|t[hd])\b")
    path.write_text(tag.sub(lambda match: match[0].upper(), PAGE))
    text = [row for row in readers.open(str(path)) if isinstance(row, Raw)][-1]
    for kept in ["# Limits & more\n", "```\ndef f():", "| a | b |\n| --- | --- |\n| 1 | 2 |"]:
        assert kept in text.passage, kept


def test_an_empty_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<html><body><script>x()</script></body></html>")
    assert [row.reason for row in readers.open(str(path)) if isinstance(row, BadRow)] == ["empty_page"]


def _pdf(pages: list[bytes]) -> bytes:
    """A PDF with one content stream per page, by hand; readers rebuild its cross references."""
    kids = " ".join(f"{10 + 2 * i} 0 R" for i in range(len(pages)))
    out = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    out += f"2 0 obj<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>endobj\n"
    out += "3 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n"
    body = out.encode()
    for i, content in enumerate(pages):
        body += (
            f"{10 + 2 * i} 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {11 + 2 * i} 0 R"
            f"/Resources<</Font<</F 3 0 R>>>>>>endobj\n{11 + 2 * i} 0 obj<</Length {len(content)}>>stream\n"
        ).encode()
        body += content + b"\nendstream endobj\n"
    return body + b"trailer<</Root 1 0 R>>\n%%EOF"


def test_pdf_pages_and_scans(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    path = tmp_path / "a.pdf"
    text = b"BT /F 12 Tf 14 TL 50 700 Td (Q: What is the unit of force?) Tj T* (A: Newton) Tj ET"
    path.write_bytes(_pdf([text, b"0 0 600 800 re f", b""]))
    found = list(readers.open(str(path)))
    assert found == [
        Raw(question="What is the unit of force?", answer="Newton", line=1),
        BadRow(line=2, reason="scanned_page", excerpt="no text layer; run OCR first"),
    ]
    path.write_bytes(b"%PDF-1.4 nothing")
    assert [row.reason for row in readers.open(str(path)) if isinstance(row, BadRow)] == ["damaged_file"]


def test_running_title_and_footer_of_a_pdf_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    path = tmp_path / "a.pdf"
    bodies = ["Force is mass times acceleration.", "Heat flows from warm to cold.", "Light is fast."]
    path.write_bytes(
        _pdf(
            [
                f"BT /F 12 Tf 14 TL 50 700 Td (Notes on physics) Tj T* ({body}) Tj T* (Course 7, sheet {i}) Tj "
                f"T* ({i}) Tj ET".encode()
                for i, body in enumerate(bodies)
            ]
        )
    )
    assert [row.passage for row in readers.open(str(path)) if isinstance(row, Raw)] == bodies
    assert running_lines(["Title\nx", "Title\ny"]) == frozenset()
    page = "Title\nIt has a body.\nTitle\nIt has more of it.\nIt ends."
    assert page_text(page, frozenset(["title"])).count("Title") == 1, "the one in the body stays"


def test_bars_of_links_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    prose = "<p>A limit is what a function comes near to, as the <a href='/a'>first</a> book says.</p>" * 3
    bar = "<div><a href='#'>Share</a> | <a href='#'>Print this page</a> <button>Report</button></div>"
    path.write_text(f"<html><body><main><h1>Limits</h1>{prose}</main><div>{bar}</div></body></html>")
    (text,) = [row.passage for row in readers.open(str(path)) if isinstance(row, Raw)]
    assert "the first book" in text
    assert "Share" not in text
    assert "Report" not in text


def test_page_furniture_of_the_examples_is_left_out() -> None:
    pytest.importorskip("pypdfium2")
    folder = Path(__file__).parents[2] / "examples" / "seeds"
    for name, gone in (
        (
            "encyclopaedia.html",
            ["Share", "Report an error", "cookies", "Advertisement", "You may also", "Home"],
        ),
        ("handout.pdf", ["Three handouts for revision"]),
    ):
        text = "\n".join(row.passage for row in readers.open(str(folder / name)) if isinstance(row, Raw))
        assert len(text) > 1000
        assert [words for words in gone if words in text] == []


def test_pdf_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.4")
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(UserError, match=r"pip install boostqa\[pdf\]"):
        list(readers.open(str(path)))


def test_wrapped_lines_of_a_page_are_joined() -> None:
    raw = "The unit of fre\ufffe\r\nquency is the hertz, and it is named\r\n"
    raw += "after a physicist who lived in Bonn.\r\n12\r\nA: x"
    joined = "The unit of frequency is the hertz, and it is named after a physicist who lived in Bonn."
    assert page_text(raw) == f"{joined}\nA: x"


@pytest.mark.parametrize(
    "source",
    [
        "<math>x " * 150_000,
        "<m:math>x " * 100_000,
        "<script type='math/tex'>x " * 40_000,
        "<script " + "type=math/tex " * 80_000,
        "<math>" + "<annotation encoding=tex>x " * 40_000 + "</math>",
        "<math><annotation " + "tex" * 300_000 + "</math>",
        "<link " + "rel=canonical " * 80_000,
        "<p><a href='x'>link</a></p>" * 40_000 + "<p>A line that is none.</p>",
        ("<p><a href='x'>link</a></p>" * 3 + "<p>A line that is none.</p>") * 10_000,
    ],
)
def test_pages_made_to_be_slow_take_linear_time(tmp_path: Path, source: str) -> None:
    """A megabyte of what never closes: with patterns that try again from each tag, this test would not end."""
    path = tmp_path / "a.html"
    path.write_text(f"<html><body><p>Light travels in straight lines.</p>{source}</body></html>")
    assert list(readers.open(str(path)))


def test_many_comments_before_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("<!-- a --> " * 60 + "Light travels in straight lines.")
    assert readers.sniff(str(path)) == "text"
    path.write_text("<!-- a --> " * 60 + "<html><body>Light</body></html>")
    assert readers.sniff(str(path)) == "html"
