"""What a trained system says of a split under several conditions, scored beside floors that do not hear.

Conditions: ``audio`` (each clip's own), ``shuffled`` (another clip's), ``none`` (no audio bound), ``class_prior`` (one constant
caption) and ``nearest_neighbour`` (retrieval). Decoding never sees a reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion_core.progress import progress_bar
from fusion_eval.schemas import Candidate, PredictionItem, Predictions, References, SceneEvents, Scores
from fusion_eval.scoring import score

from fusion_train.baselines import NearestNeighbour, class_prior, derangement
from fusion_train.captioner import CaptionCandidate, Captioner
from fusion_train.config import DecodingSettings
from fusion_train.examples import CaptionedClip, FeatureLookup

CONDITIONS = ("audio", "shuffled", "none", "class_prior", "nearest_neighbour")
FLOORS = ("class_prior", "nearest_neighbour")
CAPTION_METRICS = ("cider_d",)
EVENT_METRICS = ("event_f1", "order_accuracy", "count_accuracy")


@dataclass(frozen=True)
class SplitData:
    """One split, ready to be captioned and scored."""

    name: str
    clips: Sequence[CaptionedClip]
    references: References
    events: SceneEvents | None


class Examination:
    """Captions a split under every condition.

    Args:
        captioner: the trained system.
        features: x_TA by file hash.
        decoding: beam settings of the conditions that decode.
        seed: decides who gets whose audio in the shuffled control.
    """

    def __init__(self, captioner: Captioner, features: FeatureLookup, decoding: DecodingSettings, seed: int) -> None:
        self.captioner = captioner
        self.features = features
        self.decoding = decoding
        self.seed = seed

    def own_audio(self, clips: Sequence[CaptionedClip]) -> list[list[CaptionCandidate]]:
        """Return the candidates of clips with their own audio, best first."""
        with progress_bar() as bar:
            task = bar.add_task("caption", total=len(clips))
            return self.captioner.caption_all(
                [clip.sha256 for clip in clips], self.features, self.decoding, lambda done: bar.advance(task, done)
            )

    def captions(
        self, train: Sequence[CaptionedClip], val: Sequence[CaptionedClip], test: Sequence[CaptionedClip]
    ) -> Iterator[tuple[str, list[list[CaptionCandidate]]]]:
        """Yield each condition with the candidates of every test clip, best first."""
        yield "audio", self.own_audio(test)
        yield "shuffled", self.own_audio([test[index] for index in derangement(len(test), self.seed)])
        yield "none", [self.captioner.caption_without_audio(self.decoding)] * len(test)
        yield "class_prior", [[CaptionCandidate(class_prior(train, val, self.seed), 0.0)]] * len(test)
        retrieved = NearestNeighbour(train, self.features).caption([clip.sha256 for clip in test])
        yield "nearest_neighbour", [[CaptionCandidate(text, 0.0)] for text in retrieved]


def to_predictions(
    split: SplitData, system: str, run_id: str, condition: str, captions: Sequence[Sequence[CaptionCandidate]]
) -> Predictions:
    """Return the predictions file of one condition; candidates are kept where the condition decodes."""
    decodes = condition not in FLOORS
    items = []
    for clip, found in zip(split.clips, captions, strict=True):
        candidates = tuple(Candidate(text=one.text, logprob=one.logprob) for one in found) if decodes else None
        items.append(PredictionItem(id=clip.id, caption=found[0].text, candidates=candidates))
    return Predictions(
        dataset=split.references.dataset,
        split=split.name,
        system=system if condition == "audio" else f"{system} ({condition})",
        run_id=run_id,
        references_sha256=split.references.sha256(),
        items=tuple(items),
    )


def score_and_write(folder: Path, condition: str, predictions: Predictions, split: SplitData) -> Scores:
    """Score one condition and write ``predictions/<condition>.json`` and ``scores/<condition>.json``."""
    metrics = CAPTION_METRICS + (EVENT_METRICS if split.events is not None else ())
    scores = score(predictions, split.references, metrics=metrics, events=split.events, allow_missing=True)
    predictions.write(folder / "predictions" / f"{condition}.json")
    scores.write(folder / "scores" / f"{condition}.json")
    return scores
