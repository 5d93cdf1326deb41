"""The plan: which runs there are, which are one and the same, and what changes who a run is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fusion_core.errors import ConfigError
from fusion_train.config import load_settings
from fusion_train.study.config import Experiment, Study, load_study
from fusion_train.study.plan import plan_study
from pydantic import ValidationError

MakeStudy = Callable[..., Study]


def test_runs_are_systems_times_seeds_times_stages_and_shared_ones_are_there_once(study: MakeStudy) -> None:
    plan = plan_study(study())
    names = set(plan.runs)
    assert len(names) == 2 * 2 * 2 + 2
    assert plan.runs["additive-s0"].experiments == ("A2", "B1")
    assert plan.runs["additive-s0"].after is None  # A2 does not wait for the rule that B1 waits for
    assert plan.runs["additive-sites-3-s1"].after == "additive-stable"
    assert plan.runs["additive-sites-3-s1"].settings.system == {"sites": [3]}


def test_a_self_critical_run_stands_in_the_chain_of_its_parent(study: MakeStudy) -> None:
    plan = plan_study(study())
    chains = {chain[0].name: [run.name for run in chain] for chain in plan.chains()}
    assert chains["cross-attention-s1"] == ["cross-attention-s1", "cross-attention-s1+scst"]
    assert plan.runs["cross-attention-s1+scst"].settings.scst.start == "always"
    assert plan.runs["cross-attention-s1"].settings.scst.start == "never"


def test_a_profile_s_own_settings_of_a_system_hold(study: MakeStudy) -> None:
    plan = plan_study(study(profile="default"))
    assert plan.runs["cross-attention-s0"].settings.system == {"hears": "all"}
    assert plan.runs["additive-s0"].settings.system == {}


@pytest.mark.parametrize(
    ("change", "same_xe", "same_scst"),
    [
        ({"set": {"scst.steps": 7}}, True, False),
        ({"set": {"schedule.steps": 9}}, False, False),
        ({"threads": 2}, False, False),
        ({"set": {"checkpoints_kept": 9}}, True, True),
        ({"cost": {"run": 1.0}, "criteria": {"spider": 0.5}, "name": "other"}, True, True),
        ({"set": {"dataset.workers": 3}}, False, False),
    ],
)
def test_what_decides_results_decides_the_identity(
    study: MakeStudy, change: dict[str, object], same_xe: bool, same_scst: bool
) -> None:
    one, other = plan_study(study()), plan_study(study(**change))
    assert (one.runs["additive-s0"].identity == other.runs["additive-s0"].identity) == same_xe
    assert (one.runs["additive-s0+scst"].identity == other.runs["additive-s0+scst"].identity) == same_scst


def test_where_a_bank_lies_is_no_part_of_the_identity(study: MakeStudy) -> None:
    one = plan_study(study(set={"dataset.bank": "/here/soundbank"}))
    other = plan_study(study(set={"dataset.bank": "/there/soundbank"}))
    third = plan_study(study(set={"dataset.bank": "/there/another"}))
    assert one.runs["additive-s0"].identity == other.runs["additive-s0"].identity
    assert one.runs["additive-s0"].identity != third.runs["additive-s0"].identity


def test_a_measure_has_an_identity_of_its_own(study: MakeStudy) -> None:
    def experiments(measures: list[str]) -> list[dict[str, object]]:
        return [{"name": "A2", "phase": 1, "measures": measures}]

    bare = plan_study(study(experiments=experiments([]))).runs["additive-s0"]
    few = plan_study(study(experiments=experiments(["retention"]), retention={"items": 5})).runs["additive-s0"]
    many = plan_study(study(experiments=experiments(["retention"]), retention={"items": 50})).runs["additive-s0"]
    assert bare.identity == few.identity == many.identity
    assert few.measures["retention"] != many.measures["retention"]


def test_the_same_name_for_two_runs_gets_the_experiment_in_front(study: MakeStudy) -> None:
    short = {"name": "B2", "phase": 2, "set": {"schedule.steps": 2}}
    plan = plan_study(study(experiments=[{"name": "A2", "phase": 1}, short]))
    assert plan.runs["additive-s0"].identity != plan.runs["b2-additive-s0"].identity
    shorter = {"name": "B2", "phase": 2, "set": {"schedule.steps": 1}}
    two = study(experiments=[{"name": "A2", "phase": 1}, short, shorter])
    with pytest.raises(ConfigError, match="would be called b2-additive-s0; label the variant"):
        plan_study(two)


def test_the_second_modality_starts_from_the_audio_run(study: MakeStudy) -> None:
    experiments = [{"name": "A2", "phase": 1}, {"name": "C2", "phase": 3, "kind": "video"}]
    plan = plan_study(study(experiments=experiments, set={"dataset.train": 30}))
    video = plan.runs["video-additive-s1"]
    assert (video.parent, video.dataset, video.stage) == ("additive-s1", "av-scenes", "video")
    assert plan.runs["additive-s1"].experiments == ("A2", "C2")  # the parent is the run that is there
    assert plan.runs["additive-s1"].settings.dataset["train"] == 30
    assert (
        video.settings.dataset == load_settings("tiny", dataset="av-scenes").dataset
    )  # scenes' options are not its own


def test_a_video_run_whose_audio_is_frozen_is_a_run_of_its_own(study: MakeStudy) -> None:
    experiments = [
        {"name": "C2", "phase": 3, "kind": "video"},
        {"name": "C2", "phase": 3, "kind": "video", "frozen": ["audio"]},
    ]
    plan = plan_study(study(experiments=experiments, seeds=[0]))
    free, frozen = plan.runs["video-additive-s0"], plan.runs["video-audio-frozen-additive-s0"]
    assert free.parent == frozen.parent == "additive-s0"
    assert (free.frozen, frozen.frozen, frozen.variant) == ((), ("audio",), "audio frozen")
    assert free.identity != frozen.identity
    alone = plan_study(study(experiments=experiments[:1], seeds=[0]))
    assert alone.runs["video-additive-s0"].identity == free.identity


def test_only_a_video_run_can_freeze_what_it_starts_from(study: MakeStudy) -> None:
    with pytest.raises(ValidationError, match="frozen is for kind: video"):
        study(experiments=[{"name": "A2", "phase": 1, "frozen": ["audio"]}])


def test_what_a_rule_adds_joins_the_runs_that_are_there(study: MakeStudy) -> None:
    added = Experiment(name="contingency", phase=3, systems=("additive", "hybrid"))
    plan = plan_study(study(), [added])
    assert plan.runs["additive-s0"].experiments == ("A2", "B1", "contingency")
    assert plan.runs["hybrid-s0"].experiments == ("contingency",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: [", "cannot be read as YAML"),
        ("- a", "a study is a mapping"),
        ("name: x\ntier: tiny\n", "field experiments is missing"),
        ("name: x\ntier: tiny\nexperiments: [{name: A, phase: 0, sistems: [a]}]", "experiments.0.sistems is unknown"),
        ("name: x\ntier: tiny\nseeds: [1, 1]\nexperiments: [{name: A, phase: 0}]", "name one twice"),
        (
            "name: x\ntier: tiny\nexperiments: [{name: A, phase: 0, variants: [{set: {batch: 2}}]}]",
            "a variant with changes needs a label",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_study(tmp_path / "s.yaml")
    assert str(tmp_path / "s.yaml") in str(caught.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such study file"):
        load_study(tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", ["tiny", "embedded", "paper"])
def test_the_studies_that_come_along_expand(repository: Path, name: str) -> None:
    plan = plan_study(load_study(repository / "configs" / "studies" / f"{name}.yaml"))
    used = {experiment for run in plan.runs.values() for experiment in run.experiments}
    assert {"P0", "A2", "B1", "B2", "B3", "C1", "C2", "D1", "D2"} <= used
    assert all(run.parent is None or run.parent in plan.runs for run in plan.runs.values())
