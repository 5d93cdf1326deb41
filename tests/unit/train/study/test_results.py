"""Kept results: what counts as done, what is still to do, and what verification finds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fusion_core.registry import LazyRegistry
from fusion_eval.schemas import ReferenceItem, References, RunCard
from fusion_eval.schemas.study import StudyCard
from fusion_train.datasets.base import DatasetCard, json_sha256
from fusion_train.study import kept, schedule
from fusion_train.study.config import Study
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import plan_study
from fusion_train.study.runner import standing, update_card
from fusion_train.study.schedule import open_chains
from fusion_train.study.verify import verify_study
from fusion_train.study.workspace import Failure, Workspace

MakeStudy = Callable[..., Study]
Finish = Callable[..., Path]


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def test_what_is_kept_is_not_done_again_in_a_clone_without_weights(
    study: MakeStudy, results: KeptResults, work: Workspace, finish: Finish
) -> None:
    plan = plan_study(study())
    for run in plan.runs.values():
        finish(run)
    assert open_chains(plan, work, results) == []
    changed = plan_study(study(set={"schedule.steps": 9}))
    assert len(open_chains(changed, work, results)) == len(changed.chains())


def test_a_parent_is_trained_again_only_where_a_missing_child_needs_its_weights(
    study: MakeStudy, results: KeptResults, work: Workspace, finish: Finish
) -> None:
    plan = plan_study(study())
    for name in ("additive-s0", "cross-attention-s0", "cross-attention-s0+scst"):
        finish(plan.runs[name])
    chains = {chain.name: chain.runs for chain in open_chains(plan, work, results)}
    assert chains["additive-s0"] == ("additive-s0", "additive-s0+scst")
    assert "cross-attention-s0" not in chains
    folder = work.folder(plan, plan.runs["additive-s0"])
    folder.mkdir(parents=True)
    for file in ("run_card.json", "best.safetensors"):
        (folder / file).touch()
    chains = {chain.name: chain.runs for chain in open_chains(plan, work, results)}
    assert chains["additive-s0+scst"] == ("additive-s0+scst",)


def test_a_measure_that_cannot_be_had_here_asks_for_no_weights(
    study: MakeStudy,
    results: KeptResults,
    work: Workspace,
    finish: Finish,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(schedule, "BUILDERS", LazyRegistry("backbone to build", "none", {"big-vlm": "any:build"}))
    experiments = [{"name": "A2", "phase": 1, "measures": ["retention"]}]
    seeing = study(experiments=experiments, retention={"backbone": "big-vlm"})
    plan = plan_study(seeing)
    for run in plan.runs.values():
        finish(run)
    assert open_chains(plan, work, results) == []
    card = update_card(seeing, work, results)
    assert "fusion backbone build big-vlm" in str(card.runs[0].measures["retention"].reason)
    (tmp_path / "cache" / "backbones" / "big-vlm-0123").mkdir(parents=True)
    scores = {"scores": [{"accuracy": 0.8, "blind": 0.3}]}
    (tmp_path / "cache" / "backbones" / "big-vlm-0123" / "card.json").write_text(json.dumps(scores))
    assert [chain.runs for chain in open_chains(plan, work, results)] == [("additive-s0",), ("additive-s1",)]


@pytest.mark.parametrize(
    ("options", "then", "again"),
    [
        ({"seed": 0, "version": 1}, {"recipe_sha256": "same"}, False),  # other bytes by rounding, the same recipe
        ({"seed": 0, "version": 2}, {"recipe_sha256": "0" * 64}, True),
        ({"seed": 0, "version": 1}, {"references_sha256": {"test": "same"}}, False),  # a card of before
        ({"seed": 0, "version": 1}, {"references_sha256": {"test": "0" * 64}}, True),
        ({"audio_dir": "there"}, {"recipe_sha256": None}, True),  # files: their bytes are what counts
    ],
)
def test_made_clips_are_known_by_their_recipe_and_files_by_their_bytes(
    options: dict[str, Any],
    then: dict[str, Any],
    again: bool,
    study: MakeStudy,
    results: KeptResults,
    finish: Finish,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plan = plan_study(study(experiments=[{"name": "A2", "phase": 1}], seeds=[0]))
    (run,) = plan.runs.values()
    finish(run)
    root = tmp_path / "scenes"
    references = References(dataset="scenes", split="test", items=(ReferenceItem(id="c0", references=("a dog",)),))
    references.write(root / "references" / "test.json")
    prepared = DatasetCard(
        name="scenes", options=options, options_sha256=json_sha256(options), manifest_sha256="1" * 64
    )
    prepared.write(root / "dataset.json")
    monkeypatch.setattr(schedule, "default_root", lambda *_: root)
    path = results.folder(run.name) / "run_card.json"
    card = RunCard.read(path)
    then = {key: prepared.recipe_sha256 if value == "same" else value for key, value in then.items()}
    if then.get("references_sha256") == {"test": "same"}:
        then["references_sha256"] = {"test": references.sha256()}
    dataset = card.dataset.model_copy(update={"root_sha256": "2" * 64, **then})
    card.model_copy(update={"dataset": dataset}).write(path)
    assert bool(open_chains(plan, Workspace(tmp_path / "work"), results)) is again


def test_the_card_says_of_every_run_where_it_stands(
    study: MakeStudy, results: KeptResults, work: Workspace, finish: Finish
) -> None:
    small = study(experiments=[{"name": "A2", "phase": 1}, {"name": "C2", "phase": 3, "kind": "video"}])
    plan = plan_study(small)
    finish(plan.runs["additive-s0"])
    work.fail("additive-s1", Failure(reason="It broke.", log="a.log"))
    card = update_card(small, work, results)
    assert card == StudyCard.read(results.root / "study_card.json")
    states = {run.name: (run.status, run.reason) for run in card.runs}
    assert states["additive-s0"] == ("done", None)
    assert states["additive-s1"] == ("failed", "It broke.")
    assert states["video-additive-s0"][0] == "missing"
    shutil.rmtree(work.root)  # another session, without what the first one wrote down
    again = {run.name: (run.status, run.reason) for run in update_card(small, work, results).runs}
    assert again == states


def test_a_run_is_replaced_as_a_whole(study: MakeStudy, results: KeptResults, finish: Finish) -> None:
    run = plan_study(study()).runs["additive-s0"]
    finish(run)
    (results.folder(run.name) / "stale.json").touch()
    finish(run, right=5)
    assert not (results.folder(run.name) / "stale.json").exists()
    assert {path.name for path in (results.root / "runs").iterdir()} == {"additive-s0"}


def test_what_a_kill_in_the_middle_of_keeping_left_is_mended(
    study: MakeStudy, results: KeptResults, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan_study(study()).runs["additive-s0"]
    source, target, replace = finish(run), results.folder(run.name), Path.replace

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process cleans up nothing
    monkeypatch.setattr(kept, "_copy", die)
    with pytest.raises(KeyboardInterrupt):  # in the middle of copying
        results.keep(run, source, {})
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(Path, "replace", lambda own, to: die() if to == target else replace(own, to))
    with pytest.raises(KeyboardInterrupt):  # between the old and the new
        results.keep(run, source, {})
    monkeypatch.undo()
    assert results.find(run) is None
    results.mend()
    assert results.find(run) is None  # young: another process may be at it
    for left in target.parent.glob(".*"):
        os.utime(left, (0, 0))
    results.mend()
    assert results.find(run) is not None
    assert [path.name for path in target.parent.iterdir()] == [run.name]


def test_files_that_are_left_out_are_not_kept(study: MakeStudy, results: KeptResults, finish: Finish) -> None:
    small = study(experiments=[{"name": "A2", "phase": 1, "leave_out": ["predictions/audio.json"]}])
    run = plan_study(small).runs["additive-s0"]
    finish(run)
    assert not (results.folder(run.name) / "predictions" / "audio.json").exists()
    assert (results.folder(run.name) / "scores" / "audio.json").is_file()


def test_verification_finds_nothing_where_nothing_was_touched(
    study: MakeStudy, results: KeptResults, work: Workspace, finish: Finish
) -> None:
    plan = plan_study(study())
    for run in plan.runs.values():
        finish(run)
    update_card(study(), work, results)
    assert verify_study(standing(study(), work, results).plan, results) == []


def _change_score(folder: Path) -> None:
    path = folder / "scores" / "audio.json"
    content = json.loads(path.read_text())
    content["metrics"]["cider_d"] += 0.01
    path.write_text(json.dumps(content))


def _change_caption(folder: Path) -> None:
    path = folder / "predictions" / "audio.json"
    path.write_text(path.read_text().replace("a dog barks", "a cat barks"))


@pytest.mark.parametrize(
    ("damage", "file", "what"),
    [
        (_change_score, "scores/audio.json", "when computed again"),
        (_change_score, "scores/audio.json", "not the one that the run card names"),
        (_change_caption, "predictions/audio.json", "another hash than when it was kept"),
        (_change_caption, "scores/audio.json", "was computed from other predictions"),
        (lambda folder: (folder / "run_card.json").unlink(), "run_card.json", "is absent"),
        (lambda folder: (folder / "scores" / "b.json").write_text("{}"), "scores/b.json", "was not there"),
    ],
)
def test_verification_names_what_was_touched(
    study: MakeStudy,
    results: KeptResults,
    work: Workspace,
    finish: Finish,
    damage: Callable[[Path], object],
    file: str,
    what: str,
) -> None:
    plan = plan_study(study())
    for run in plan.runs.values():
        finish(run)
    update_card(study(), work, results)
    damage(results.folder("additive-s0"))
    found = verify_study(plan, results)
    assert any(one.run == "additive-s0" and one.file == file and what in one.what for one in found), found
    assert {one.run for one in found} == {"additive-s0"}
