"""Lists of clips: the part of a split that captions are scored on, by a published name or from a file.

A list fixes the denominator. AudioCaps' 975 test clips are scored whole, on the 957 that most papers could still download, or
on CoNeTTE's 912; what a system has no caption for counts as an empty one, whichever list it is.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fusion_eval.errors import ConfigError, DataError
from fusion_eval.schemas.references import References

_WHOLE = 975  # clips of the official test split


@dataclass(frozen=True)
class ClipList:
    """The clips that count.

    Attributes:
        name: what the list is called in scores and tables.
        ids: of its clips.
    """

    name: str
    ids: frozenset[str]

    def cut(self, references: References) -> References:
        """Return the references of these clips, in the order of the split.

        Raises:
            DataError: a clip of the list is not in the references, or the list is empty.
        """
        items = tuple(item for item in references.items if item.id in self.ids)
        absent = sorted(self.ids - {item.id for item in items})
        if absent:
            raise DataError(
                f"{self.name}: {len(absent)} of its {len(self.ids)} clips are not in the references, such as '{absent[0]}'; "
                f"give the references of the split that the list is of ({references.dataset} {references.split} was given)."
            )
        if not items:
            raise DataError(f"{self.name} names no clip; write one id a line.")
        return references.model_copy(update={"items": items})


def published_lists(test_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the published lists of AudioCaps' test clips by name, where these are its 975 clips or those of a list.

    The official test split has 975 clips; WavCaps' list, which most papers score, 957 of them; CoNeTTE's 912.
    """
    lists = {}
    for name, one in _published().items():
        absent = set(one["without"])
        kept = [clip for clip in test_ids if clip not in absent]
        is_whole_split = len(test_ids) == _WHOLE and absent <= set(test_ids)
        if is_whole_split or (len(kept) == len(test_ids) and _sha256(kept) == one["sha256"]):
            lists[name] = kept
    return lists


def find_clip_list(name: str, references: References, folder: Path | None = None) -> ClipList:
    """Return a list of clips by its name, or of a file.

    Args:
        name: a published list (common-957, also written common957), a list that lies as NAME.json in ``folder``, or a file: one
            id a line, a JSON list of ids, a references file, or, as FILE:KEY, one of the lists of a JSON object, such as
            ``runs/RUN/subsets.json:held-out``.
        references: those of the whole split.
        folder: of the dataset's own lists, which are references files.

    Raises:
        ConfigError: there is no such list.
        DataError: the file is malformed.
    """
    own = {path.stem: path for path in sorted(folder.glob("*.json"))} if folder and folder.is_dir() else {}
    for known, path in own.items():
        if _plain(known) == _plain(name):
            return ClipList(known, frozenset(item.id for item in References.read(path).items))
    published = published_lists([item.id for item in references.items])
    for known, ids in published.items():
        if _plain(known) == _plain(name):
            return ClipList(known, frozenset(ids))
    file, _, key = (name, "", "") if Path(name).is_file() else name.rpartition(":")
    if Path(file).is_file():
        return _read(Path(file), key)
    if any(_plain(known) == _plain(name) for known in _published()):
        raise ConfigError(
            f"--clips {name}: the list is of AudioCaps' {_WHOLE} test clips, and these references are others "
            f"({references.dataset} {references.split}, {len(references.items)} clips); give those of the published table."
        )
    known_here = ", ".join(dict.fromkeys([*own, *published])) or "none of these references"
    raise ConfigError(f"--clips {name}: there is no such list ({known_here}) and no such file; name one of the two.")


def _read(path: Path, key: str) -> ClipList:
    """Return the ids of a file; ``key`` is that of a JSON object.

    Raises:
        DataError: the file holds no list of ids; names it.
    """
    text = _text(path)
    if not text.lstrip().startswith(("[", "{")):
        return ClipList(path.stem, frozenset(one for line in text.split("\n") if (one := line.rstrip("\r")).strip()))
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error}); give a list of ids.") from error
    if isinstance(content, dict) and str(content.get("schema", "")).startswith("fusion.references/"):
        return ClipList(path.stem, frozenset(item.id for item in References.read(path).items))
    if isinstance(content, dict):
        if key not in content:
            raise DataError(f"{path} holds the lists {', '.join(content)}; give one of them as {path}:NAME.")
        content = content[key]
    if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
        raise DataError(f"{path}: no list of ids; write them as texts in a JSON list, or one a line.")
    return ClipList(key or path.stem, frozenset(content))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a text in UTF-8 ({error}); save it as one.") from error


@cache
def _published() -> dict[str, dict[str, Any]]:
    return tomllib.loads((resources.files("fusion_eval") / "audiocaps_lists.toml").read_text("utf-8"))


def _sha256(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
