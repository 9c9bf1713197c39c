import time

import pytest

from boostqa.flows.check import Limits
from boostqa.flows.exchanged import amounts, changed, replaced
from boostqa.flows.variant import doubtful, support, variant
from boostqa.record import Record, Requested, SeedText

PHOTO = "Which gas do plants absorb during photosynthesis?"
TANK = "A pump fills a tank of 120 litres at 4 litres per minute. How many minutes does it take to fill the tank?"
CAR = "A car drives at 60 km per hour for 3 hours. What distance does it cover?"
PRICE = "A price of 50 dollars rises by 20 percent. What is the new price?"
BOX = "A box holds 24 eggs. If 6 eggs break, how many eggs are left?"
COWS = "A farmer has seven cows and buys five more. How many cows does the farmer have now?"
BLOOD = "Which organ pumps blood through the body?"
RECTANGLE = "A rectangle has a length of 8 cm and a width of 5 cm. What is its area?"


def item(seed, question, **fields):
    requested = Requested(strategy=fields.pop("strategy", "vary"))
    text = SeedText(id="s", question=seed, answer="x", **fields.pop("known", {}))
    return Record(
        id="q", kind="qa", question=question, answer="x", seeds=[text], requested=requested, **fields
    )


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize(
    ("seed", "question"),
    [
        # Numbers in words.
        (COWS, "Owning nine cows, a farmer then purchases five more. What number of cows does the farmer have now?"),
        ("小明有三个苹果，又买了五个，一共有多少个苹果？", "小明原来有四个苹果，后来又买了五个，请问一共有多少个苹果？"),
        ("Three dice are thrown. How many outcomes are possible?", "Two dice are thrown. What number of outcomes are possible?"),
        # Opposites.
        (PHOTO, "During photosynthesis, plants release which gas?"),
        ("Which planet is closest to the Sun?", "Of all planets, which one lies farthest from the Sun?"),
        ("水在标准大气压下的沸点是多少摄氏度？", "标准大气压下，水的凝固点是多少摄氏度？"),
        ("光合作用中植物吸收的气体是什么？", "植物在光合作用中释放的气体是什么？"),
        ("中国第一个皇帝是谁？", "请问谁是中国的末代皇帝？"),
        (PRICE, "What is the new price of an item if its price of 50 dollars falls by 20 percent?"),
        ("What is more dense than water: oil or mercury?", "What is less dense than water: oil or mercury?"),
        ("Which element comes after carbon in the periodic table?", "In the periodic table, which element comes before carbon?"),
        ("How many sides does a regular hexagon have?", "A regular pentagon has how many sides?"),
        ("In which year did World War II end?", "World War II started in which year?"),
        ("一个班有40名学生，其中女生占45%，女生有多少名？", "某班共有40名学生，女生占45%，请问男生有多少名？"),
        # Units.
        (CAR, "For 3 hours a car drives, at 60 km per minute. What distance does it cover?"),
        (TANK, "At 4 litres per minute, a pump fills a tank holding 120 litres. How many seconds does filling the tank take?"),
        ("A car moves at 20 m/s for 5 s. What distance does it cover?", "For 5 s a car moves 20 m back and 20 m forth. What distance does it cover?"),
        (PRICE, "If a price of 50 dollars rises by 20, what is the new price?"),
        # Another number of the number.
        (RECTANGLE, "The length of a rectangle is 8 cm, its width 5 cm. What is double its area?"),
        ("A train travels 120 km in 2 hours. What is its average speed?", "In 2 hours a train travels 120 km. What is its average speed squared?"),
        (BOX, "If 6 eggs break out of a box of 24 eggs, how many times more eggs are left than broken?"),
        ("Solve $2x+3=11$ for $x$. What is $x$?", "If $2x+3=11$ holds, then what is $x$ squared, given $x$?"),
        ("一辆汽车以60千米/时的速度行驶3小时，行驶了多少千米？", "汽车行驶3小时，速度为60千米/时，还剩多少千米？"),
    ],
)  # fmt: skip
def test_what_was_exchanged_is_found(seed, question, close):
    found = variant(item(seed, question), Limits(close_variants=close, max_copied_variant=1.0))
    assert found is not None
    assert found.reason == "off_variant"


def test_a_number_in_words_is_no_number_of_the_formula():
    seed = "A train travels 120 km in two hours. What is its average speed in km per hour?"
    fields = {"formula": "d / 2", "variables": {"d": 150.0}, "strategy": "vary_numbers"}
    known = {"formula": "d / 2", "variables": {"d": 120.0}}
    wrong = item(seed, "In three hours, a train travels 150 km. What is its average speed in km per hour?", known=known, **fields)  # fmt: skip
    assert "numbers wanted" in variant(wrong, Limits()).evidence
    right = item(seed, "In two hours, a train travels 150 km. What is its average speed in km per hour?", known=known, **fields)  # fmt: skip
    assert variant(right, Limits()) is None


@pytest.mark.parametrize(
    ("seed", "question"),
    [
        ("What is the boiling point of water at sea level?", "At sea level, what is the boiling point of nitrogen?"),
        ("What is the chemical symbol for gold?", "Give the chemical symbol for silver, please: what is it?"),
        ("What is the powerhouse of the cell called?", "What is the control centre of the cell called, please?"),
        (BLOOD, "Through the body, blood is filtered by which organ?"),
        ("Which blood cells carry oxygen?", "Infections are fought by which blood cells?"),
        ("Who wrote the play Hamlet?", "By whom was the play Hamlet printed?"),
        ("光的传播速度在真空中是多少？", "声的传播速度在空气中是多少？"),
    ],
)  # fmt: skip
def test_a_word_in_anothers_place_is_doubtful(seed, question):
    assert doubtful(item(seed, question))
    assert support(item(seed, question)) == "seed_answer"


@pytest.mark.parametrize(
    ("seed", "question"),
    [
        (PHOTO, "Plants take in which gas during photosynthesis, do you know?"),
        (BLOOD, "Blood is pumped through the body by which organ?"),
        ("Which planet is closest to the Sun?", "Please state which planet orbits nearest to the Sun."),
        ("Who wrote the play Hamlet?", "Who is the author of the play Hamlet?"),
        ("Who painted the Mona Lisa?", "The Mona Lisa is by a famous painter. Who is it?"),
        ("What kind of rock forms when lava cools?", "When lava cools, what type of rock is formed?"),
        ("A sonnet has how many lines?", "How many lines are there in a sonnet?"),
        (COWS, "A farmer who has 7 cows buys 5 more. How many cows are there on the farm now?"),
        (TANK, "At 4 litres a minute, how many minutes does a pump need for a tank of 120 litres?"),
        (CAR, "What distance does a car cover in 3 hours at 60 km/h?"),
        (CAR, "Every hour a car drives 60 km. What distance does it cover in 3 hours?"),
        (PRICE, "If a price of 50 dollars increases by 20%, what is the new price?"),
        ("How long is a path of 2 kilometres in metres?", "In metres, how long is a path of 2 km?"),
        (BOX, "Out of a box of 24 eggs, 6 eggs break. How many eggs remain?"),
        ("Two towns are 7 cm apart on a map.", "What lies between two towns 7 cm apart, if the two are on a map?"),
        ("水在标准大气压下的沸点是多少摄氏度？", "在标准大气压下，水的沸点为多少摄氏度？"),
        ("小明有三个苹果，又买了五个，一共有多少个苹果？", "小明原来有三个苹果，后来又买了五个，请问他一共有多少个苹果？"),
    ],
)  # fmt: skip
def test_other_words_for_the_same_are_not(seed, question):
    assert changed(question, seed) == ""
    assert set(amounts(question)) == set(amounts(seed))
    assert doubtful(item(seed, question)) == ""


def test_numbers_in_words_are_read():
    text = "Two hundred and five of twenty-five thousand are one of a dozen, and 3 of 7 or seventeen."
    assert sorted((+amounts(text)).elements()) == [3, 7, 12, 17, 205, 25000]
    assert sorted(amounts("三个人和二十五张票，两千名三角形一个").elements()) == [3, 25, 2000]


def test_long_texts_are_compared_quickly():
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26)}xyz" for i in range(600)]
    start = time.process_time()
    assert replaced(" ".join(words[:300]), " ".join(words[300:]))
    for text in ("1" * 12000, "1 a " * 3000, "每" * 12000, "a" * 12000, "3 km per " * 1300, "二十" * 6000):
        changed(text, text[1:])
        amounts(text)
    assert time.process_time() - start < 5
