"""Repairing text for keeping and folding text for comparing.

`repair` changes only what is broken; `fold` throws away whatever two spellings of the same text may differ
in. A folded text is for hashing and matching and must never be shown or stored as content.
"""

from __future__ import annotations

import re
import unicodedata

CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
"""Character class body of scripts written without spaces (Han and kana); Hangul has spaces."""

_CJK_CHAR = re.compile(f"[{CJK}]")
_CJK_GAP = re.compile(f"(?<=[{CJK}]) +(?=[{CJK}])")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufffe\uffff\ud800-\udfff]")
_SPACES = re.compile(r"\s+")
# Each starts with its literal character: the engine then skips to it instead of trying every position.
_THOUSANDS = re.compile(r",(?<=[0-9],)(?=[0-9]{3}(?![0-9]))")
_POINT = re.compile(r"\.(?:(?![0-9])|(?<![0-9]\.))")
_MINUS = re.compile(r"-(?= ?[0-9])")
_SLASH = re.compile(r"/(?= ?[0-9])")
_OPERATORS = "+*^=<>%"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"


def repair(text: str) -> str:
    """Text with encoding damage mended: mojibake, HTML entities, odd line ends, control characters; NFC.

    Formulas, full-width forms and punctuation stay as they are; applying it twice changes nothing more.
    """
    from ftfy import TextFixerConfig, fix_text

    config = TextFixerConfig(
        normalization="NFC",
        uncurl_quotes=False,
        fix_character_width=False,
        fix_latin_ligatures=False,
        explain=False,
    )
    text = fix_text(text, config) if not text.isascii() or "&" in text or "\x1b" in text else text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _CONTROL.sub("", text)).strip()


class _Fold(dict[int, "int | str"]):
    """Translation table that works a character out when it is first met."""

    def __missing__(self, code: int) -> int | str:
        char = chr(code)
        kind = unicodedata.category(char)
        if char in "-./,+*^=<>%":
            result: int | str = code
        elif kind == "Sm" and char not in "|~":
            result = f" {char} "
        elif kind[0] in "PZCS":
            result = " "
        else:
            result = code
        self[code] = result
        return result


FOLD = _Fold({ord(dash): "-" for dash in _DASHES})
"""What `fold` makes of each character by itself: its code, `-` for a dash, a space, or an operator in spaces."""


def fold(text: str) -> str:
    """Comparison form: NFKC, lower case, full and half width alike, punctuation and white space as one space.

    Operators, minus signs before digits, decimal points and fractions stay, so that `3+5` and `3-5` differ;
    thousands separators go; white space between Chinese characters goes.
    """
    text = unicodedata.normalize("NFKC", text)
    text = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text.casefold())
    if "," in text:
        text = _THOUSANDS.sub("", text).replace(",", " ")
    # Single characters only for ASCII: that keeps str.translate on its fast path.
    text = text.translate(FOLD)
    for operator in _OPERATORS:
        if operator in text:
            text = text.replace(operator, f" {operator} ")
    if "." in text:
        text = _POINT.sub(" ", text)
    if "-" in text:
        text = _MINUS.sub(" \x00 ", text).replace("-", " ").replace("\x00", "-")
    if "/" in text:
        text = _SLASH.sub(" \x00 ", text).replace("/", " ").replace("\x00", "/")
    text = " ".join(text.split())
    return text if text.isascii() else _CJK_GAP.sub("", text)


def words(text: str) -> list[str]:
    """Tokens of the folded text: words of spaced scripts, single characters of Han and kana, operators.

    `tokens.blocks` has the same tokens of many texts as hashes, and much sooner.
    """
    text = fold(text)
    return text.split() if text.isascii() else _CJK_CHAR.sub(r" \g<0> ", text).split()


def is_cjk(char: str) -> bool:
    """Whether a character is Han or kana, which are tokens by themselves."""
    return _CJK_CHAR.match(char) is not None


def cjk_share(text: str) -> float:
    """Share of Han and kana among the letters of `text`, 0..1; 0 for a text without letters."""
    if text.isascii():
        return 0.0
    found = len(_CJK_CHAR.findall(text))
    letters = sum(map(str.isalpha, text))
    return min(1.0, found / letters) if letters else 0.0


def squeeze(text: str) -> str:
    """Text with every run of white space as one space; for excerpts in messages and evidence."""
    return _SPACES.sub(" ", text).strip()
