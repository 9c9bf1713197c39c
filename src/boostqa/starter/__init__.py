"""The starter: a commented recipe and a few sample seeds, as `boostqa init` writes them.

Files beside this one are copied as they are. Knows nothing of what a recipe means; a test loads it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from boostqa.errors import StorageStop, UserError

FILES = ("recipe.yaml", "seeds.jsonl")
"""What is written, under these names."""


def write_starter(folder: Path) -> list[Path]:
    """Writes the starter files into `folder`, which is made if need be; returns their paths.

    Raises:
        UserError: when one of them exists already; nothing is written then.
        StorageStop: when the folder cannot be written.
    """
    targets = [folder / name for name in FILES]
    for path in targets:
        if path.exists():
            raise UserError(f"{path}: is there already and will not be overwritten; give another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in targets:
            with path.open("xb") as file:
                file.write(files(__name__).joinpath(path.name).read_bytes())
    except FileExistsError as error:
        raise UserError(f"{error.filename}: is in the way; give another folder") from error
    except OSError as error:
        what = f"{error.filename}: cannot write ({error.strerror}); give another folder"
        raise StorageStop(what) from error
    return targets
