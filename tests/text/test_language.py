from __future__ import annotations

import pytest

from boostqa.text.language import detect


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What is the derivative of a constant function?", "en"),
        ("Find x.", "en"),
        ("Solve $x^2+3x=0$.", "en"),
        (r"Evaluate \int_0^1 x dx", "en"),
        ("求解方程 $x^2+3x+2=0$ 的根。", "zh"),
        ("TCP 与 UDP 的区别", "zh"),
        ("串'ababaaababaa'的nextval数组为（)。", "zh"),
        ("日本語の文章です。これは物理の問題です。", "ja"),
        ("Wie lautet die Ableitung dieser Funktion?", "de"),
        ("x^2 + y^2 = z^2", "und"),
        ("H2SO4 + NaOH", "und"),
        ("12345", "und"),
        ("", "und"),
    ],
)
def test_detect(text: str, code: str) -> None:
    found, confidence = detect(text)
    assert found == code
    assert 0.0 <= confidence <= 1.0


def test_long_text_is_sampled_and_still_right() -> None:
    assert detect("The cell is the unit of life, and it divides. " * 2000)[0] == "en"
    assert detect("细胞是生命的基本单位，它会分裂。" * 2000)[0] == "zh"
