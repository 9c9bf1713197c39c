"""Data sets of the Hugging Face hub: which of their files are which split of which configuration.

A data set's card may say so (`configs` in the YAML before README.md); else names of files and folders do, by the
conventions of `datasets`. The hub keeps a copy of nearly every data set as Parquet, one folder for each split of each
configuration, on the branch `PARQUET`, so a benchmark's split is found by its name alone. Addresses, keys and caches
are those of `huggingface_hub` (HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE). Knows nothing of rows and tasks.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from boostqa.errors import UserError
from boostqa.inputs import InputFile, expand, is_aside, open_file, storage_errors

PARQUET = "refs/convert/parquet"
"""The branch with the hub's own copy of a data set: CONFIGURATION/SPLIT/0000.parquet."""
CARD = "README.md"
DEFAULT = "default"
"""The configuration of a data set that has but one."""

Splits = dict[tuple[str, str], list[str]]
"""(configuration, split) -> names of its files."""

_WHOLE = re.compile(r"hf://datasets/[^/@]+/[^/@]+(?:@[^/]+)?/?")
_DATA = re.compile(r"\.(?:parquet|jsonl|ndjson|json|csv|tsv|arrow|txt)(?:\.(?:gz|bz2|zst))?$", re.IGNORECASE)
_CONVERTED = re.compile(r"(?:(?P<config>.+)/)?(?:partial-)?(?P<split>\w+)/\d+\.parquet")
_SHARD = re.compile(r"(?:(?P<config>.+)/)?(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}\.\w+")
_KEYWORDS = {
    "train": "train|training",
    "validation": "validation|valid|val|dev",
    "test": "test|testing|eval|evaluation",
}
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.|-)")
_KEYWORD = {name: re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])") for name, words in _KEYWORDS.items()}


def is_data_set(path: str) -> bool:
    """Whether a path is a whole data set of the hub: hf://datasets/OWNER/NAME, with or without @REVISION."""
    return _WHOLE.fullmatch(path) is not None


def expand_split(path: str, config: str | None, split: str | None, key: str) -> list[InputFile]:
    """Files of one split of the data set under `path`, on the hub or in a local folder.

    `config` and `split` may be None where there is but one.

    Raises:
        UserError: no data set; or none of that configuration and split, or several: with all there are.
    """
    files = expand(path, key)
    found = splits_of([file.name for file in files], _card(files))
    place = f"{key}: {path}"
    chosen = _one(found, config, split, place)
    return [file for file in files if file.name in found[chosen]]


def download(
    repo: str,
    configs: Sequence[str] | None,
    splits: Sequence[str],
    mirror: str | None,
    key: str,
    count: int = 0,
) -> list[InputFile]:
    """Local files of these splits of a data set; of all configurations, at least `count`, where `configs` is None.

    From `mirror`/OWNER/NAME where there is such a folder, else from the hub or its cache.

    Raises:
        UserError: the data set cannot be had, lacks one of the splits, or has only a part of its files.
    """
    local = Path(mirror).expanduser() / repo if mirror else None
    folder = str(local) if local is not None and local.is_dir() else _snapshot(repo, configs, splits, key)
    files = expand(folder, key)
    found = splits_of([file.name for file in files], _card(files))
    place = f"{key}: {repo} ({folder})"
    every = sorted({config for config, _ in found})
    if not configs and len(every) < count:
        raise UserError(
            f"{place} is not whole: it has {len(every)} configurations of {count}; load the others, too"
        )
    wanted: set[str] = set()
    for split in splits:
        chosen = {
            config: found.get((config, _known(found, config, split)), []) for config in configs or every
        }
        if not any(chosen.values()) or (configs and not all(chosen.values())):
            empty = [config for config, names in chosen.items() if not names]
            where = f" of the configuration {empty[0]!r}" if configs else ""
            raise UserError(f"{place} has no split {split}{where}; there are: {_listed(found)}")
        wanted.update(name for names in chosen.values() for name in names)
    _refuse_gaps(wanted, place)
    return [file for file in files if file.name in wanted]


def _refuse_gaps(names: Iterable[str], place: str) -> None:
    """Whether of files that say how many they are all are there."""
    parts: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if match := _PART.search(name):
            parts.setdefault((name[: match.start()], match[2], name[match.end() :]), set()).add(int(match[1]))
    for (start, total, end), numbers in sorted(parts.items()):
        if len(numbers) < int(total):
            missing = next(n for n in range(int(total)) if n not in numbers)
            raise UserError(
                f"{place} is not whole: {start}-{missing:05d}-of-{total}{end} is missing; load it, too"
            )


def splits_of(names: Iterable[str], card: str = "") -> Splits:
    """Which files make which split; `card`: the text of the data set's README.md."""
    data = [name for name in names if _DATA.search(name) and not is_aside(name)]
    return _by_card(data, card) or _by_names(data)


def _by_card(names: list[str], card: str) -> Splits:
    found: Splits = {}
    for config in _configs(card):
        name, files = str(config.get("config_name", DEFAULT)), config.get("data_files")
        if isinstance(files, list) and all(isinstance(one, dict) for one in files):
            parts = [(str(one.get("split", "train")), one.get("path")) for one in files]
        else:
            parts = [("train", files)]
        for split, patterns in parts:
            for pattern in patterns if isinstance(patterns, list) else [patterns]:
                # fnmatch's * passes over folders, as ** does.
                chosen = fnmatch.filter(names, str(pattern).removeprefix("./").replace("**/*", "*"))
                if chosen:
                    found.setdefault((name, split), []).extend(chosen)
    return found


def _configs(card: str) -> list[dict[str, Any]]:
    """What a card says of configurations; nothing where it says nothing that can be read."""
    if not card.startswith("---"):
        return []
    try:
        head = yaml.safe_load(card[3:].partition("\n---")[0])
    except yaml.YAMLError:
        return []
    configs = head.get("configs") if isinstance(head, dict) else None
    return [one for one in configs if isinstance(one, dict)] if isinstance(configs, list) else []


def _by_names(names: list[str]) -> Splits:
    found: Splits = {}
    for name in names:
        match = _CONVERTED.fullmatch(name) or _SHARD.fullmatch(name)
        if match:
            config, split = match["config"] or DEFAULT, match["split"]
        else:
            folders, _, last = name.lower().rpartition("/")
            split = next((one for one in _KEYWORD if _KEYWORD[one].search(last)), "")
            split = split or next((one for one in _KEYWORD if _KEYWORD[one].search(folders)), "train")
            above = [part for part in name.split("/")[:-1] if not _KEYWORD[split].search(part.lower())]
            config = above[0] if above else DEFAULT
        found.setdefault((DEFAULT if config == "data" else config, split), []).append(name)
    return found


def _known(found: Splits, config: str, split: str) -> str:
    """The split as the data set calls it: `dev` may be called `validation`, and so on."""
    if (config, split) in found:
        return split
    kind = next((one for one in _KEYWORD if _KEYWORD[one].fullmatch(split.lower())), None)
    same = [s for c, s in found if c == config and kind and _KEYWORD[kind].fullmatch(s.lower())]
    return same[0] if len(same) == 1 else split


def _one(found: Splits, config: str | None, split: str | None, place: str) -> tuple[str, str]:
    """The only split that these words fit."""
    fit = [
        (one, name)
        for one, name in found
        if (config is None or one == config) and (split is None or name == _known(found, one, split))
    ]
    if len(fit) == 1:
        return fit[0]
    if not found:
        raise UserError(
            f"{place}: no data files there; name files, such as {place.rpartition(' ')[2]}/*.parquet"
        )
    what = (
        "several splits"
        if fit
        else f"no split {split or ''} of configuration {config or ''}".replace("  ", " ")
    )
    raise UserError(f"{place}: the data set has {what}; say which by `config` and `split`: {_listed(found)}")


def _listed(found: Splits) -> str:
    by_config: dict[str, list[str]] = {}
    for config, split in sorted(found):
        by_config.setdefault(config, []).append(split)
    shown = [f"{config} ({', '.join(splits)})" for config, splits in list(by_config.items())[:30]]
    return ", ".join(shown) + (f" and {len(by_config) - 30} more" if len(by_config) > 30 else "")


def _card(files: list[InputFile]) -> str:
    for file in files:
        if file.name == CARD:
            with open_file(file.path) as stream:
                return stream.read(2**20).decode(errors="replace")
    return ""


def _snapshot(repo: str, configs: Sequence[str] | None, splits: Sequence[str], key: str) -> str:
    """The folder of the hub's cache that has these splits, filled if need be.

    Raises:
        UserError: the extra is missing; or the data set is neither on the hub nor in the cache.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise UserError(
            f"{key}: {repo} is on the hub; to read it: pip install boostqa[hf] ({error})"
        ) from error
    disable_progress_bars()
    parts = [f"{config}/*{split}/*" for config in configs or ["*"] for split in splits]
    tries = {PARQUET: parts, "main": [CARD, *(f"*{split}*" for split in splits)]}
    problems = []
    for revision, patterns in tries.items():
        try:
            folder = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns)
        except storage_errors() as error:
            problems.append(f"{revision}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        if any(path.is_file() and _DATA.search(path.name) for path in Path(folder).rglob("*")):
            return folder
        problems.append(f"{revision}: no files of {', '.join(patterns)}")
    raise UserError(
        f"{key}: {repo} cannot be had from the hub ({'; '.join(problems)}). Check the network, HF_ENDPOINT and "
        "HF_HOME; for a data set with conditions accept them on its page and set HF_TOKEN; or download it where there "
        f"is a network (hf download {repo} --repo-type dataset --local-dir FOLDER/{repo}) and set "
        "decontaminate.mirror: FOLDER"
    )
