"""An experiment with several modalities at once: the stages of :mod:`fusion_train.experiment`, an encoder and cache each.

Self-critical training and the contrastive loss are those of one modality and are refused here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusion_core.errors import ConfigError, DataError
from fusion_core.journal import Journal
from fusion_core.systems.joint import Joint
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.cache import FeatureCache
from fusion_eval.schemas import ReferenceItem, References, Scores
from fusion_eval.schemas.questions import QuestionItem

from fusion_train.alignment import align
from fusion_train.conditions import SplitData
from fusion_train.config import RunSettings
from fusion_train.datasets.base import PreparedDataset
from fusion_train.datasets.registry import parse_options, prepare_dataset
from fusion_train.examples import CaptionedClip, TrainingExamples
from fusion_train.experiment import Experiment
from fusion_train.joint_model import Start, build_joint, read_start
from fusion_train.judging import ACCURACY, Validation
from fusion_train.kept_hearing import caption_again
from fusion_train.learner import Learner
from fusion_train.loop import Trainer, run_name
from fusion_train.materials import SPLITS, Materials, encode_dataset, split_data
from fusion_train.mixed_reading import MixedLearner, MixedReader
from fusion_train.mixture import MixedExamples
from fusion_train.modal_conditions import ModalExamination, accuracy, conditions, examine
from fusion_train.modal_encoders import load_encoders, primary
from fusion_train.modalities import ModalLookup
from fusion_train.model import build_backbone, read_settings
from fusion_train.retention_sounds import Clips, whole_clips_of
from fusion_train.statistics import fit_statistics


@dataclass(frozen=True)
class ModalMaterials(Materials):
    """Everything that is ready before training; encoder and cache are those of the primary modality.

    Attributes:
        encoders: the frozen encoders by modality.
        lookup: their features.
        start: what some modalities begin with; None for nothing.
    """

    encoders: dict[str, FrozenEncoder]
    lookup: ModalLookup
    start: Start | None

    @property
    def features(self) -> ModalLookup:
        """The features of all modalities."""
        return self.lookup

    @property
    def by_modality(self) -> dict[str, FrozenEncoder]:
        """The encoders of a run of several modalities."""
        return self.encoders

    @property
    def adapter_sha256(self) -> str | None:
        """The weights that the training begins with."""
        return self.start.adapter_sha256 if self.start else None


class ModalExperiment(Experiment):
    """Runs one request with the modalities of its settings."""

    def _materials(self, journal: Journal) -> ModalMaterials:
        settings, name = self.settings, self.request.dataset
        _require_supported(settings)
        encoders = load_encoders(settings)
        start = read_start(Path(settings.init)) if settings.init else None
        self.announce(f"data: {name}")
        dataset = prepare_dataset(name, parse_options(name, settings.dataset), self.request.root)
        journal.write("prepared", root=str(dataset.root), statistics=dataset.card.statistics, denominators=[])
        caches: dict[str, FeatureCache] = {}
        for modality, encoder in encoders.items():
            caches[modality] = encode_dataset(dataset, encoder, self.announce, journal)
            if not len(caches[modality]):
                raise ConfigError(f"No clip of {name} has {modality}; leave it out of --modalities.")
        lookup = ModalLookup(caches)
        read = split_data if dataset.has_references("train") else question_split
        splits = {split: read(dataset, split, lookup) for split in SPLITS}
        first = primary(encoders)
        return ModalMaterials(
            dataset, encoders[first], caches[first], build_backbone(settings), splits, encoders, lookup, start
        )

    def _learner(self, materials: Materials, settings: RunSettings) -> Learner:
        assert isinstance(materials, ModalMaterials)  # made by _materials
        backbone, start = materials.backbone, materials.start
        widths = {modality: encoder.width for modality, encoder in materials.encoders.items()}
        system = build_joint(self.request.system, settings, backbone, widths, start)
        questions = materials.dataset.questions("train") if settings.mixture.questions else None
        by_clip: dict[str, list[QuestionItem]] = {}
        for item in questions.items if questions else ():
            by_clip.setdefault(item.clip, []).append(item)
        examples = MixedExamples(
            materials.splits["train"].clips,
            by_clip,
            backbone,
            system,
            materials.lookup,
            settings.mixture,
            settings.seed,
            captions=materials.dataset.has_references("train"),
        )
        self._require_enough(examples, settings)
        reader = MixedReader(backbone, examples.distinct_prompts(), examples.prompt, system, settings)
        return MixedLearner(backbone, system, examples, reader, self.accelerator, settings.batch)

    def _validation(self, materials: Materials, settings: RunSettings) -> Validation:
        """Judge by the captions of val; by its questions where the dataset has no captions."""
        if materials.dataset.has_references("val"):
            return super()._validation(materials, settings)
        assert isinstance(materials, ModalMaterials)
        split, questions = materials.splits["val"], materials.dataset.questions("val")
        chosen = {clip.id for clip in split.clips[: settings.evaluation.clips]}
        asked = [item for item in questions.items if item.clip in chosen] if questions else []
        examination = self._examination(materials, settings)
        together = conditions(materials.lookup.modalities)[:1]

        def score() -> float:
            return accuracy(asked, examination.answers(split, asked, together)[0]).accuracy

        return Validation(score, ACCURACY, "by likelihood")

    def _examination(self, materials: ModalMaterials, settings: RunSettings) -> ModalExamination:
        learner = self.learner
        prompt = learner.examples.prompt
        return ModalExamination(
            learner.backbone, learner.system, prompt, materials.lookup, settings.decoding, settings.seed
        )

    def _begin(self, trainer: Trainer, materials: Materials, settings: RunSettings) -> None:
        """Fit statistics and the aligned start of each modality that begins from nothing, on the captions of its clips."""
        assert isinstance(materials, ModalMaterials)
        system = self.learner.system
        assert isinstance(system, Joint)
        inherited = materials.start.members if materials.start else {}
        for modality, member in system.by_modality().items():
            if modality in inherited:
                continue
            cache = materials.lookup.caches[modality]
            clips = [clip for clip in materials.splits["train"].clips if cache.has(clip.sha256)]
            own = TrainingExamples(clips, materials.backbone, self.learner.examples.prompt, cache.get, settings.seed)
            fit_statistics(member, own)
            if settings.alignment.steps:
                self.announce(f"aligned start of {modality}")
                before, after = align(member, materials.backbone, own, settings.alignment)
                facts = {"steps": settings.alignment.steps, "cosine_before": before, "cosine_after": after}
                trainer.journal.write("aligned", modality=modality, **facts)
        if materials.start is not None:
            names = sorted(set(inherited) & set(system.by_modality()))
            frozen = [name for name, own in settings.modalities.items() if own.frozen]
            sha256 = materials.start.adapter_sha256
            trainer.journal.write(
                "initialised", run=settings.init, modalities=names, frozen=frozen, adapter_sha256=sha256
            )

    def _distractors(self, materials: Materials) -> Clips:
        assert isinstance(materials, ModalMaterials)
        return whole_clips_of(materials.dataset, materials.encoders)

    def _examine(self, materials: Materials, folder: Path, settings: RunSettings) -> dict[str, Scores]:
        assert isinstance(materials, ModalMaterials)
        dataset = materials.dataset
        examination = self._examination(materials, settings)
        system = f"{self.request.system} ({', '.join(settings.modalities)})"
        scores = examine(
            examination,
            materials.splits["test"],
            dataset.questions("test"),
            folder,
            system,
            run_name(folder),
            self.announce,
            captions=dataset.has_references("test"),
        )
        return scores | self._kept(materials, folder, settings)

    def _kept(self, materials: ModalMaterials, folder: Path, settings: RunSettings) -> dict[str, Scores]:
        """Caption again what a first run of one modality captioned; nothing where there is none, or its data are gone."""
        system = self.learner.system
        if not settings.init or not isinstance(system, Joint):
            return {}
        start = Path(settings.init)
        if read_settings(start)["settings"].modalities:
            return {}  # that run was one of several modalities already
        (modality,) = materials.start.members if materials.start else ("",)
        journal = Journal(folder / "log.jsonl")
        self.announce(f"the test clips of {start.name} again, by {modality} alone")
        try:
            scores = caption_again(
                start, system, materials.backbone, materials.encoders[modality], folder, run_name(folder), journal
            )
        except DataError as error:
            self.announce(f"left out: {error}")
            return {}
        return {f"kept-{modality}": scores}


def question_split(dataset: PreparedDataset, name: str, lookup: ModalLookup) -> SplitData:
    """Return the clips of a split of questions alone; in the place of captions stand the answers to a clip's questions.

    They are what the aligned start fits directions to, and are never scored as captions.

    Raises:
        DataError: no clip has features and a question.
    """
    answers: dict[str, list[str]] = {}
    questions = dataset.questions(name)
    for item in questions.items if questions else ():
        answers.setdefault(item.clip, []).append(item.answer)
    rows = [row for row in dataset.rows(name) if row.sha256 and lookup.has(row.sha256) and row.id in answers]
    clips = [CaptionedClip(row.id, str(row.sha256), tuple(answers[row.id])) for row in rows]
    if not clips:
        raise DataError(f"{dataset.root}: split {name!r} has no usable clip with a question; see fusion data verify.")
    items = tuple(ReferenceItem(id=clip.id, references=clip.references) for clip in clips)
    return SplitData(name, clips, References(dataset=dataset.name, split=name, items=items), None)


def _require_supported(settings: RunSettings) -> None:
    if settings.scst.start != "never":
        raise ConfigError("Self-critical training is for one modality; leave out --scst, or --modalities.")
    if settings.contrastive.weight:
        raise ConfigError(
            "The contrastive loss is for one modality; set contrastive.weight=0, or leave out --modalities."
        )
