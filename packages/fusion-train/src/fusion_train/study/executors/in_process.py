"""All chains in this process, one after another: for debuggers, notebooks and single cores."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_train.study.executors.base import Errand, Notice, prepare
from fusion_train.study.schedule import OpenChain


class InProcess:
    """Carries out chains in this process."""

    def run(self, errand: Errand, chains: Sequence[OpenChain], notice: Notice) -> None:
        """Carry out all chains; see :class:`~fusion_train.study.executors.base.Executor`."""
        from fusion_train.study.chain import run_chain
        from fusion_train.study.steps import Bench

        prepare(errand, lambda sentence: notice(sentence, "stage"))
        bench = Bench(errand.plan(), errand.workspace, errand.kept, lambda sentence: None)
        for chain in sorted(chains, key=lambda one: one.after is not None):
            run_chain(bench, chain, notice)
