"""Whether a system that learned a second modality still captions what the run that it began from captioned.

The first run's test clips are captioned again, by its own settings and prompt, with its modality alone. The file is compared with
the first run's: ``fusion eval compare --a RUN/predictions/audio.json --b NEW/predictions/kept-audio.json``.
"""

from __future__ import annotations

from pathlib import Path

from fusion_core.backbone import Backbone
from fusion_core.journal import Journal
from fusion_core.systems.joint import Joint
from fusion_encoders.base import FrozenEncoder
from fusion_eval.schemas import Scores

from fusion_train.captioner import Captioner
from fusion_train.conditions import score_and_write, to_predictions
from fusion_train.config import RunSettings
from fusion_train.materials import encode_dataset, split_data
from fusion_train.model import read_settings
from fusion_train.retention_sounds import dataset_of

SCORES_OF_START = Path("scores", "audio.json")


def caption_again(
    start: Path, system: Joint, backbone: Backbone, encoder: FrozenEncoder, folder: Path, run_id: str, journal: Journal
) -> Scores:
    """Caption the test clips of the run that training began with; write predictions and scores as ``kept-<modality>``.

    Args:
        start: the first run, of one modality.
        system: the trained system.
        backbone: the frozen model.
        encoder: of the first run's modality.
        folder: the new run directory.
        run_id: the new run's name.
        journal: of the new run.

    Raises:
        DataError: the first run's dataset is not there any more.
    """
    content = read_settings(start)
    settings: RunSettings = content["settings"]
    dataset = dataset_of(content["dataset"], settings, start)
    cache = encode_dataset(dataset, encoder, lambda sentence: None, journal)
    split = split_data(dataset, "test", cache)
    member = system.by_modality()[encoder.modality]
    captioner = Captioner(backbone, member, member.prompt(backbone))
    captions = captioner.caption_all([clip.sha256 for clip in split.clips], cache.get, settings.decoding)
    condition = f"kept-{encoder.modality}"
    predictions = to_predictions(split, f"{member.name} ({condition})", run_id, condition, captions)
    scores = score_and_write(folder, condition, predictions, split)
    facts = {"run": str(start), "cider_d": scores.metrics["cider_d"]}
    if (start / SCORES_OF_START).is_file():
        facts["cider_d_before"] = Scores.read(start / SCORES_OF_START).metrics["cider_d"]
    journal.write("captioned_again", **facts)
    return scores
