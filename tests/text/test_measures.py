from __future__ import annotations

import re

import pytest

from boostqa.text.measures import Measures, measure

TEXTS = [
    "The cat sat on the mat. The cat — that one — sat on the mat again, and again!\n",
    "",
    "   \n\n",
    "- one\n- two\n\t- three and more\nA line that goes on and never comes to its end\nThe end.",
    "Contents .... 3\nPart one … … 12\nEnd..... 144\nand so on...",
    "细胞是生命的基本单位，它会分裂。\n叶绿体含有叶绿素 chlorophyll 和 3 种色素。",
    "日本語の文章です。",
    "Zürich, größer ﬁne 𠀀𠀁 x₂ \ufffd \x1e \ud83d",
    "word " * 60,
    " ".join(f"w{i % 37} x{i % 5}" for i in range(200)),
]


def _plain(text: str) -> dict[str, int]:
    """The same counts, one character after the other."""
    text = text.replace("\x1e", " ").replace("\ud83d", "?")
    han = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3005\u3007\U00020000-\U0003134f"
    kana = r"\u3040-\u30ff"
    words = re.findall(rf"[{han}{kana}]|[^\W_{han}{kana}]+", text.lower())
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    runs = set(zip(words, words[1:], words[2:], strict=False)) if len(words) >= 50 else set()
    return {
        "characters": len(text),
        "dense": len(re.sub(r"\s", "", text)),
        "han": len(re.findall(f"[{han}]", text)),
        "kana": len(re.findall(f"[{kana}]", text)),
        "words": len(words),
        "distinct": len(set(words)),
        "runs": len(runs),
        "lines": len(lines),
        "bullets": sum(line[0] in "-*•" and len(line) < 60 and line[-1] not in ".!?" for line in lines),
        "ellipses": sum(line.endswith(("...", "…")) and len(line) > 6 for line in lines),
    }


@pytest.mark.parametrize("text", TEXTS)
def test_counts_are_those_of_a_plain_count(text: str) -> None:
    found = measure([text])[0]
    expected = _plain(text)
    assert {name: getattr(found, name) for name in expected} == expected


def test_counts_do_not_depend_on_the_other_texts() -> None:
    alone = [measure([text])[0] for text in TEXTS]
    assert measure(TEXTS) == alone
    assert measure(TEXTS * 3000)[-10:] == alone
    assert measure([]) == []


def test_what_language_and_quality_need() -> None:
    english, empty, _, lists, contents, chinese, japanese, *_ = measure(TEXTS)
    assert (english.english, english.stop, english.spaced) == (6, 8, 17)
    assert english.letters == english.word_letters
    assert empty == Measures(tokens=1)
    assert (lists.unfinished, lists.short) == (4, 4)
    assert (contents.leaders, contents.ellipses) == (3, 1)
    assert (chinese.signs, chinese.short, chinese.tokens) == (3, 0, 32)
    assert japanese.kana == 3
