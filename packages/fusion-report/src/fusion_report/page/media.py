"""What of each clip can be heard and seen in the page: embedded while there is room, else linked or left out, with the reason.

Every embedded piece stands in an element of its own, in base64, and is decoded when its clip is opened.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from fusion_eval.errors import DataError
from fusion_eval.schemas import ManifestRow

from fusion_report.page.clips import ClipSet
from fusion_report.page.sound import encode_mp3, picture, read_sound
from fusion_report.page.weight import spread_out

VIDEO_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime"}
SOUND_TYPE = "audio/mpeg"
PICTURE_MARGIN = 1.05  # pictures to come may be larger than those so far
Track = Callable[[Iterable[int]], Iterable[int]]


@dataclass
class Media:
    """The embedded pieces and what became of every clip.

    Attributes:
        blocks: base64 by the id of its element.
        entries: by set and clip: what the page's data say of its media.
        reasons: how many clips cannot be heard in the page, by reason.
        pictures_left_out: how many clips have no picture, by reason.
    """

    blocks: dict[str, str] = field(default_factory=dict)
    entries: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    pictures_left_out: Counter[str] = field(default_factory=Counter)

    @property
    def bytes_used(self) -> int:
        """How much the pieces weigh as they stand in the page."""
        return sum(map(len, self.blocks.values()))


class MediaCollector:
    """Collects media until there is no more room.

    Args:
        room: bytes that the pieces may weigh in base64.
        page: where the page will lie; links are relative to its folder.
        links: whether clips without room are linked to their files.
    """

    def __init__(self, room: int, page: Path, links: bool) -> None:
        self.room = room
        self.folder = page.resolve().parent
        self.links = links
        self.media = Media()
        self._used = 0
        self._pictures: list[int] = []

    def collect(self, sets: list[ClipSet], track: Track) -> Media:
        """Collect the media of all clips in an order that spreads what has room over all of them."""
        clips = [(number, one, clip) for number, one in enumerate(sets) for clip in one.ids]
        order = spread_out(len(clips))
        for done, index in enumerate(track(order)):
            number, one, clip = clips[index]
            entry = self._entry(one, clip, f"{index}", remaining=len(clips) - done - 1)
            self.media.entries[number, clip] = entry
            if "reason" in entry:
                self.media.reasons[entry["reason"]] += 1
        return self.media

    def _entry(self, one: ClipSet, clip: str, name: str, remaining: int) -> dict[str, Any]:
        if one.known.data is None:
            return {"reason": one.known.reason}
        row = one.known.data.rows.get(clip)
        if row is None:
            return {"reason": f"The manifest of {one.known.data.name} does not list the clip."}
        if row.status != "ok":
            why = f" ({row.reason})" if row.reason else ""
            return {"reason": f"The file is {row.status.replace('_', ' ')}{why}."}
        path = one.known.data.root / PurePosixPath(row.path)
        if path.suffix.lower() in VIDEO_TYPES:
            return self._video(path, row, name, remaining)
        return self._sound(path, row, name, remaining)

    def _video(self, path: Path, row: ManifestRow, name: str, remaining: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": VIDEO_TYPES[path.suffix.lower()]}
        self.media.pictures_left_out["A video shows itself."] += 1
        try:
            size = path.stat().st_size
        except OSError:
            return {"reason": f"{row.path} is absent."}
        if self._fits(-(-size // 3) * 4, remaining):
            return entry | {"block": self._embed(f"media-{name}", path.read_bytes())}
        return self._elsewhere(path, entry)

    def _sound(self, path: Path, row: ManifestRow, name: str, remaining: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": SOUND_TYPE}
        if not path.is_file():
            return {"reason": f"{row.path} is absent."}
        try:
            sound = read_sound(path)
        except DataError as error:
            return {"reason": f"{error}."}
        drawn = picture(sound)
        if self._used + _in_base64(drawn) <= self.room:
            entry["picture"] = self._embed(f"picture-{name}", drawn)
            self._pictures.append(_in_base64(drawn))
        else:
            self.media.pictures_left_out["No room was left."] += 1
        encoded = encode_mp3(sound) if self._fits(0, remaining) else b""
        if encoded and self._fits(_in_base64(encoded), remaining):
            return entry | {"block": self._embed(f"media-{name}", encoded)}
        return self._elsewhere(path, entry)

    def _fits(self, size: int, remaining: int) -> bool:
        """Return whether a piece has room beside the pictures of the clips that are still to come, up to half of all."""
        average = sum(self._pictures) / len(self._pictures) if self._pictures else 0
        reserve = min(PICTURE_MARGIN * average * remaining, self.room / 2)
        return self._used + size + reserve <= self.room

    def _embed(self, name: str, data: bytes) -> str:
        self.media.blocks[name] = base64.b64encode(data).decode("ascii")
        self._used += len(self.media.blocks[name])
        return name

    def _elsewhere(self, path: Path, entry: dict[str, Any]) -> dict[str, Any]:
        size = f"the limit of {self.room / 1e6:g} MB of sounds and pictures is reached"
        if not self.links:
            return entry | {"reason": f"Left out: {size}."}
        relative = os.path.relpath(path.resolve(), self.folder)
        url = quote(relative.replace(os.sep, "/"))
        sentence = (
            f"Not embedded: {size}. It plays from its own file where that lies beside the page as when this was made."
        )
        return entry | {"link": url, "reason": sentence}


def _in_base64(data: bytes) -> int:
    return -(-len(data) // 3) * 4


def block_elements(media: Media) -> Iterator[str]:
    """Yield an inert element for every piece; base64 holds nothing that could end it."""
    for name, text in sorted(media.blocks.items()):
        yield f'<script type="text/plain" id="{name}">{text}</script>\n'
