from __future__ import annotations

from boostqa.text.boilerplate import without

PROSE = "Light travels in straight lines until something bends it."


def test_lines_for_finding_ones_way_go_and_leave_their_place() -> None:
    text = f"Skip to content\n# Light\n{PROSE}\nShare this page\n© 2024 A. Publisher. All rights reserved.\n返回顶部"
    assert without(text) == (f"\n# Light\n{PROSE}\n\n\n", 4)
    whole = "The privacy policy of the empire is discussed below, and its terms of use were many."
    assert without(f"{whole}\nHome is where light is.") == (f"{whole}\nHome is where light is.", 0)


def test_a_running_title_stays_once() -> None:
    pages = "\n".join(f"Notes on Physics I\n{PROSE} {i}" for i in range(4))
    text, count = without(pages)
    assert count == 3
    assert text.count("Notes on Physics I") == 1
    assert text.count(PROSE) == 4


def test_code_tables_lists_and_formulas_may_repeat_themselves() -> None:
    block = "```\nreturn the_value\nHome\n```\n| a row | of cells |\n- an item of a list\n$$\nx_repeated + y\n$$\n"
    assert without(block * 4) == (block * 4, 0)


def test_directives_of_sphinx_go_and_prose_with_colons_stays() -> None:
    text = ".. _wheels:\n\n.. autoclass:: Wheel\n   :members:\n\nA wheel: round.\n\n.. note:: It turns."
    assert without(text)[0].split() == ["A", "wheel:", "round.", "..", "note::", "It", "turns."]


def test_an_underlined_heading_opens_no_code() -> None:
    assert (
        without("Wheels\n~~~~~~\n\n.. autoclass:: Wheel\n\nThey turn.")[0]
        == "Wheels\n~~~~~~\n\n\n\nThey turn."
    )
