from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from boostqa import readers
from boostqa.readers import BadRow, Limits, Raw
from boostqa.readers.maths import latex_of_markup

CONTAINER = """<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
BOOK = """<package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>On Light</dc:title><dc:language>en</dc:language></metadata>
<manifest><item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="b" href="text/b%20.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/a.xhtml" media-type="application/xhtml+xml"/>
<item id="c" href="c.png" media-type="image/png"/></manifest>
<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/><itemref idref="c"/></spine></package>"""
CHAPTER = """<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>
<h1>{0}</h1><p>Its speed is <math xmlns="http://www.w3.org/1998/Math/MathML"><mi>c</mi><mo>=</mo>
<mfrac><mi>s</mi><mi>t</mi></mfrac></math>.</p><p><b>Q:</b> Is it fast?<br/><b>A:</b> Yes</p></body></html>"""


def _package(path: Path, parts: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in parts.items():
            packed.writestr(zipfile.ZipInfo(name) if name == "mimetype" else name, text)
    return path


def _epub(path: Path, **changed: str) -> Path:
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": BOOK,
        "OEBPS/nav.xhtml": CHAPTER.format("Contents"),
        "OEBPS/text/b .xhtml": CHAPTER.format("Waves"),
        "OEBPS/text/a.xhtml": CHAPTER.format("Rays"),
    }
    return _package(path, {**parts, **changed})


def test_chapters_of_a_book_in_reading_order(tmp_path: Path) -> None:
    found = list(readers.open(str(_epub(tmp_path / "book.zip"))))
    assert [(item.member, item.question) for item in found if isinstance(item, Raw)] == [
        ("OEBPS/text/a.xhtml", "Is it fast?"), ("OEBPS/text/a.xhtml", ""),
        ("OEBPS/text/b .xhtml", "Is it fast?"), ("OEBPS/text/b .xhtml", ""),
    ]  # fmt: skip
    pair, text = found[:2]
    assert isinstance(pair, Raw)
    assert isinstance(text, Raw)
    assert pair.heading == ["On Light", "Rays"]
    assert (text.heading, text.language) == (["On Light"], "en")
    assert text.passage.strip() == "# Rays\n\nIts speed is $c=\\frac{s}{t}$."


def test_a_page_without_text_and_a_lost_chapter_take_nothing_else(tmp_path: Path) -> None:
    cover = '<html xmlns="http://www.w3.org/1999/xhtml"><body><img src="a.png"/></body></html>'
    found = list(readers.open(str(_epub(tmp_path / "a.epub", **{"OEBPS/text/a.xhtml": cover}))))
    assert [(type(item), item.member) for item in found] == [(Raw, "OEBPS/text/b .xhtml")] * 2
    gone = BOOK.replace("text/a.xhtml", "text/gone.xhtml")
    found = list(readers.open(str(_epub(tmp_path / "b.epub", **{"OEBPS/book.opf": gone}))))
    assert isinstance(found[0], BadRow)
    assert (found[0].reason, found[0].member) == ("damaged_file", "OEBPS/text/gone.xhtml")
    assert [item.question for item in found[1:] if isinstance(item, Raw)] == ["Is it fast?", ""]


W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
M = "http://schemas.openxmlformats.org/officeDocument/2006/math"
DOCUMENT = f"""<w:document xmlns:w="{W}" xmlns:m="{M}"><w:body>
<w:p><w:pPr><w:pStyle w:val="Kop1"/></w:pPr><w:r><w:t>Light</w:t></w:r></w:p>
<w:p><w:r><w:t xml:space="preserve">Its speed is </w:t></w:r><m:oMath><m:r><m:t>c=</m:t></m:r><m:f><m:num><m:r><m:t>s</m:t></m:r></m:num>
<m:den><m:r><m:t>t</m:t></m:r></m:den></m:f></m:oMath><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:t>.</w:t></w:r></w:p>
<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>first</w:t></w:r></w:p><w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>second</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr>
<w:tr><w:tc><w:p><w:r><w:t>1|2</w:t></w:r></w:p></w:tc><w:tc/></w:tr></w:tbl>
<w:p><m:oMathPara><m:oMath><m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub><m:r><m:t>i=1</m:t></m:r></m:sub><m:sup><m:r><m:t>n</m:t></m:r></m:sup>
<m:e><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:e></m:nary></m:oMath></m:oMathPara></w:p>
</w:body></w:document>"""
STYLES = (
    f"""<w:styles xmlns:w="{W}"><w:style w:styleId="Kop1"><w:name w:val="heading 1"/></w:style></w:styles>"""
)


def _docx(path: Path, document: str = DOCUMENT) -> Path:
    parts = {"[Content_Types].xml": "<Types/>", "word/styles.xml": STYLES, "word/document.xml": document}
    return _package(path, parts)


def test_an_office_document_as_markdown(tmp_path: Path) -> None:
    (item,) = readers.open(str(_docx(tmp_path / "a.docx")))
    assert isinstance(item, Raw)
    assert item.passage == (
        "# Light\n\nIts speed is $c=\\frac{s}{t}$.\n\n- first\n- second\n\n| a | b |\n| --- | --- |\n| 1\\|2 |  |\n\n"
        "$$\n\\sum_{i=1}^{n} {x}^{2}\n$$"
    )


def _reasons(path: Path, **options: Limits) -> list[str]:
    return [item.reason for item in readers.open(str(path), **options) if isinstance(item, BadRow)]


def test_bad_packages_are_named(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    document = DOCUMENT.replace("<w:document", bomb + "<w:document", 1)
    assert _reasons(_docx(tmp_path / "a.docx", document)) == ["xml_entities"]
    assert _reasons(_docx(tmp_path / "a.docx", "<w:doc")) == ["damaged_file"]
    assert _reasons(_epub(tmp_path / "b.epub", **{"META-INF/rights.xml": "x"})) == ["password_protected"]
    assert _reasons(_epub(tmp_path / "b.epub", **{"OEBPS/book.opf": "<package"})) == ["damaged_file"]
    huge = {"OEBPS/text/a.xhtml": CHAPTER.format("x" * 4_000_000)}
    assert _reasons(_epub(tmp_path / "b.epub", **huge)) == ["expands_too_much"]
    assert _reasons(_epub(tmp_path / "b.epub", **huge), limits=Limits(document=2**20)) == ["file_too_large"]
    sheet = _package(tmp_path / "a.xlsx", {"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<x/>"})
    assert _reasons(sheet) == ["unknown_format"]


@pytest.mark.parametrize(
    ("markup", "tex"),
    [
        ("<msup><mi>x</mi><mn>2</mn></msup><mo>+</mo><mn>1</mn>", "x^{2}+1"),
        ("<msqrt><mi>a</mi><mo>&#xD7;</mo><mi>b</mi></msqrt>", r"\sqrt{a\times b}"),
        ("<mroot><mi>a</mi><mn>3</mn></mroot>", r"\sqrt[3]{a}"),
        ("<msubsup><mo>&int;</mo><mn>0</mn><mi>&infin;</mi></msubsup><mi>f</mi>", r"\int_{0}^{\infty}f"),
        ("<mi>sin</mi><mo>&ApplyFunction;</mo><mi>x</mi>", r"\sin x"),
        ("<mover><mi>v</mi><mo>→</mo></mover>", r"\vec{v}"),
        (
            "<munder><mo>lim</mo><mrow><mi>x</mi><mo>→</mo><mn>0</mn></mrow></munder>",
            r"\underset{x\to0}{lim}",
        ),
        ("<mfenced><mi>x</mi><mi>y</mi></mfenced>", "(x,y)"),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr></mtable>",
            r"\begin{matrix}1 & 0\end{matrix}",
        ),
        ("<mtext>for all</mtext><mi>π</mi><mi>r</mi>", r"\text{for all}\pi r"),
        ("<mml:mi xlink:href='a'>x</mml:mi>", "x"),
        ("<mi>x</mi><mo>&lt;</mo><mi>y</mi>", "x<y"),
        ("<mi>x<mo>+</mo>", "x +"),
    ],
)
def test_mathml_becomes_latex(markup: str, tex: str) -> None:
    assert latex_of_markup(f"<math>{markup}</math>") == tex


def test_formulas_of_any_depth_are_read() -> None:
    deep = "<mrow>" * 5000 + "<mi>x</mi>" + "</mrow>" * 5000
    assert latex_of_markup(f"<math>{deep}</math>").strip() == "x"
