from __future__ import annotations

import pytest

from boostqa.text.language import detect, settled
from boostqa.text.measures import measure


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


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The cell is the unit of life, and it divides when there is enough for that.", "en"),
        ("细胞是生命的基本单位，它会分裂。DNA 在其中。", "zh"),
        ("Find x.", None),
        ("日本語の文章です。これは物理の問題です。", None),
        (
            "De cel is de eenheid van het leven, en die deelt zich als er genoeg is van wat ze in de tijd was.",
            None,
        ),
        ("Die Zelle ist die kleinste Einheit des Lebens, und in ihr war es warm, als man an ihr war.", None),
        (
            "La cellule est une unité de la vie, on ne le voit pas et pour que ce soit clair, on en parle.",
            None,
        ),
        ("A célula é a unidade da vida, e isto é o que se sabe por agora do que há em cada um de nós.", None),
        (
            "Celula este unitatea vieții, are un nucleu și este ca o fabrică în care se fac proteine the.",
            None,
        ),
    ],
)
def test_only_what_is_beyond_doubt_is_settled_by_counts(text: str, code: str | None) -> None:
    assert settled(measure([text])[0]) == code
