"""The last contingency of a training that diverges: fewer audio tokens, from the start.

Going back to a checkpoint with a lower learning rate is the trainer's own (:mod:`fusion_train.loop`). Fewer tokens change the
shape of the system, so the run starts again; a note in the run directory keeps that decision for ``--resume``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fusion_core.files import write_atomic
from fusion_core.journal import Journal

from fusion_train.config import RunSettings
from fusion_train.loop import BEST_FILE
from fusion_train.stopping import Diverged

NOTE_FILE = "contingency.json"


def fewer_tokens(settings: RunSettings, folder: Path) -> RunSettings:
    """Return the settings with the fewer tokens that an earlier attempt in this folder decided on, or the settings themselves."""
    note = folder / NOTE_FILE
    if not note.is_file():
        return settings
    return _with_tokens(settings, int(json.loads(note.read_text(encoding="utf-8"))["tokens"]))


def remember_tokens(
    settings: RunSettings, folder: Path, system: str, reason: Diverged, journal: Journal
) -> RunSettings:
    """Decide on fewer tokens, note it, and clear what the diverged attempt left; return the settings of the next attempt.

    Raises:
        Diverged: the run has no audio tokens in its settings, or no more than that already.
    """
    tokens = settings.contingency.fewer_tokens
    now = settings.system.get("tokens", settings.reference.get("tokens"))
    if now is None or int(now) <= tokens or system == "data-only":
        raise reason
    journal.write("contingency", trigger=str(reason), action="fewer tokens", tokens=tokens, before=int(now))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / BEST_FILE).unlink(missing_ok=True)
    content = {"tokens": tokens, "before": int(now), "reason": str(reason)}
    write_atomic(folder / NOTE_FILE, json.dumps(content, indent=2).encode())
    return _with_tokens(settings, tokens)


def _with_tokens(settings: RunSettings, tokens: int) -> RunSettings:
    changed = {"reference": {**settings.reference, "tokens": tokens}}
    if "tokens" in settings.system:
        changed["system"] = {**settings.system, "tokens": tokens}
    return settings.model_copy(update=changed)
