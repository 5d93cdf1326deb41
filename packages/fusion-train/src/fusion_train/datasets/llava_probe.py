"""The dataset ``llava-probe``: 1,000 questions of LLaVA-Instruct v1.5, selected by a seed and locked by a hash.

The source is the list as LLaVA's authors give it, a JSON array of conversations:

    [{"id": "…", "image": "coco/train2017/….jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat …?"},
                                                                   {"from": "gpt", "value": "…"}, …]}, …]

The filter: a conversation has an image that can be read; its first question and answer count, and no other; the answer has at
most ``longest_answer`` words; each image is taken once. What passes is ordered by SHA-256 of «seed:id», so the order of the
source does not matter, and the first ``count`` are taken. Options are known where the question lists them («A. …») or the answer
is yes or no.

LLaVA-Instruct is in the training mix of LLaVA-1.5 itself: before-scores on it are not held-out ones, and the card says so.

<root>/probe.jsonl, manifest.parquet, dataset.json    as in ``visual-questions``
<root>/images                                         a link to the folder of images
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fusion_core.errors import ConfigError, DataError
from fusion_core.files import sha256_file
from fusion_core.progress import track
from fusion_encoders.images import load_image
from fusion_eval.retention import normalise_answer
from fusion_eval.schemas import ManifestRow
from pydantic import BaseModel, ConfigDict, Field

from fusion_train.datasets.base import IMAGES, DatasetContent, PreparedDataset, write_dataset
from fusion_train.datasets.visual_questions import is_locked, probe_statistics
from fusion_train.retention_probe import PROBE_FILE, ProbeItem, load_probe, write_probe

VERSION = 1
DISCLOSURE = (
    "LLaVA-Instruct is in the training mix of LLaVA-1.5: scores before hearing are not held-out ones; "
    "the difference between before and after is what counts."
)
_IMAGE_MARK = "<image>"
_LETTERED = re.compile(r"^\s*([A-Z])[.)]\s+\S", re.MULTILINE)


class LlavaProbeOptions(BaseModel):
    """The options of the dataset ``llava-probe``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path = Field(description="The JSON list of conversations, such as llava_v1_5_mix665k.json.")
    images: Path = Field(description="The folder that the list's image paths begin in.")
    seed: int = Field(default=0, ge=0, description="Seed of the selection.")
    count: int = Field(default=1000, ge=1, description="Questions that are selected.")
    longest_answer: int = Field(default=5, ge=1, description="Words that an answer may have.")


class LlavaProbeRecipe:
    """Selects the questions and locks the list."""

    name = "llava-probe"
    options_type = LlavaProbeOptions

    def identity(self, options: LlavaProbeOptions) -> dict[str, Any]:
        """Return the options with the source's hash in place of the paths.

        Raises:
            DataError: the source does not exist.
        """
        if not options.source.is_file():
            raise DataError(f"The list {options.source} does not exist; give LLaVA's JSON file by --set source=FILE.")
        content = options.model_dump(mode="json", exclude={"source", "images"})
        return content | {"source_sha256": sha256_file(options.source), "version": VERSION}

    def prepare(self, root: Path, options: LlavaProbeOptions) -> PreparedDataset:
        """Select the questions into ``root``; the same selection that lies there is returned at once.

        Raises:
            ConfigError: ``root`` holds another selection: lists are locked.
            DataError: the source is malformed, or too few questions pass the filter.
        """
        if is_locked(root, self.name, self.identity(options)):
            return PreparedDataset(self.name, root)
        if not options.images.is_dir():
            raise DataError(f"The folder {options.images} does not exist; give that of the images by --set images=DIR.")
        items = list(track(self._select(options), "questions", total=options.count))
        if len(items) < options.count:
            raise DataError(
                f"{options.source}: {len(items)} questions pass the filter and have a readable image in {options.images}, "
                f"{options.count} are wanted; put the images there or lower --set count."
            )
        _link(root, options.images)
        write_probe(root / PROBE_FILE, items)
        rows = [_row(root, item) for item in items]
        statistics = probe_statistics(load_probe(root)) | {"disclosure": DISCLOSURE}
        return write_dataset(root, DatasetContent(self, options, rows, statistics=statistics))

    def _select(self, options: LlavaProbeOptions) -> Iterator[ProbeItem]:
        """Yield the selected questions."""
        passed = read_conversations(options.source, options.longest_answer)
        taken: set[str] = set()
        for item in sorted(passed, key=lambda item: _place(options.seed, item.question_id)):
            image = item.image or ""
            if len(taken) == options.count:
                return
            if image not in taken and _is_readable(options.images, image):
                taken.add(image)
                yield item


def read_conversations(path: Path, longest_answer: int) -> list[ProbeItem]:
    """Return the first question of each conversation that has an image and a short answer, each id once.

    Raises:
        DataError: the file is no JSON list of conversations.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = (_first_question(entry) for entry in content)
        items = [item for item in found if item is not None and len(item.answer.split()) <= longest_answer]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read as LLaVA's list of conversations ({error}); give its JSON file."
        ) from None
    return list({item.question_id: item for item in items}.values())


def _first_question(entry: dict[str, Any]) -> ProbeItem | None:
    """Return the first question of a conversation; None where it has no image or no answer."""
    turns = entry["conversations"]
    if not entry.get("image") or len(turns) < 2 or (turns[0]["from"], turns[1]["from"]) != ("human", "gpt"):
        return None
    text = turns[0]["value"].replace(_IMAGE_MARK, "").strip()
    answer = turns[1]["value"].strip()
    if not text or not normalise_answer(answer):
        return None
    kind, options = _options(text, answer)
    return ProbeItem(
        question_id=f"{entry['id']}:{entry['image']}",
        image=entry["image"],
        text=text,
        category=kind,
        answer=answer,
        options=options,
    )


def _options(text: str, answer: str) -> tuple[str, tuple[str, ...]]:
    """Return the kind of a question and its options."""
    letters = tuple(_LETTERED.findall(text))
    if answer in letters:
        return "choice", letters
    said = normalise_answer(answer)
    if said in ("yes", "no"):
        other = {"yes": "no", "no": "yes"}[said]
        return "yes or no", (answer, other.capitalize() if answer[0].isupper() else other)
    return "free", ()


def _place(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _is_readable(folder: Path, image: str) -> bool:
    path = folder / image
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return False
        load_image(path)
    except DataError:
        return False
    return True


def _row(root: Path, item: ProbeItem) -> ManifestRow:
    path = f"{IMAGES}/{item.image}"
    return ManifestRow(id=item.question_id, path=path, split="test", sha256=sha256_file(root / path), status="ok")


def _link(root: Path, images: Path) -> None:
    """Make ``<root>/images`` point to the folder of images."""
    root.mkdir(parents=True, exist_ok=True)
    link = root / IMAGES
    if not link.exists() and not link.is_symlink():
        link.symlink_to(images.resolve(), target_is_directory=True)
    if link.resolve() != images.resolve():
        raise ConfigError(f"{link} belongs to another probe; give another folder by --root.")
