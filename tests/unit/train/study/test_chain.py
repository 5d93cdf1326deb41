"""A chain: runs one after another, and what is measured on them together at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fusion_core.errors import DataError, MissingAssetError
from fusion_train.study import steps
from fusion_train.study.chain import run_chain
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import PlannedRun, plan_study
from fusion_train.study.schedule import OpenChain
from fusion_train.study.steps import Bench
from fusion_train.study.workspace import Workspace

NAMES = ("additive-s0", "additive-s0+scst")
Measured = list[tuple[str, list[str]]]


@pytest.fixture
def bench(study: Callable[..., Any], results: KeptResults, finish: Callable[..., Path], tmp_path, monkeypatch) -> Bench:
    """Two finished runs of one chain, on which retention and reranking are still to be measured."""
    experiments = [{"name": "A2", "phase": 1, "stages": ["xe", "scst"], "measures": ["retention", "rerank"]}]
    plan = plan_study(study(experiments=experiments, seeds=[0]))
    work = Workspace(tmp_path / "work")
    for name in NAMES:
        finish(plan.runs[name])
        folder = work.folder(plan, plan.runs[name])
        shutil.copytree(results.folder(name), folder)
        (folder / "best.safetensors").touch()
    keep = lambda bench, run, measures: results.keep(run, bench.folder(run), measures)  # noqa: E731
    monkeypatch.setattr(steps, "_keep", keep)
    return Bench(plan, work, results, lambda sentence: None)


def carry_out(bench: Bench) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    run_chain(bench, OpenChain(NAMES, None), lambda name, state: told.append((name, state)))
    return told


def kept_measures(bench: Bench, name: str) -> set[str]:
    entry = bench.kept.find(bench.plan.runs[name])
    assert entry is not None
    return set(entry.measures)


def test_what_runs_share_is_measured_together_after_the_last_of_them(bench, monkeypatch):
    measured: Measured = []
    for name in steps.MEASURES:
        note = lambda bench, runs, name=name: measured.append((name, [run.name for run in runs]))  # noqa: E731
        monkeypatch.setitem(steps.MEASURES, name, note)
    told = carry_out(bench)
    assert measured == [("retention", list(NAMES)), ("rerank", list(NAMES))]
    assert told == [(name, "started") for name in NAMES] + [(name, "done") for name in NAMES]
    assert all(kept_measures(bench, name) == {"retention", "rerank"} for name in NAMES)
    measured.clear()
    carry_out(bench)
    assert measured == []  # nothing is missing


@pytest.mark.parametrize(("error", "status"), [(DataError, "failed"), (MissingAssetError, "missing")])
def test_one_run_that_cannot_be_measured_does_not_spoil_the_others(bench, monkeypatch, error, status):
    def retention(bench: Bench, runs: Sequence[PlannedRun]) -> None:
        if any(run.name == NAMES[0] for run in runs):
            raise error("Its clips are gone.")

    monkeypatch.setitem(steps.MEASURES, "retention", retention)
    monkeypatch.setitem(steps.MEASURES, "rerank", lambda bench, runs: None)
    carry_out(bench)
    assert kept_measures(bench, NAMES[0]) == {"rerank"}
    assert kept_measures(bench, NAMES[1]) == {"retention", "rerank"}
    (failure,) = bench.work.failures().items()
    assert (failure[0], failure[1].status, failure[1].reason) == (
        f"{NAMES[0]}:retention",
        status,
        "Its clips are gone.",
    )


def test_what_was_measured_before_the_weights_were_lost_stays_when_more_is_measured(bench, monkeypatch):
    weights = {"rerank_weights.json": b"reranked", "scores/reranked.json": b"scored"}

    def rerank(bench: Bench, runs: Sequence[PlannedRun]) -> None:
        for run in runs:
            for path, content in weights.items():
                (bench.folder(run) / path).write_bytes(content)

    monkeypatch.setitem(steps.MEASURES, "rerank", rerank)
    run = bench.plan.runs[NAMES[0]]
    steps.carry_out(bench, run)
    steps._measure(bench, "rerank", [run])
    for path in weights:  # the directory was lost, and trained anew to the same weights
        (bench.folder(run) / path).unlink()
    steps.carry_out(bench, run)
    monkeypatch.setitem(steps.MEASURES, "retention", lambda bench, runs: None)
    steps._measure(bench, "retention", [run])
    assert kept_measures(bench, NAMES[0]) == {"retention", "rerank"}
    assert {path: (bench.kept.folder(NAMES[0]) / path).read_bytes() for path in weights} == weights
