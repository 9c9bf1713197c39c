from __future__ import annotations

import pytest

from boostqa.licences import canonical, compatible, may_adapt, most_restrictive, rank


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("CC BY 4.0", "CC-BY-4.0"),
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("GFDL 1.2", "GFDL-1.2"),
        ("GPL-3.0-or-later", "GPL-3.0"),
        ("MIT License", "MIT"),
        ("CC-BY-SA-3.0 OR MIT", "MIT"),
        ("MIT or GPL-3.0", "MIT"),
        ("(mit or cc-by-sa-4.0)", "MIT"),
        ("GPL-3.0 or later", "GPL-3.0"),
        ("MIT OR our own words", "MIT"),
        ("ask the author or the school", "ask the author or the school"),
        ("house rules", "house rules"),
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("http://www.creativecommons.org/licenses/by-nc-sa/3.0/de/deed.de", "CC-BY-NC-SA-3.0"),
        ("creativecommons.org/publicdomain/zero/1.0", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public-domain"),
        ("by-sa", "CC-BY-SA-4.0"),
        ("ＣＣ\u2013BY\u20114.0", "CC-BY-4.0"),
        (None, "unknown"),
        (" ", "unknown"),
    ],
)
def test_spellings(given: str | None, meant: str) -> None:
    assert canonical(given) == meant


def test_order_goes_from_free_to_restrictive() -> None:
    order = ["CC0-1.0", "public domain", "MIT", "BSD", "Apache-2.0", "ODC-BY", "CC-BY-4.0", "CC-BY-SA-3.0"]
    order += ["CC-BY-SA-4.0", "GFDL-1.3", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "house rules"]
    assert [rank(name) for name in order] == sorted({rank(name) for name in order})
    for i, name in enumerate(order):
        assert most_restrictive(order[: i + 1]) == canonical(name)
    assert most_restrictive([]) == "unknown"


@pytest.mark.parametrize(
    ("left", "right", "may"),
    [
        ("CC-BY-4.0", "CC-BY-NC-SA-4.0", True),
        ("CC-BY-SA-3.0", "CC-BY-SA-4.0", True),
        ("CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", False),
        ("CC-BY-SA-4.0", "CC-BY-NC-4.0", False),
        ("CC-BY-SA-4.0", "GFDL-1.3", False),
        ("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", True),
        ("CC-BY-ND-4.0", "CC0-1.0", False),
        ("CC-BY-ND-3.0", "CC-BY-ND-3.0", False),
        ("CC-BY-SA-2.5", "CC-BY-SA-4.0", True),
        ("CC-BY-SA-2.5", "CC-BY-NC-4.0", False),
        ("house rules", "house rules", True),
        ("house rules", "other words", False),
        ("house rules", "MIT", True),
        ("house rules", "CC-BY-SA-4.0", False),
    ],
)
def test_which_may_meet(left: str, right: str, may: bool) -> None:
    assert compatible(left, right) is may
    assert compatible(right, left) is may


@pytest.mark.parametrize(
    ("licence", "may"),
    [
        ("CC-BY-ND-4.0", False),
        ("CC BY-NC-ND 3.0 IGO", False),
        ("Attribution, no derivatives", False),
        ("Creative Commons Attribution-NoDerivs 3.0", False),
        ("https://creativecommons.org/licenses/by-nd/4.0/", False),
        ("http://creativecommons.org/licenses/by-nc-nd/3.0/", False),
        ("https://creativecommons.org/licenses/by-nd-nc/1.0/", False),
        ("see https://creativecommons.org/licenses/by-nd/2.5/ch/", False),
        ("by-nc-nd", False),
        ("cc_by_nd_2.5_ch", False),
        ("CC BY\u2011ND 4.0", False),
        ("CC BY\u2013NC\u2013ND 2.5", False),
        ("署名-禁止演绎 4.0", False),
        ("https://creativecommons.org/licenses/by-sa/2.5/", True),
        ("stand-by-nder", True),
        ("CC-BY-ND-4.0 OR MIT", True),
        ("CC-BY-SA-4.0", True),
        ("house rules", True),
        (None, True),
    ],
)
def test_what_nothing_may_be_made_from(licence: str | None, may: bool) -> None:
    assert may_adapt(licence) is may
