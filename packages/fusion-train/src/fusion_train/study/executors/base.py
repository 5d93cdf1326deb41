"""What every executor does: carry out chains, some of them after others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fusion_train.study.config import Experiment, Study
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import Plan, plan_study
from fusion_train.study.schedule import OpenChain
from fusion_train.study.workspace import Workspace

Notice = Callable[[str, str], None]
"""Called with the name of a run and its new state: started, done, failed, missing."""


@dataclass(frozen=True)
class Errand:
    """What a process that carries out chains must know; it travels to other processes.

    Attributes:
        study: the configuration.
        added: experiments that the rules added.
        work: the working folder.
        results: the folder of the kept results.
    """

    study: Study
    added: tuple[Experiment, ...]
    work: Path
    results: Path

    def plan(self) -> Plan:
        """Return the whole plan."""
        return plan_study(self.study, self.added)

    @property
    def workspace(self) -> Workspace:
        """The working folder."""
        return Workspace(self.work)

    @property
    def kept(self) -> KeptResults:
        """The kept results."""
        return KeptResults(self.results)


class Executor(Protocol):
    """Carries out chains."""

    def run(self, errand: Errand, chains: Sequence[OpenChain], notice: Notice) -> None:
        """Carry out all chains; those of phase 0 and 1 are first, and one with ``after`` begins when the rule's runs have ended.

        A run that fails leaves its reason in the working folder and stops nothing else.

        Raises:
            Interrupted: this process was asked to stop; what was running has saved its state.
        """
        ...


def prepare(errand: Errand, announce: Callable[[str], None]) -> None:
    """Prepare what all runs share, so that no two processes do it at once: data, features, the similarity's heads.

    Raises:
        FusionError: data or weights are missing.
    """
    import torch
    from fusion_encoders.cache import FeatureCache
    from fusion_encoders.registry import load_encoder

    from fusion_train.datasets.registry import dataset_names, parse_options, prepare_dataset
    from fusion_train.similarity_settings import HeadSettings
    from fusion_train.similarity_training import train_similarity

    torch.set_num_threads(errand.study.threads)
    seen = set()
    for run in errand.plan().runs.values():
        options = parse_options(run.dataset, run.settings.dataset) if run.dataset in dataset_names() else None
        key = (run.dataset, str(options), run.settings.encoder)
        if options is None or run.stage == "sanity" or key in seen:
            continue
        seen.add(key)
        announce(f"data: {run.dataset}")
        dataset = prepare_dataset(run.dataset, options)
        if run.stage == "video":
            continue  # its modalities are read by encoders of their own, and their caches take turns
        encoder = load_encoder(run.settings.encoder)
        usable = [row for row in dataset.manifest if row.status == "ok" and row.sha256]
        FeatureCache(encoder).fill((row.id, dataset.audio_path(row), str(row.sha256)) for row in usable)
        if errand.study.similarity:
            train_similarity(dataset, encoder, HeadSettings(), None, announce)
