"""Repairing text for keeping and folding text for comparing.

`repair` changes only what is broken; `fold` throws away whatever two spellings of the same text may differ
in. A folded text is for hashing and matching and must never be shown or stored as content.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
"""Character class body of scripts written without spaces (Han and kana); Hangul has spaces."""

_CJK_CHAR = re.compile(f"[{CJK}]")
_CJK_GAP = re.compile(f"(?<=[{CJK}]) +(?=[{CJK}])")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\u2060\u206a-\u206f\ufeff\ufff9-\ufffc\ufffe\uffff\ud800-\udfff]"
)
_ODD_ASCII = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_LATIN = "\x80-\u052f\u2010-\u203f\u20a0-\u26ff\uf8ff"
"""Characters that the bytes of UTF-8 become when they are read as another encoding (see `ftfy.badness`)."""
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u2060\u206a-\u206f\ufeff\ufff9-\uffff\ud800-\udfff]"
)
"""Characters that a text in order has not."""
_PAIR = re.compile(f"[{_LATIN}][{_LATIN}]|[ÂÃŒœ]")
"""What mojibake holds, and some text that is in order, too; much quicker to look for than `ftfy.badness`."""
_ENTITY = re.compile(r"&(?:#\d|#x[\da-fA-F]|[A-Za-z]{2,30}\d{0,2};)")
_SPACES = re.compile(r"\s+")
# Each starts with its literal character: the engine then skips to it instead of trying every position.
_THOUSANDS = re.compile(r",(?<=[0-9],)(?=[0-9]{3}(?![0-9]))")
_POINT = re.compile(r"\.(?:(?![0-9])|(?<![0-9]\.))")
_MINUS = re.compile(r"-(?= ?[0-9]|\x02[({|])")
_SLASH = re.compile(r"/(?= ?[0-9]|\x02[({|])")
_OPERATORS = "+*^=<>%"
_MARKS = "(){}!|"
_MARKED = re.compile(r"[(){}!|_]")
_GROUP = re.compile(r"\((?:([0-9a-z]|[0-9]{2,4})\))|\{(?<=[\^_]\{)(?:([0-9a-z]|[0-9-][0-9]{1,3})\})")
"""Brackets that change nothing: around one number or letter, and the braces of such an exponent or index."""
# \x01 stands beside operators beyond ASCII, \x02 before marks that stay: no folded text holds either.
_BEHIND = re.compile(r"([(){}!|])(?<=[0-9\x01%*+<=>^/-].)")
_BEHIND_SPACE = re.compile(r" (?<=[0-9\x01%*+<=>^/-] )( *)(?=[(){}!|])")
_BEFORE = re.compile(r"([(){}!|])(?<!\x02.)(?= *[0-9\x01%*+<=>^/-])")
_LOOSE = re.compile(r"[(){}!|](?<!\x02.)|_")
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070\u2071\u2074-\u207f]+")
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"


def repair(text: str) -> str:
    """Text with encoding damage mended: mojibake, HTML entities, odd line ends, control characters; NFC.

    Formulas, full-width forms and punctuation stay as they are; applying it twice changes nothing more.
    """
    plain = text.isascii()
    if (_ODD_ASCII if plain else _ODD).search(text):
        text = _CONTROL.sub("", _line_ends(_fixed(text)))
    elif ("&" in text and _ENTITY.search(text)) or (not plain and _PAIR.search(text) and _is_bad(text)):
        text = _fixed(text)
    if not plain and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text.strip()


def repair_all(texts: Sequence[str]) -> list[str]:
    """`repair` of each text; many times quicker where most are in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        strings = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        return list(map(repair, texts))
    flags = pc.match_substring_regex(strings, _doubtful()).to_pylist()
    return [repair(text) if flag else text.strip() for text, flag in zip(texts, flags, strict=True)]


@cache
def _doubtful() -> str:
    """In RE2's syntax, what any text holds that `repair` changes, white space at its ends aside."""
    # What NFC changes: such characters, and marks and jamo, which may join with the character before.
    codes = [
        code
        for code in range(0x80, 0x30000)
        if not 0xD800 <= code <= 0xDFFF
        and (0x1161 <= code <= 0x11FF or not unicodedata.is_normalized("NFC", chr(code)))
    ]
    single = "".join(f"\\x{{{code:x}}}" for code in codes if not 0xF900 <= code <= 0xFB4F and code < 0x1D000)
    return (
        r"[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{200b}\x{2028}\x{2029}\x{2060}\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{ffff}ÂÃŒœ]"
        r"|[\x{80}-\x{52f}\x{2010}-\x{203f}\x{20a0}-\x{26ff}\x{f8ff}]{2}|&(?:#|[A-Za-z]{2,30}\d{0,2};)"
        rf"|\pM|[\x{{f900}}-\x{{fb4f}}\x{{1d000}}-\x{{1d1ff}}\x{{2f800}}-\x{{2fa1f}}{single}]"
    )


def _is_bad(text: str) -> bool:
    from ftfy.badness import is_bad

    return is_bad(text)


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _fixed(text: str) -> str:
    from ftfy import TextFixerConfig, fix_text

    config = TextFixerConfig(
        normalization="NFC",
        uncurl_quotes=False,
        fix_character_width=False,
        fix_latin_ligatures=False,
        explain=False,
    )
    return fix_text(text, config)


class _Fold(dict[int, "int | str"]):
    """Translation table that works a character out when it is first met."""

    def __missing__(self, code: int) -> int | str:
        char = chr(code)
        kind = unicodedata.category(char)
        if char in "-./,+*^=<>%(){}!|_":
            result: int | str = code
        elif kind == "Sm" and char != "~":
            result = f"\x01{char}\x01"
        elif kind[0] in "PZCS":
            result = " "
        else:
            result = code
        self[code] = result
        return result


FOLD = _Fold({ord(dash): "-" for dash in _DASHES})
"""What `fold` makes of each character by itself: its code, `-` for a dash, a space, or an operator between \\x01."""


def raised(text: str) -> str:
    """Text with raised digits and signs as powers (`x²` as `x^2`), which NFKC would make common digits."""
    return _RAISED.sub(r"^\g<0>", text)


def fold(text: str) -> str:
    """Comparison form: NFKC, lower case, full and half width alike, punctuation and white space as one space.

    Operators, powers, minus signs before digits, decimal points and fractions stay, so that `3+5` and `3-5`
    differ; so do round brackets, braces, `!` and `|` beside a digit or an operator, white space aside, so that
    `(2+3)*4` and `2+(3*4)` differ. Thousands separators go; white space between Chinese characters goes.
    """
    if text.isascii():
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", raised(text)).casefold())
    # Single characters only for ASCII: that keeps str.translate on its fast path.
    text = text.translate(FOLD)
    if _MARKED.search(text):
        text = _GROUP.sub(lambda found: f" {found[1] or found[2]} ", text)
        text = _BEHIND_SPACE.sub(" \\1\x02", _BEHIND.sub("\x02\\1", text))
        text = _BEFORE.sub("\x02\\1", text)
        text = _LOOSE.sub(" ", text)
    if "," in text:
        text = _THOUSANDS.sub("", text).replace(",", " ")
    if "." in text:
        text = _POINT.sub(" ", text)
    if "-" in text:
        text = _MINUS.sub(" \x00 ", text).replace("-", " ").replace("\x00", "-")
    if "/" in text:
        text = _SLASH.sub(" \x00 ", text).replace("/", " ").replace("\x00", "/")
    if "\x02" in text:
        text = text.replace("\x02", " ")
        for mark in _MARKS:
            text = text.replace(mark, f" {mark} ")
    for operator in _OPERATORS:
        if operator in text:
            text = text.replace(operator, f" {operator} ")
    text = " ".join(text.replace("\x01", " ").split())
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
