"""What a rewording has in place of what its original says: opposites, units, numbers in words, other terms.

Tables of English and Chinese words and rules that use them, each linear in the text. A rewording may leave out
and add words and move them about; to put one for another is what changes the answer. Knows sentences, not
records.
"""

from __future__ import annotations

import re
from collections import Counter

from boostqa.flows.asked import CHINESE_FRAME, FUNCTION_WORDS, numbers_of, stem
from boostqa.text.normalise import cjk_share, words

# fmt: off
# ruff: noqa: E501   Chinese characters count twice; a table is read best in as few lines as possible.
_OPPOSITES = (
    "more,greater,exceed/less,fewer",
    "rise,increase,grow,climb,gain,raise,rose,grew,higher/fall,decrease,drop,decline,reduce,shrink,lower,fell,sank,sink,lose,lost",
    "larger,bigger/smaller", "longer/shorter", "closest,nearest,closer,nearer/farthest,furthest,farther,further",
    "first,earliest/last,final,latest", "second/third/fourth/fifth", "before,precede,prior,earlier,previous/after,follow,later,next",
    "absorb,inhale,consume/release,emit,exhale,produce", "begin,start,began,outbreak/end,finish,stop,conclude",
    "buy,bought,purchase/sell,sold,sale", "above,over,exceed/below,under,beneath", "inside,inner,interior/outside,outer,exterior",
    "add,plus,sum/subtract,minus,difference/multiply,product/divide,quotient", "import/export", "input/output",
    "heat,warm,hot,warmer,hotter/cool,cold,cooler,colder", "boil/melt/freeze", "evaporate/condense", "positive/negative",
    "north,northern/south,southern/east,eastern/west,western", "left/right", "male,man,husband,father,son,brother,king/"
    "female,woman,wife,mother,daughter,sister,queen", "boy/girl", "odd/even", "oxidation,oxidize,oxidise/reduction", "anode/cathode",
    "parallel/series", "sine/cosine/tangent", "numerator/denominator", "perimeter,circumference/area/volume", "radius/diameter",
    "mean,average/median/mode/range/variance", "young,younger,youngest/old,older,oldest", "new/former", "fast,faster,fastest/slow,slower,slowest",
    "wide,width,wider/long,length/tall,height/deep,depth", "heavy,heavier,heaviest/light,lighter,lightest", "attract/repel",
    "convex/concave", "expand/contract", "supply/demand", "profit/loss", "vein/artery", "square/cubic", "upper,top/lower,bottom",
    "ascend/descend", "win,won,victory,defeat/lose,lost,loser", "rich,richer/poor,poorer", "strong,stronger,strongest/weak,weaker,weakest",
    "sunrise/sunset", "day/night", "summer/winter", "acid,acidic/alkaline,base", "birth,born/death,die,died",
    "cause/effect", "lend/borrow", "push/pull", "forward/backward", "internal/external", "pentagon/hexagon/octagon",
    "增加,增大,上升,升高,上涨,提高,增长/减少,减小,下降,降低,下跌", "吸收,吸入/释放,放出,呼出", "大于,高于,多于/小于,低于,少于", "之前,以前/之后,以后",
    "第一,首位,首个,最早/末代,最后,最晚", "第二/第三/第四", "开始,爆发/结束,终止", "买/卖", "沸点/凝固点,熔点,冰点", "吸热/放热",
    "上游/下游", "进口/出口", "氧化/还原", "阳极/阴极", "串联/并联", "男生,男性,男孩,男人/女生,女性,女孩,女人", "周长/面积/体积", "半径/直径", "平均数/中位数/众数/方差",
    "奇数/偶数", "盈利/亏损", "出生/去世,逝世", "最近/最远", "蒸发,汽化/凝结,液化", "质子/中子/电子",
    "正弦/余弦/正切", "白天/夜晚", "春/夏/秋/冬", "动脉/静脉", "吸引/排斥",
)
"""Words of which one may not stand in another's place; synonyms by commas, what excludes them behind a slash."""

_SAME = (
    "write,wrote,written,author,writer,compose,composer,pen", "paint,painter,artist", "discover,find,found,discoverer", "invent,inventor,create,creator",
    "call,name,term,known,refer,denote,describe,word", "closest,nearest", "largest,biggest,greatest", "smallest,tiniest", "begin,start,began", "end,finish",
    "take,took,occur,happen,place", "make,made,form,produce,manufacture,generate,create,give,consist,compose", "part,component,portion",
    "show,display,depict", "buy,bought,purchase", "big,large", "country,nation,state", "city,town", "kind,type,sort,form,class", "work,function,serve",
    "lower,reduce,decrease,drop", "raise,increase,rise,elevate", "absorb,uptake", "turn,convert,transform,change,become,transformation",
    "use,employ,utilize", "contain,hold,include,has", "person,people,man,individual,figure", "stand,represent,symbol,abbreviate", "main,chief,principal,primary,chiefly,mainly,mostly",
    "start,origin,originate", "lead,led,leader,head,rule,ruler", "live,inhabit", "travel,move,drive,cover,go,went,run,ride", "build,built,construct",
    "measure,determine,gauge", "compute,calculate,find,determine", "speak,spoken,language", "rock,stone", "speed,fast", "cost,price,pay", "need,require,take",
    "quantity,amount,number,many,much,count", "author,who", "explain,describe,account", "cause,lead,result,responsible", "branch,field,area,discipline",
    "stay,remain", "organ,body", "join,connect,link", "help,assist,aid", "law,principle,rule", "illness,disease,disorder", "doctor,physician", "movie,film",
    "fall,fell,collapse", "hit,strike", "send,sent", "cut,divide,split", "keep,kept,retain,maintain", "own,possess,belong", "near,close", "get,receive,obtain",
    "establish,found,set", "grow,grown,growth,increase", "ancient,old", "popular,famous,known,wellknown", "year,when,date", "break,broke,broken", "draw,drew,drawn",
    "fight,fought", "see,saw,seen", "hold,held", "bring,brought", "fly,flew,flown", "teach,taught", "think,thought", "leave,left", "mean,meant", "choose,chose,chosen",
    "compose,comprise,constitute,make,up",  "location,where,place,locate,situate,lie,find",
)
"""Words that may stand for each other without a change of what is asked; a word may be in several rows."""

_FILLER = (
    "please tell say state identify question answer correct know indicate following provide could think consider asked exactly "
    "actually given certain particular specific suppose assume imagine total altogether overall currently now today thing well "
    "famous known common commonly usually typically generally refer mention able want kindly figure determine calculate find work "
    "out someone something us let me mind person title considered regarded said according"
)
"""Words that change nothing of a question when they come or go."""

_ENDINGS = "er or r ion ation tion ment ing al ical ity ness ive ance ence able ist ian ship ful ic ed en n s t ern"
"""What a stem may have more than another that is a form of the same word; not what names another substance (-ate)."""

_OPERATIONS = {
    "doubling": ("double[sd]?|doubling|twice|two times", "翻倍|加倍|两倍"),
    "halving": ("half|hal(?:ve|ves|ved|ving)", "一半"),
    "tripling": ("triple[sd]?|thrice|three times", "三倍"),
    "powers": ("squared|cubed|square root|cube root", "立方根|平方根"),
    "rest": ("left|remain(?:s|ed|ing|der)?", "剩|余下"),
    "multiples": ("times (?:more|less|as|larger|greater|bigger|smaller)", "几倍|多少倍"),
    "subtraction": ("subtract(?:s|ed|ing)?", "减去"),
    "ratio": ("ratio", "比值"),
}
"""What makes another number of a number: it stands in both texts or in neither."""

_UNITS = (
    "second sec secs s/minute min mins/hour hr hrs h/day/week/month/year yr", "metre meter m/kilometre kilometer km/centimetre centimeter cm/"
    "millimetre millimeter mm/decimetre dm/micrometre micrometer µm μm um/nanometre nanometer nm/mile mi/feet ft/inch inche/yard yd",
    "gram gramme g/kilogram kg/milligram mg/microgram µg μg ug/tonne ton t/pound lb lbs", "litre liter l L/millilitre milliliter ml mL/gallon",
    "newton N/kilonewton kN", "joule J/kilojoule kJ/megajoule MJ/calorie cal/kilocalorie kcal", "watt W/kilowatt kW/megawatt MW/milliwatt mW",
    "volt V/kilovolt kV/millivolt mV", "ampere amp A/milliampere mA", "ohm Ω", "pascal Pa/kilopascal kPa/megapascal MPa", "hertz Hz/kilohertz kHz/megahertz MHz/gigahertz GHz",
    "mole mol/millimole mmol", "kelvin K/celsius °C/fahrenheit °F", "dollar $/euro €/cent/yuan/yen", "percent % \\%", "bit/byte/kilobit/kilobyte/megabit/megabyte/gigabyte",
    "hectare ha/acre", "radian",
    "秒/分钟/小时 时/天/周/个月/年", "千米 公里/米/厘米/毫米/分米", "千克 公斤/克/毫克/吨", "升/毫升", "元/角", "牛顿 牛/千牛", "焦耳 焦/千焦", "瓦特 瓦/千瓦", "伏特 伏/千伏", "安培 安/毫安", "摄氏度/开",
)
"""Units, spellings by spaces; a unit may be written otherwise but not replaced."""

_TO_NINETEEN = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
# fmt: on

_UNIT = {name: row.partition(" ")[0] for line in _UNITS for row in line.split("/") for name in row.split(" ")}
_CHINESE_UNIT = "|".join(sorted((name for name in _UNIT if cjk_share(name) > 0), key=len, reverse=True))
_UNIT_TOKEN = re.compile(
    rf"(?P<lead>\d[\s-]?|/\s?|\bper\s|\beach\s|\bevery\s|\ban?\s|\bone\s|[几每]|多少)?"
    rf"(?P<unit>\\?[%$€]|°[CF]|(?:{_CHINESE_UNIT})|(?<![A-Za-z])[A-Za-zµμΩ]{{1,20}}(?![A-Za-z]))(?P<slash>(?=/))?"
)
_RATED = re.compile(
    r"(?<![\d.,])(\d[\d.,]{0,20})\s?-?(?:[^\W\d_]{1,20}|[%$€])(?:\s(?!per\b|an?\b|each\b|every\b)[a-z]{1,20})?"
    r"\s?(?:(per\s|/\s?)|(?:each|every|an?)\s)([A-Za-zµμ]{1,20})"
)
_RATE = re.compile(
    r"(?:\b(?:per|each|every|an?|one)\s|/\s?|每)([A-Za-zµμ]{1,20}|小时|时|分钟|秒|天|千克|米|升)",
    re.IGNORECASE,
)
_NUMBER_WORDS = {word: float(value) for value, word in enumerate(_TO_NINETEEN.split())}
_NUMBER_WORDS |= {word: 10.0 * value for value, word in enumerate(_TENS.split(), 2)}
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "dozen": 12.0}
_CHINESE_DIGITS = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10000, "亿": 100000000}
# `三角形` and `二氧化碳` are no counts, and `一` is an article more often than a number.
_CHINESE_NUMBER = re.compile(
    r"(?<![第\d.])(?:[二两三四五六七八九十][零〇一二两三四五六七八九十百千万亿]{0,12}|一[十百千万亿][零〇一二三四五六七八九十百千万亿]{0,12})"
    r"(?=[个只头条本名位人支枚颗粒块张辆艘台棵朵件箱袋瓶杯次天年月周小分秒元千米克升公厘毫吨倍岁页层间座项种组份双对盏匹])"
)


def changed(question: str, base: str) -> str:
    """What a question has for something else in its original, whatever else may vouch for it; why, or ""."""
    return _units_kept(question, base) or _operations_kept(question, base) or _opposite(question, base)


def amounts(text: str) -> Counter[float]:
    """The numbers of a text, those in words too: `seven cows`, `twenty-five`, `三个苹果`; not `one` and `一`."""
    found = Counter(numbers_of(text))
    for run in _CHINESE_NUMBER.findall(text):
        found[_chinese_value(run)] += 1
    value, before = None, ""
    for word in [*words(text), ""]:
        if word in _NUMBER_WORDS:
            small = value is not None and value % 100 >= 20 and value % 10 == 0 and _NUMBER_WORDS[word] < 10
            joined = value is not None and (small or value % 100 == 0 != value)
            if value is not None and not joined:
                found[value] += 1
            value = (value or 0.0) + _NUMBER_WORDS[word] if joined else _NUMBER_WORDS[word]
        elif word in _SCALES and (value is not None or before in ("a", "per", "the")):
            value = (value or 1.0) * _SCALES[word]
        elif value is not None and not (word == "and" and value >= 100):
            found[value] += value != 1.0
            value = None
        before = word
    return found


def _chinese_value(run: str) -> float:
    total, section, digit = 0, 0, 0
    for char in run:
        if char in _CHINESE_DIGITS:
            digit = _CHINESE_DIGITS[char]
        elif char in "万亿":
            total, section, digit = (total + section + digit) * _CHINESE_SCALES[char], 0, 0
        else:
            section, digit = section + (digit or 1) * _CHINESE_SCALES[char], 0
    return float(total + section + digit)


def amounts_kept(question: str, base: str) -> str:
    """Whether the same numbers stand in both, in digits or in words; what differs, or ""."""
    wanted, found = amounts(base), amounts(question)
    if numbers_of(question).count(2.0) <= wanted[2.0] < found[2.0]:
        # `The two towns` may be said again.
        found[2.0] = wanted[2.0]
    if +wanted != +found:
        return f"numbers wanted {sorted((+wanted).elements())}, found {sorted((+found).elements())}"
    return ""


def _unit(name: str) -> str:
    """The first spelling of a unit, or "" for what is none."""
    for spelling in (name, name.lower(), name.lower().removesuffix("s")):
        if spelling in _UNIT and (len(spelling) > 2 or spelling == name):
            return _UNIT[spelling]
    return ""


def _units(text: str) -> set[str]:
    """The units that a text speaks of, each in its first spelling."""
    found = set()
    for hit in _UNIT_TOKEN.finditer(text.replace("per cent", "percent")):
        name = hit["unit"]
        # Single letters and `second` are units behind a number, a slash and the like only.
        doubtful = (len(name) == 1 and name.isalpha()) or name.lower() == "second" or cjk_share(name) > 0
        if (hit["lead"] or hit["slash"] is not None or not doubtful) and _unit(name):
            found.add(_unit(name))
    return found


def _units_kept(question: str, base: str) -> str:
    ours, theirs = _units(question), _units(base)
    if ours != theirs:
        return f"unit {min(ours - theirs, default='none')!r} for {min(theirs - ours, default='none')!r}"
    rates, wanted = _rates(question), _rates(base)
    loose, allowed = (
        {_unit(name) or stem(name.lower()) for name in _RATE.findall(text)} for text in (question, base)
    )
    for number in rates.keys() | wanted.keys():
        new, old = rates.get(number), wanted.get(number)
        if new != old and ((new and old) or (old and old not in loose) or (new and new not in allowed)):
            return f"{number:g} per {old or 'nothing'} became per {new or 'nothing'}"
    return ""


def _rates(text: str) -> dict[float, str]:
    """Number -> what its unit is for one of: 60 -> hour for `60 km per hour`, `60 km/h`, `60 km an hour`."""
    found = {}
    for digits, per, name in _RATED.findall(text):
        if (per or _unit(name)) and (value := numbers_of(digits.rstrip(".,"))):
            found[value[0]] = _unit(name) or stem(name.lower())
    return found


def _operations_kept(question: str, base: str) -> str:
    for name, pattern in _OPERATION.items():
        if bool(pattern.search(question)) != bool(pattern.search(base)):
            return f"{name}: in one of seed and question only"
    return ""


_OPERATION = {
    name: re.compile(rf"\b(?:{english})\b|{chinese}", re.IGNORECASE)
    for name, (english, chinese) in _OPERATIONS.items()
}


def _opposite(question: str, base: str) -> str:
    ours, theirs = _poles(question), _poles(base)
    for row in ours.keys() | theirs.keys():
        here, there = ours.get(row, Counter()), theirs.get(row, Counter())
        new, old = here - there, there - here
        if new and old:
            return f"has {min(new)!r} for {min(old)!r}"
    return ""


def _poles(text: str) -> dict[int, Counter[str]]:
    """Row of `_OPPOSITES` -> how often each of its poles (by its first word) occurs."""
    found: dict[int, Counter[str]] = {}
    counts = Counter(map(stem, words(text)))
    if cjk_share(text) > 0:
        counts |= Counter({term: text.count(term) for term in _CHINESE_POLES})
    for word in counts.keys() & _POLES.keys():
        for row, pole in _POLES[word]:
            found.setdefault(row, Counter())[pole] += counts[word]
    return found


def _table(rows: tuple[str, ...]) -> dict[str, set[tuple[int, str]]]:
    """Stem of each word of a table -> the rows that it stands in, with the first word of its pole."""
    found: dict[str, set[tuple[int, str]]] = {}
    for row, line in enumerate(rows):
        for pole in line.split("/"):
            for word in pole.split(","):
                # `drops`, `dropped`: endings whose stem may be another than that of the word itself.
                for form in {stem(word), stem(word + "s"), stem(word + word[-1] + "ed")}:
                    found.setdefault(form, set()).add((row, pole.partition(",")[0]))
    return found


_POLES = _table(_OPPOSITES)
_CHINESE_POLES = [word for row in _OPPOSITES for word in re.split("[,/]", row) if cjk_share(word) > 0]
_SYNONYMS = {word: {row for row, _ in places} for word, places in _table(_SAME).items()}
_EMPTY = FUNCTION_WORDS | {stem(word) for word in _FILLER.split()} | set(_FILLER.split())
_CHINESE_EMPTY = re.compile(
    "[请问题已知如果所则可能以来当时候时原后共个种位名叫做被把将从对于中里上和与或也都呢吗吧啊着过会能有一称]"
)
_ENDING = frozenset(_ENDINGS.split())


def replaced(question: str, base: str) -> str:
    """Whether a word has come while one of the original's is gone; which for which, or "".

    Forms of one word, known synonyms and small talk do not count. Where in the sentence they stand tells nothing
    of a rewording that moves its parts about.
    """
    ours, theirs = _stems(question), _stems(base)
    lost = {word for word in theirs - ours if not any(_related(word, known) for known in ours)}
    fresh = {word for word in ours - theirs if not any(_related(word, known) for known in theirs)}
    return f"has {min(fresh)!r} for {min(lost)!r}" if lost and fresh else ""


def _stems(text: str) -> set[str]:
    """The words that carry content; single characters for Chinese."""
    if cjk_share(text) > 0.3:
        text = CHINESE_FRAME.sub(" ", _CHINESE_EMPTY.sub(" ", text))
        return {word for word in words(text) if cjk_share(word) == 1.0}
    stems = {_unit(word) or stem(word) for word in words(text) if word[0].isalpha() and word not in _EMPTY}
    return stems - _EMPTY


def _related(left: str, right: str) -> bool:
    """Whether two stems are forms of one word or known synonyms."""
    if left == right or _SYNONYMS.get(left, set()) & _SYNONYMS.get(right, set()):
        return True
    short, long = sorted((left, right), key=len)
    return len(short) >= 4 and long.startswith(short) and long[len(short) :] in _ENDING
