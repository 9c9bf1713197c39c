from __future__ import annotations

from pathlib import Path

import pytest

from boostqa.errors import UserError
from boostqa.inputs import SAMPLE, SAMPLES, InputFile, expand, fingerprint, locate, packed


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("a.md", "sub/b.md", "sub/deep/c.txt", ".hidden", ".git/d.md", "LICENSE", "sub/COPYING.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", ["a.md", "sub/b.md", "sub/deep/c.txt"]),
        ("a.md", ["a.md"]),
        ("LICENSE", ["LICENSE"]),
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "sub/b.md"]),
        ("sub/*", ["b.md"]),
        ("s?b/deep/*", ["sub/deep/c.txt"]),
    ],
)
def test_names_are_relative_to_the_fixed_part(base: Path, path: str, names: list[str]) -> None:
    full = str(base / path)
    files = expand(full, "key")
    assert [file.name for file in files] == names
    for file in files:
        assert Path(locate(full, file.name)) == Path(file.path)
        assert Path(file.path).is_file()


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    path = tmp_path / "a[1].md"
    path.touch()
    assert [file.name for file in expand(str(path), "key")] == ["a[1].md"]


def test_fingerprint_sees_any_change_of_a_small_file_and_samples_a_large_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = bytearray(SAMPLE * SAMPLES * 2)
    file = InputFile("x", str(path))
    path.write_bytes(data)
    before = fingerprint(file)
    assert before[:2] == ["x", len(data)]
    for place in (0, -1):
        data[place] ^= 1
        path.write_bytes(data)
        assert fingerprint(file) != before
        data[place] ^= 1
    path.write_bytes(b"abc")
    small = fingerprint(file)
    path.write_bytes(b"abd")
    assert fingerprint(file) != small
    path.unlink()
    with pytest.raises(UserError, match=r"x: cannot be read \(No such file"):
        fingerprint(file)


def test_packing_keeps_order_and_never_splits() -> None:
    assert list(packed([3, 3, 9, 1, 1, 1], lambda x: x, 6)) == [[3, 3], [9], [1, 1, 1]]
    assert list(packed([], len, 5)) == []
