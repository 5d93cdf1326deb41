"""Join predictions, references and event graphs by id, and refuse what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fusion_eval.clip_lists import ClipList
from fusion_eval.errors import DataError
from fusion_eval.metrics.base import ScoredClips
from fusion_eval.schemas.events import SceneEvents
from fusion_eval.schemas.predictions import Predictions
from fusion_eval.schemas.references import References

_NAMED = 5  # ids that a message names


@dataclass(frozen=True)
class Alignment:
    """Clips in the order of the references, and the ids that had no prediction."""

    clips: ScoredClips
    missing: tuple[str, ...]


def align(
    predictions: Predictions,
    references: References,
    events: SceneEvents | None = None,
    allow_missing: bool = False,
    clip_list: ClipList | None = None,
) -> Alignment:
    """Join by id.

    With ``allow_missing`` a clip without a prediction is scored as an empty caption, so that the denominator stays. With a
    ``clip_list`` its clips alone count, all of them: other predictions are left out, and missing ones are allowed.

    Raises:
        DataError: an id occurs twice, is missing or does not belong, or the files are of different splits.
    """
    whole = references
    references = clip_list.cut(whole) if clip_list is not None else whole
    _check_origin(predictions, (references, whole), events)
    ids = _unique([item.id for item in references.items], "references")
    if not ids:
        raise DataError("The references have no items; give a split with at least one clip.")
    captions = {item.id: item.caption for item in predictions.items}
    candidates = {item.id: [one.text for one in item.candidates] for item in predictions.items if item.candidates}
    _unique([item.id for item in predictions.items], "predictions")
    extra = sorted(captions.keys() - {item.id for item in whole.items})
    if extra:
        raise DataError(f"predictions: {_name(extra)} not in the references; remove them or give their references.")
    missing = tuple(name for name in ids if name not in captions)
    if clip_list is not None and len(missing) == len(ids):
        raise DataError(f"predictions: no clip of {clip_list.name} has one; give the predictions of that split.")
    if missing and not allow_missing and clip_list is None:
        raise DataError(f"predictions: {_name(missing)} missing; predict them or allow missing ones (--allow-missing).")
    scenes = None
    if events is not None:
        _unique([item.id for item in events.items], "events")
        by_id = {item.id: item for item in events.items}
        without = [name for name in ids if name not in by_id]
        if without:
            raise DataError(f"events: {_name(without)} missing; give the event graphs of the split of the references.")
        scenes = [by_id[name] for name in ids]
    return Alignment(
        ScoredClips(
            ids=ids,
            captions=[captions.get(name, "") for name in ids],
            references=[item.references for item in references.items],
            candidates=[candidates.get(name, []) for name in ids] if candidates else None,
            scenes=scenes,
            lexicon=events.lexicon if events is not None else None,
        ),
        missing,
    )


def _check_origin(predictions: Predictions, either: tuple[References, References], events: SceneEvents | None) -> None:
    """Refuse files that say that they are of another split or, of predictions, meant for neither of these references."""
    references = either[-1]
    own = (references.dataset, references.split)
    for name, file in (("predictions", predictions), ("events", events)):
        if file is not None and (file.dataset, file.split) != own:
            raise DataError(
                f"{name}: dataset and split are '{file.dataset}' and '{file.split}', but those of the references are"
                f" '{own[0]}' and '{own[1]}'; give files of one split."
            )
    meant = predictions.references_sha256
    if meant is not None and meant not in {one.sha256() for one in either}:
        raise DataError(
            f"predictions: references_sha256 is {meant[:12]}…, but the references have {references.sha256()[:12]}…;"
            " give the references that the predictions were made for, or leave the field out."
        )


def _unique(ids: Sequence[str], file: str) -> list[str]:
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DataError(f"{file}: {_name(repeated)} there more than once; keep one item a clip.")
    return list(ids)


def _name(ids: Iterable[str]) -> str:
    """Return «id 'x' is» or «3 ids ('x', 'y', 'z') are»; of many ids the first few."""
    names = list(ids)
    if len(names) == 1:
        return f"id '{names[0]}' is"
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED])
    return f"{len(names)} ids ({shown}{', …' if len(names) > _NAMED else ''}) are"
