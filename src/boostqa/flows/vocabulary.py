"""Labels that may come with a seed, and how what a source writes becomes one of ours.

A row with another value (a set's own scale, its own subjects) simply has no such label; a recipe that names
one is told. Knows nothing of files, recipes and stages.
"""

from __future__ import annotations

import difflib
import re
from functools import cache

from boostqa.taxonomy import Taxonomy, grades, levels, load, question_types

GOLD = ("discipline", "field", "secondary_fields", "level", "grade", "knowledge_points")
"""Labels that may come with a seed."""
CONSTANTS = (*GOLD, "language", "question_type")
"""What a source may say of all its rows."""

_CODES = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee
    el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is
    it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms
    mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk
    sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi
    yo za zh zu
    """.split()  # noqa: SIM905
)
"""ISO 639-1."""
_NAMES = """
zh chinese mandarin cantonese zho chi cmn yue wuu 中文 汉语 漢語 普通话 简体中文 繁體中文 繁体中文
en english eng 英语 英文 | de german deu ger deutsch 德语 | fr french fra fre français francais 法语
es spanish spa español espanol castilian 西班牙语 | pt portuguese por português 葡萄牙语 | it italian ita italiano
ru russian rus русский 俄语 | ja japanese jpn 日本語 日语 | ko korean kor 한국어 韩语 | ar arabic ara العربية 阿拉伯语
nl dutch nld dut nederlands | pl polish pol polski | tr turkish tur türkçe | vi vietnamese vie | th thai tha
id indonesian ind | ms malay msa may | hi hindi hin हिन्दी | bn bengali ben bangla | ur urdu urd
fa persian fas per farsi
uk ukrainian ukr | cs czech ces cze | sk slovak slk slo | hu hungarian hun | ro romanian ron rum | bg bulgarian bul
el greek ell gre | he hebrew heb | sv swedish swe | da danish dan | no norwegian nor | fi finnish fin | et estonian est
lv latvian lav | lt lithuanian lit | hr croatian hrv | sr serbian srp | sl slovenian slovene slv | ca catalan cat
ta tamil tam | te telugu tel | mr marathi mar | sw swahili swa | la latin lat | eo esperanto epo | ka georgian kat geo
"""


@cache
def _languages() -> dict[str, str]:
    found = {code: code for code in _CODES}
    for group in re.split(r"[|\n]", _NAMES):
        code, *names = group.split() or [""]
        found |= dict.fromkeys(names, code)
    return found


def iso_code(text: str) -> str | None:
    """The ISO 639-1 code that is meant (`zh-CN`, `English`, `deu` -> zh, en, de); None for anything else."""
    first = re.split(r"[\s_(,;.-]", text.strip().casefold(), maxsplit=1)[0]
    return _languages().get(first)


def _spellings(name: str) -> dict[str, str]:
    """Plain spelling -> our value, of a label whose values are named in the taxonomy's files."""
    return _spelled(name, load())


@cache
def _spelled(name: str, tree: Taxonomy) -> dict[str, str]:
    pairs = {
        "discipline": [(text, d.name) for d in tree.disciplines for text in (d.name, d.name_zh)],
        "field": [(text, f.name) for f in tree.fields for text in (f.name, f.name_zh)],
        "level": [(entry.name, entry.name) for entry in levels()],
        "grade": [(text, entry.name) for entry in grades() for text in (entry.name, entry.name_zh)],
        "question_type": [(text, t.name) for t in question_types() for text in (t.name, t.name_zh)],
    }
    return {_plain(text): value for text, value in pairs["field" if name == "secondary_fields" else name]}


def settle(name: str, value: str) -> str | None:
    """A label in our spelling, whatever case, language and joints it was written in; None if it is not ours.

    `name` is one of `CONSTANTS`; knowledge points are free.
    """
    if name == "knowledge_points":
        return value
    return iso_code(value) if name == "language" else _spellings(name).get(_plain(value))


def remedy(name: str, value: str) -> str:
    """What to write instead of a value that `settle` does not know."""
    if name == "language":
        return "use a code of ISO 639-1 such as en or zh"
    known = sorted(set(_spellings(name).values()))
    spelled = difflib.get_close_matches(_plain(value), _spellings(name), 1)
    return f"did you mean {_spellings(name)[spelled[0]]!r}?" if spelled else f"use {', '.join(known[:20])}"


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()
