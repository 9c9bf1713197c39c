from __future__ import annotations

import pytest

from boostqa.text.measures import measure
from boostqa.text.quality import Verdict, is_references, judge, mask_all, mask_personal, prose_of


def verdict(text: str, language: str = "en") -> Verdict:
    prose = prose_of([text])
    return judge([text], prose, measure(prose), [language])[0]


def problems(text: str, language: str = "en") -> list[str]:
    return list(verdict(text, language).problems)


def score(text: str) -> float:
    return verdict(text).score


GOOD = (
    "Plants use the energy of light to turn carbon dioxide and water into sugar. This happens in "
    "the chloroplasts, which hold the green pigment chlorophyll, and it releases oxygen "
    "as a by-product of splitting water."
)


def test_good_text_has_no_problems() -> None:
    assert problems(GOOD) == []
    chinese = "植物利用光能，把二氧化碳和水转化为糖。这个过程发生在叶绿体中，叶绿体含有叶绿素，并释放出氧气。"
    assert problems(chinese, "zh") == []
    formula = "The energy of a body in motion is $E = m v^2 / 2$, and it grows with the square of its speed. "
    assert problems(formula + GOOD) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Too short.", "too_short"),
        ("", "few_letters"),
        ("12 34 56 78 90 " * 20, "few_letters"),
        ("the cat sat on the mat and " * 40, "repetitive"),
        ("Chapter one ..... 3\nChapter two ..... 9\nChapter three ..... 14\nIndex ..... 30", "contents_list"),
        ("- Home\n- About\n- Contact\n- Products\n- Imprint and other things\n- Jobs\n- Blog\n", "list_only"),
        (("This very line is here again.\n" * 6) + GOOD, "repeated_lines"),
        (
            "Accept all cookies. Privacy policy. Terms of use. All rights reserved. Sign up for it.",
            "boilerplate",
        ),
        ("word\ufffd" * 60, "damaged_encoding"),
    ],
)
def test_each_problem_is_named(text: str, reason: str) -> None:
    assert reason in problems(text)


def test_score_orders_texts() -> None:
    assert score(GOOD) > score("the cat sat on the mat and " * 40) > score("") == 0.0


def test_personal_data_is_masked() -> None:
    text = "Mail anna.b@uni.example.org, call +49 170 123 4567 or (555) 123-4567, server 81.2.69.142, "
    text += "电话：13812345678"
    masked, count = mask_personal(text)
    assert count == 5
    assert masked == "Mail [email], call [phone] or [phone], server [ip], 电话：[phone]"


def test_masking_many_is_masking_each() -> None:
    texts = [
        "",
        "a@b.org",
        "+49 170 123 4567",
        "(555) 123-4567",
        "1-2-3",
        "81.2.69.142",
        "电话：13812345678",
        "0571-12345678",
    ]
    texts += [
        "2001:4860:4860:0:0:0:0:8888",
        "1990 - 1995 - 2000",
        "3.1.4.2",
        "138 1234 5678",
        "call 555-123-4567 now",
    ]
    assert mask_all(texts) == [mask_personal(text) for text in texts]
    assert sum(count for _, count in mask_all(texts)) == 9


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to Ann, 555-123-4567.", "Write to Ann, [phone]."),
        ("What is your phone number? 555-123-4567", "What is your phone number? [phone]"),
        ("Whose phone number is 123-456-7890?", "Whose phone number is [phone]?"),
        ("Ann (138-1234-5678)", "Ann ([phone])"),
    ],
)
def test_dashed_phone_numbers_are_masked(text: str, masked: str) -> None:
    assert mask_personal(text) == (masked, 1)


@pytest.mark.parametrize(
    "text",
    [
        "Section 3.1.4.2 and 192.168.0.1",
        "13812345678 + 1 = ?",
        "300 - 200 - 100",
        "x@y",
        "1.5e10",
        "What is 123-456-7890?",
        "Compute the difference 900-100-1000.",
        "123-456-7890 = x",
        "计算 138-1234-5678 的值",
    ],
)
def test_sums_sections_and_private_networks_stay(text: str) -> None:
    assert mask_personal(text) == (text, 0)


def test_what_is_set_apart_does_not_count_against_the_prose_around_it() -> None:
    formula = "由 $\\mathbf{W} \\in \\mathbb{R}^{d \\times d^{\\prime}}$ 可知，矩阵 $W$ 只有有限列，因此可以得到所求的结论，证明完毕。"
    assert problems(formula, "zh") == []
    summary = (
        "* 图像的平移不变性使我们以相同的方式处理局部图像。\n" * 1
        + "* 局部性意味着计算只需一小部分像素。\n* 卷积层需要更少的参数。\n* 多个通道带来更多特征。"
    )
    assert problems(summary, "zh") == []
    forms = "\n".join(f"The standard form of the equation is $y = {i} x + {i}$" for i in range(6))
    assert "repeated_lines" not in problems(
        f"{forms}\nand so it goes on for as long as anybody would like to go on."
    )
    lemma = r"\begin{lemma} Let it be that for every sheaf there is an injective one, and that the map of these is exact in the category of modules. \end{lemma}"
    assert problems(lemma) == []
    links = "\n".join(f"- [Problem {i}: a title of it](https://example.org/problems/{i})" for i in range(6))
    assert "links_only" in problems(links)
    code = "This is how it is done in the language of the book.\n\n```\n" + "x = 1\n" * 30 + "```"
    assert problems(code) == []


TABLE = "| Name | What it does |\n| --- | --- |\n" + "".join(
    f"| `part_{i}` | Turns the wheel that is behind the other one |\n" for i in range(40)
)
FORMULA = "$$\n\\begin{bmatrix}\na_{11} & a_{12} \\\\\n\\vdots & \\ddots \\\\\n\\end{bmatrix}\n$$"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (TABLE, "en"),
        (f"{TABLE}\n**See also**\n\n- Wheels\n- Belts\n- Gears of all kinds\n", "en"),
        (
            f"先看矩阵如下，每一项都已给出\n\n{FORMULA}\n\n转置以后得到另一个\n\n{FORMULA}\n\n代入前面的式子即得所求",
            "zh",
        ),
        (
            "To turn a list of numbers round, use `turn` as it is shown in the lines that stand below this one:\n\n>>> turn([1, 2, 3])\n[3, 2, 1]\n>>> turn([])\n[]",
            "en",
        ),
        (
            "- $T$: the tree\n- $d(u)$: the degree of a node $u$\n- $p_u$: the parent of $u$\n- $r$: the root of it",
            "en",
        ),
        (
            "a. S = {1, 2, 3} is the set of the first three. b. A = {2, 4} and B = {1, 3}. c. P(A) is of no use to us.",
            "en",
        ),
    ],
)
def test_tables_formulas_and_sessions_are_no_fault(text: str, language: str) -> None:
    assert problems(text, language) == []


def test_lines_that_a_session_prints_again_are_no_fault() -> None:
    session = "".join(
        f"    >>> show({i})\n    [  1   0   0  ]\n    [             ]\n    [             ]\n\n"
        for i in range(6)
    )
    assert problems(f"To see what is in a matrix, print it, as is shown in these lines.\n\n{session}") == []


def test_a_list_of_numbers_has_few_letters() -> None:
    table = "| x | y |\n| --- | --- |\n" + "".join(f"| {i}.25 | {i * i}.5 |\n" for i in range(40))
    assert problems(table) == ["few_letters"]


@pytest.mark.parametrize(
    ("text", "headings", "found"),
    [
        ("Doe, J. 1999. On wheels. Some Press.\n\nRoe, A. 2004. On belts. Some Press.", ["References"], True),
        ("- [Wheels](https://example.org/w)\n- [Belts](https://example.org/b)", ["参考资料与注释"], True),
        ("Wheels: https://example.org/w", ["Further Reading", "Websites", "Wheels"], True),
        (
            "A reference borrows a value and does not own it, so it must not outlive it.",
            ["References"],
            False,
        ),
        ("Doe, J. 1999. On wheels. Some Press.", ["A history of wheels"], False),
    ],
)
def test_bibliographies_are_told_from_sections_about_references(
    text: str, headings: list[str], found: bool
) -> None:
    assert is_references(text, headings) is found


def test_small_numbers_are_an_address_where_they_are_called_one() -> None:
    assert mask_personal("The server answers at 8.8.8.8 alone.") == ("The server answers at [ip] alone.", 1)
    assert mask_personal("Section 3.1.4.2 says so.") == ("Section 3.1.4.2 says so.", 0)
