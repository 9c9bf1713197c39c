from __future__ import annotations

import sys
import time

import pytest

from boostqa.text import formulas
from boostqa.text.answers import choice_letter, equal, evaluate, final, leaks, letters, numbers_in

SAME = [
    ("B", "(B)", "multiple_choice"),
    ("B. Paris", "b", "multiple_choice"),
    ("A, C", "CA", "multiple_choice"),
    ("True", "对", "true_false"),
    ("42", "42.0", None),
    ("1,000", "1000", None),
    ("3.14", "3.14159", None),
    ("5 km", "5000 m", None),
    ("5 m/s", "18 km/h", None),
    ("50%", "0.5", None),
    ("12 apples", "12", None),
    ("\\frac{1}{2}", "0.5", None),
    ("$\\frac{\\sqrt{3}}{2}$", "\\sqrt{3}/2", None),
    ("2\\sqrt{2}", "\\sqrt{8}", None),
    ("x^2+2x+1", "(x+1)^2", None),
    ("x=3", "3", None),
    ("(1,2)", "(1, 2)", None),
    ("\\{1,2\\}", "\\{2,1\\}", None),
    ("\\boxed{7}", "The answer is 7.", None),
    ("Paris", "paris.", None),
    ("The mitochondria", "mitochondria", None),
    ("1.50e3 J", "1.5 kJ", None),
    ("\u22125", "-5", None),
    ("6厘米", "0.06米", None),
    ("x > 3", "3 < x", None),
    ("2\\pi", "6.2832", None),
    ("$12", "12 dollars", None),
    ("\\dfrac{3}{4}", "75\\%", None),
    ("5 MPa", "5000 kPa", None),
    ("2 KW", "2000 w", None),
    ("5 Meters", "5 m", None),
    ("5 Apples", "5 apples", None),
    ("5 \u20ac", "\u20ac5", None),
    ("\\$5", "$5.00", None),
    ("99.97", "99.9700", None),
    ("[0, \\infty)", "[0,\\infty)", None),
    ("x=\\pm 2", "\\{-2, 2\\}", None),
    ("1, 2", "2, 1", None),
    ("(1,2), (3,4)", "(3, 4),(1, 2)", None),
    ("-12 \\text{ or } -30", "-30, -12", None),
    ("45,\\!045", "45045", None),
    ("\\left(3, \\frac{1}{2}\\right)", "(3, 0.5)", None),
    ("10^{-20}", "1e-20", None),
    ("1.6e-19 C", "1.60 x 10^{-19} C", None),
    ("10 million", "10000000", None),
    ("two", "Two", None),
    ("$5 billion", "5000000000 dollars", None),
    ("3\u4e07", "30000", None),
    ("2\u5343\u514b", "2000\u514b", None),
    ("6%", "6", None),
    ("5 l", "5 L", None),
    ("300 K", "300", None),
]
DIFFERENT = [
    ("A", "B", "multiple_choice"),
    ("yes", "No", None),
    ("3.2", "3.14159", "calculation"),
    ("5 km", "5 kg", None),
    ("12 apples", "13 apples", None),
    ("x^2+2x+1", "(x-1)^2", None),
    ("(1,2)", "(2,1)", None),
    ("-5", "5", None),
    ("[0,1)", "[0,1]", None),
    ("\\frac{1}{2}", "\\frac{1}{3}", None),
    ("42", "43", None),
    ("\\sqrt{2}", "1.5000", None),
    ("5 mPa", "5 MPa", None),
    ("3 mW", "3 MW", None),
    ("$5", "5 euro", None),
    ("\u20ac5", "$5", None),
    ("100", "99.6", None),
    ("1000", "999.6", None),
    ("10", "9.95", None),
    ("[0,1)", "[0,2)", None),
    ("\\{1,2\\}", "\\{1,3\\}", None),
    ("10^{-9}", "2^{-30}", None),
    ("1.6e-19 C", "3.2e-19 C", None),
    ("6.63 x 10^{-34} J s", "1.05 x 10^{-34} J s", None),
    ("1.67e-27 kg", "9.11e-31 kg", None),
    ("1e-13", "0", None),
    ("10^{-20}", "10^{-25}", None),
    ("10^{-20}", "1e-25", None),
    ("2^{-50}", "2^{-60}", None),
    ("10 million", "10", None),
    ("$5 billion", "5", None),
    ("5 thousand", "5", None),
    ("2 dozen", "2", None),
    ("3\u4e07", "3", None),
    ("5\u4ebf", "5", None),
    ("2\u5343", "2", None),
]
UNTOLD = [
    ("3.1", "3.14", None),
    ("Paris", "London", None),
    ("", "x", None),
    ("NaCl", "KCl", None),
    ("m", "M", None),
    ("9^{9^{9^9}}", "1", None),
    ("5", "six", None),
    ("x+1", "t+1", None),
    ("5 foo", "5 bar", None),
    ("5 mSv", "5 MSv", None),
    ("5 mpa", "5 MPa", None),
    ("x=3", "y=3", None),
    ("\\sin(\\pi)", "0", None),
    ("0.5%", "0.5", None),
    ("5 Mg", "5 mg", None),
    ("100 Mm", "100 mm", None),
    ("5 ML", "5 mL", None),
    ("5 Ms", "5 ms", None),
    ("5 May", "5", None),
    ("44 BC", "44", None),
    ("10 a.m.", "10", None),
    ("7 less than x", "7", None),
    ("5k", "5", None),
    ("1.5 x 10^400", "3", None),
    ("1e999", "2e999", None),
    ("(-8)^{1/3}", "-2", None),
]


@pytest.mark.parametrize(("left", "right", "kind"), SAME)
def test_same_answers(left: str, right: str, kind: str | None) -> None:
    assert equal(left, right, kind) is True
    assert equal(right, left, kind) is True


@pytest.mark.parametrize(("left", "right", "kind"), DIFFERENT)
def test_different_answers(left: str, right: str, kind: str | None) -> None:
    assert equal(left, right, kind) is False
    assert equal(right, left, kind) is False


@pytest.mark.parametrize(("left", "right", "kind"), UNTOLD)
def test_answers_for_a_judge(left: str, right: str, kind: str | None) -> None:
    assert equal(left, right, kind) is None
    assert equal(right, left, kind) is None


HOSTILE = [
    "{" * 190,
    "\\sqrt{" * 30 + "2" + "}" * 30,
    "x^" * 90 + "2",
    "x_" * 90 + "2",
    "|x|" * 60,
    "(" * 99 + ")" * 99,
    "1" * 199,
    "99999!",
    "999999999!",
    "x^{((9^{99})^{99})}",
    "((9^{999})^{999})^{999}",
    "9^{9^{9^{9}}}",
    "x^{x^{x^{x^{x^{x}}}}}",
    "\\gcd(((9^{99})^{999})^{999}, 3)",
    "\\sqrt[((9^{99})^{999})^{999}]{2}",
    "[((9^{99})^{999})^{999},((9^{99})^{999})^{998}]",
    "\\{((9^{99})^{999})^{999}, ((9^{99})^{999})^{998}\\}",
    "((9^{99})^{999})^{999} < x",
    "\\exp(\\exp(\\exp(9999)))",
    "\\sin(((9^{99})^{999})^{999})",
    "\\operatorname{eye}(999999999)",
    "\\Gamma(999999999)",
    "\\gamma(999999999)",
    "1.5E999999999",
    "x\\cdot " + "\\sin2x\\cdot " * 10 + "x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_formulas_end_quickly(text: str) -> None:
    start = time.process_time()
    for other in ("7.5", "x", "x^2", "\\{1, 2\\}", "[0, 1]", text + "+1"):
        assert equal(text, other) is not True
        assert equal(other, text) is not True
    assert time.process_time() - start < 30


def test_a_parser_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas, "MAX_CALLS", 50)
    hook = sys.getprofile()
    assert formulas.parse("x^{7} + 12x - 1") is None
    assert sys.getprofile() is hook


def test_evaluate() -> None:
    assert evaluate("d / t", {"d": 10, "t": 4}) == 2.5
    assert evaluate("sqrt(2) * x^2", {"x": 3}) == pytest.approx(12.7279, abs=1e-4)
    assert evaluate("-2 ** 2 + pi - pi") == -4.0


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("__import__('os')", "unknown function '__import__'"),
        ("x.real", "Attribute is not allowed"),
        ("9**9**9**9", "has no value"),
        ("1/0", "division by zero"),
        ("(-1)**0.5", "no finite real value"),
        ("a + 1", "unknown name 'a'; known: b"),
        ("[1][0]", "Subscript is not allowed"),
        ("True + 1", "Constant is not allowed"),
        ("sqrt(-1)", "math domain error"),
        ("1 +", "is not arithmetic"),
        ("1" * 501, "at most 500"),
    ],
)
def test_evaluate_refuses(formula: str, message: str) -> None:
    with pytest.raises(ValueError, match="formula") as caught:
        evaluate(formula, {"b": 1.0})
    assert message in str(caught.value)


def test_numbers_in() -> None:
    text = (
        "He paid 1,000 for 3/4 of 50% x2 H2O -5 and 3-5, 1.5e3, 1.5 × 10^3, \\frac{3}{4}, 2.5\\times10^{-3}."
    )
    assert numbers_in(text) == [1000.0, 0.75, 50.0, -5.0, 3.0, 5.0, 1500.0, 1500.0, 0.75, 0.0025]
    assert numbers_in("none 1/0") == []
    # Too large for a float: no number, and no error either.
    for text in ("1e999", "1 x 10^500", "\\frac{" + "9" * 5000 + "}{3}", "\\frac{3}{" + "9" * 5000 + "}"):
        assert numbers_in(text) == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("a\n#### 72", "72"),
        ("We get 5.\nAnswer: 5", "5"),
        ("所以答案是：甲。", "甲"),
        ("**Answer:** B", "B"),
        ("nothing stated", ""),
    ],
)
def test_final(text: str, answer: str) -> None:
    assert final(text) == answer


def test_choice_letters() -> None:
    assert choice_letter("C", ["x", "y", "z"]) == "C"
    assert choice_letter("Y.", ["x", "y", "z"]) == "B"
    assert choice_letter("B", ["A", "B", "AB", "O"]) == "B"
    assert choice_letter("AB", ["A", "B", "AB", "O"]) == "C"
    assert choice_letter("Zebra", ["a", "b"]) is None
    assert choice_letter("E", ["x", "y"]) is None
    assert letters("Acid") == ""
    assert letters("(a) and (c)") == "AC"


def test_leaks() -> None:
    assert leaks("What is the capital of France, Paris?", "Paris")
    assert leaks("What is 4 + 4? (Answer: 8)", "8")
    assert leaks("法国的首都巴黎是什么？", "巴黎")
    assert not leaks("Is it Paris or London?", "Paris")
    assert not leaks("4 apples and 4 more make how many in twos?", "4")
    assert not leaks("Which organelle makes ATP?", "mitochondrion")
    assert not leaks("x", "")


def test_answers_that_vary_state_none() -> None:
    assert final("Answers will vary.") == ""
