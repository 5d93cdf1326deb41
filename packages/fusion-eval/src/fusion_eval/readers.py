"""Read predictions and references from the files that people have: ours, and those of the field.

The kind of a file is recognised by its content: our JSON by its schema, COCO's JSON by its annotations or results, CSV
by its columns (``fusion_eval.caption_tables``). What is not recognised is refused with what was seen and what is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from fusion_eval.caption_tables import (
    WANTED_PREDICTIONS,
    WANTED_REFERENCES,
    CaptionTable,
    read_caption_table,
    seen_columns,
)
from fusion_eval.errors import DataError
from fusion_eval.schemas.base import first_problem
from fusion_eval.schemas.predictions import Candidate, PredictionItem, Predictions
from fusion_eval.schemas.references import ReferenceItem, References

SPLITS = ("train", "development", "dev", "validation", "val", "evaluation", "eval", "test")
Notify = Callable[[str], None]
Read = TypeVar("Read", Predictions, References)


class Origin(NamedTuple):
    """The dataset and split that captions are of. Our files name it; of other files it is guessed or given."""

    dataset: str
    split: str


def read_references(path: Path, origin: Origin | None = None, notify: Notify | None = None) -> References:
    """Read references: ours, a CSV of AudioCaps, Clotho or aac-metrics, or COCO annotations.

    Args:
        path: the file.
        origin: the dataset and split of a file that does not name them; by default guessed from layout and file name.
        notify: is called with one sentence on what a file that is not ours was taken for.

    Raises:
        DataError: the file is absent, of no known kind, or a clip in it has no reference.
    """
    text = _read_text(path)
    content = _read_json(path, text)
    if _is_ours(content):
        return _validate(References, path, text, content)
    dataset: str | None = "coco"
    if content is not None:
        kind, references = "COCO annotations", _coco_references(path, content)
    else:
        table = read_caption_table(path, text)
        if table is None or not any(row.references for row in table.rows):
            raise _unknown(path, text, "references", WANTED_REFERENCES)
        kind, dataset = _kind(table), table.dataset
        references = [(row.id, row.references) for row in table.rows]
    by_id: dict[str, list[str]] = {}
    for name, texts in references:
        by_id.setdefault(name, []).extend(texts)
    without = next((name for name, texts in by_id.items() if not texts), None)
    if without is not None:
        raise DataError(f"{path}: clip '{without}' has no reference; give it one or remove the clip.")
    place = origin or _guess_origin(path, dataset)
    items = tuple(_item(ReferenceItem, path, id=name, references=texts) for name, texts in by_id.items())
    _say(notify, f"{path}: {kind}, {sum(map(len, by_id.values()))} references of {len(items)} clips.")
    return References(dataset=place.dataset, split=place.split, items=items)


def read_predictions(path: Path, origin: Origin | None = None, notify: Notify | None = None) -> Predictions:
    """Read predictions: ours, a CSV of aac-metrics or with one caption a clip, or COCO results.

    Args:
        path: the file; its stem names the system where the file does not.
        origin: the dataset and split of a file that does not name them; by default guessed from layout and file name.
        notify: is called with one sentence on what a file that is not ours was taken for.

    Raises:
        DataError: the file is absent or of no known kind.
    """
    text = _read_text(path)
    content = _read_json(path, text)
    if _is_ours(content):
        return _validate(Predictions, path, text, content)
    dataset: str | None = "coco"
    captions: list[tuple[str, str, tuple[str, ...]]]
    if content is not None:
        kind = "COCO results"
        captions = [(name, caption, ()) for name, caption in _coco_results(path, content)]
    else:
        table = read_caption_table(path, text)
        if table is None or any(row.caption is None for row in table.rows):
            raise _unknown(path, text, "predictions", WANTED_PREDICTIONS)
        kind, dataset = _kind(table), table.dataset
        captions = [(row.id, row.caption or "", row.candidates) for row in table.rows]
    place = origin or _guess_origin(path, dataset)
    items = tuple(
        _item(PredictionItem, path, id=name, caption=caption, candidates=[Candidate(text=one) for one in texts] or None)
        for name, caption, texts in captions
    )
    _say(notify, f"{path}: {kind}, captions of {len(items)} clips.")
    return Predictions(dataset=place.dataset, split=place.split, system=path.stem, items=items)


def read_together(
    predictions: Sequence[Path], references: Path, notify: Notify | None = None
) -> tuple[list[Predictions], References]:
    """Read the predictions of one or more systems and the references that they are compared with.

    A file that does not name its dataset and split is taken to be of those that another of the files names.

    Raises:
        DataError: a file is absent, of no known kind, or malformed.
    """
    named = [path for path in (references, *predictions) if _is_ours(_read_json(path, _read_text(path)))]
    origin = None
    if named:
        kind = References if named[0] == references else Predictions
        first = kind.read(named[0])
        origin = Origin(first.dataset, first.split)
    truth = read_references(references, origin, notify)
    own = Origin(truth.dataset, truth.split)
    return [read_predictions(path, own, notify) for path in predictions], truth


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; give a JSON or CSV file of captions.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a readable file.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8 (byte {error.start}); save it in that encoding.") from error


def _read_json(path: Path, text: str) -> Any:
    """Return the content of a text that looks like JSON, or None."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return TypeAdapter(Any).validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}") from error


def _is_ours(content: Any) -> bool:
    return isinstance(content, dict) and str(content.get("schema", "")).startswith("fusion.")


def _validate(kind: type[Read], path: Path, text: str, content: Any) -> Read:
    wanted = kind.model_fields["schema_"].default
    if content["schema"] != wanted:
        raise DataError(f"{path} is a '{content['schema']}' file; give one of '{wanted}' here.")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}") from error


def _coco_references(path: Path, content: Any) -> list[tuple[str, Sequence[str]]]:
    """Return the captions of COCO annotations by image, in the order of the images."""
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise _unknown_json(path, content, "references", "'schema' of fusion.references/1, or COCO's 'annotations'")
    images = content.get("images", [])
    known = [_coco_id(path, image, "id") for image in images] if isinstance(images, list) else []
    return [(name, ()) for name in known] + [
        (name, (caption,)) for name, caption in _coco_captions(path, content["annotations"])
    ]


def _coco_results(path: Path, content: Any) -> Iterable[tuple[str, str]]:
    if not isinstance(content, list):
        raise _unknown_json(path, content, "predictions", "'schema' of fusion.predictions/1, or a list of COCO results")
    return _coco_captions(path, content)


def _coco_captions(path: Path, entries: Sequence[Any]) -> list[tuple[str, str]]:
    captions = []
    for number, entry in enumerate(entries):
        name = _coco_id(path, entry, "image_id")
        if not isinstance(entry.get("caption"), str):
            raise DataError(f"{path}, entry {number}: 'caption' is no text; give each entry image_id and caption.")
        captions.append((name, entry["caption"]))
    return captions


def _coco_id(path: Path, entry: Any, key: str) -> str:
    """Return an id, which is a number or a text, as text."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{path}: '{key}' of an entry is {value!r}; give a number or a text.")
    return str(value)


def _item(kind: type[Any], path: Path, **fields: Any) -> Any:
    """Return one clip's record.

    Raises:
        DataError: a field is not as it must be, such as an empty id.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise DataError(f"{path}, clip {fields['id']!r}: {first_problem(error)}") from error


def _kind(table: CaptionTable) -> str:
    return f"{table.layout} without an id column, so that rows are numbered" if table.numbered else table.layout


def _guess_origin(path: Path, dataset: str | None) -> Origin:
    """Return the dataset of the layout, or else the file's name, and the split that the file's name holds."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    split = next((name for name in SPLITS if name in words), path.stem)
    return Origin(dataset or path.stem, split)


def _unknown(path: Path, text: str, role: str, wanted: str) -> DataError:
    if not text.strip():
        return DataError(f"{path} is empty; give a JSON or CSV file of {role}.")
    return DataError(
        f"{path} holds no {role} that are recognised: its columns are {seen_columns(path, text)}; wanted are {wanted}."
    )


def _unknown_json(path: Path, content: Any, role: str, wanted: str) -> DataError:
    seen = f"an object with {', '.join(list(content)[:8])}" if isinstance(content, dict) else "a list"
    return DataError(f"{path} holds no {role} that are recognised: it is {seen}; wanted is {wanted}.")


def _say(notify: Notify | None, sentence: str) -> None:
    if notify is not None:
        notify(sentence)
