"""Procedural videos with sound: what is seen is heard when it is seen, answers are balanced, splits share nothing.

Shapes: T frames, S samples.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fusion_core.errors import ConfigError
from fusion_encoders.video_writing import write_video
from fusion_train.datasets.av_scenes.captions import describe
from fusion_train.datasets.av_scenes.graph import ACTIONS, COLOURS, SHAPES, AvScene
from fusion_train.datasets.av_scenes.motion import timing
from fusion_train.datasets.av_scenes.options import AvScenesOptions
from fusion_train.datasets.av_scenes.picture import PAINTS, draw
from fusion_train.datasets.av_scenes.plan import plan
from fusion_train.datasets.av_scenes.questions import KINDS, ask
from fusion_train.datasets.av_scenes.sound import Sounds
from fusion_train.datasets.registry import parse_options, prepare_dataset
from fusion_train.datasets.verify import verify

SECONDS, RATE = 4.0, 16_000
TIME_T = np.arange(48) / 12


def scene(**changes) -> AvScene:
    values = {
        "id": "train-0",
        "split": "train",
        "action": "blink",
        "sound": "blink",
        "colour": "red",
        "shape": "square",
        "side": "right",
        "pitch": "high",
        "other": None,
        "asks_match": True,
        "seed": (0, 0, 0),
    }
    return AvScene(**{**values, **changes})


@pytest.fixture(scope="module")
def plans():
    return plan(AvScenesOptions(train=120, val=24, test=60))


def where(pixels_HW3, colour) -> np.ndarray:
    """Return x and y of the pixels that are painted so."""
    near_HW = np.abs(pixels_HW3.astype(int) - np.array(PAINTS[colour])).sum(axis=-1) < 60
    return np.argwhere(near_HW)[:, ::-1]


def energy(waveform_S: np.ndarray, start: float, stop: float) -> float:
    return float(np.square(waveform_S[round(start * RATE) : round(stop * RATE)]).mean())


def test_a_beep_is_heard_while_the_lamp_is_lit():
    one = scene(seed=(0, 0, 5))
    starts = timing(one, "blink", SECONDS).starts
    frames = draw(one, SECONDS, 48, TIME_T)
    track_S = Sounds(RATE, 0).render(one, SECONDS)
    lit_T = [len(where(frame, "red")) > 0 for frame in frames]
    assert lit_T == [any(start <= time < start + 0.25 for start in starts) for time in TIME_T]
    for start in starts:
        assert energy(track_S, start + 0.02, start + 0.2) > 100 * (energy(track_S, start - 0.2, start - 0.02) + 1e-9)


def test_a_thud_is_heard_when_the_thing_is_at_the_wall():
    one = scene(action="hit", sound="hit", seed=(0, 0, 3))
    track_S = Sounds(RATE, 0).render(one, SECONDS)
    for start in timing(one, "hit", SECONDS).starts:
        (frame,) = draw(one, SECONDS, 48, np.array([start]))
        (before,) = draw(one, SECONDS, 48, np.array([start - 0.3]))
        assert where(frame, "red")[:, 0].max() >= 43  # the wall begins at 45
        assert where(before, "red")[:, 0].max() < 36
        assert energy(track_S, start, start + 0.1) > 20 * (energy(track_S, start - 0.1, start - 0.01) + 1e-9)


def test_the_hum_fades_as_the_thing_leaves():
    one = scene(action="leave", sound="leave", side="left")
    start = timing(one, "leave", SECONDS).starts[0]
    frames = draw(one, SECONDS, 48, TIME_T)
    track_S = Sounds(RATE, 0).render(one, SECONDS)
    assert len(where(frames[0], "red")) > 0
    assert len(where(frames[-1], "red")) == 0
    assert energy(track_S, 0.05, start) > 50 * energy(track_S, SECONDS - 0.3, SECONDS)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_seen_is_on_its_side_and_in_its_colour(action):
    for side in ("left", "right"):
        for colour in COLOURS:
            one = scene(action=action, sound=action, side=side, colour=colour)
            points = np.concatenate([where(frame, colour) for frame in draw(one, SECONDS, 48, TIME_T[::4])])
            assert len(points) > 10
            if action in ("blink", "spin", "fall", "grow"):
                assert (points[:, 0].mean() > 24) == (side == "right")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_turning_thing_can_be_seen_to_turn(shape):
    one = scene(action="spin", sound="spin", shape=shape)
    start = timing(one, "spin", SECONDS).starts[0]
    first, later = draw(one, SECONDS, 96, np.array([start, start + 0.11]))
    assert np.abs(first.astype(int) - later).max() > 60


def test_the_pitch_of_a_sound_is_heard():
    for action in ("blink", "leave", "grow"):
        tracks = [
            Sounds(RATE, 0).render(scene(action=action, sound=action, pitch=pitch), SECONDS)
            for pitch in ("low", "high")
        ]
        low, high = (np.abs(np.fft.rfft(track_S)).argmax() * RATE / len(track_S) for track_S in tracks)
        assert high > 2 * low


def test_a_dubbed_clip_has_another_actions_sound():
    own, dubbed = scene(), scene(sound="leave")
    assert dubbed.dubbed
    frames = [draw(one, SECONDS, 32, TIME_T[::8]) for one in (own, dubbed)]
    assert np.array_equal(*frames)
    tracks = [Sounds(RATE, 0).render(one, SECONDS) for one in (own, dubbed)]
    assert not np.allclose(*tracks)


def test_no_combination_is_in_two_splits_and_half_of_test_is_held_out(plans):
    graphs = {split: {one.graph() for one in scenes} for split, scenes in plans.items()}
    assert not graphs["train"] & graphs["test"]
    assert not graphs["train"] & graphs["val"]
    assert not graphs["val"] & graphs["test"]
    assert {one.combination for one in plans["train"]} == {"seen"}
    assert Counter(one.combination for one in plans["test"]) == {"seen": 30, "held_out": 30}
    values = {split: {timing(one, one.action, SECONDS).size for one in scenes} for split, scenes in plans.items()}
    assert not values["train"] & values["test"]


def test_each_answer_is_right_equally_often(plans):
    items = [item for one in plans["train"] for item in ask(one)]
    for category, most in (("colour", 1 / 6), ("shape", 1 / 4), ("side", 1 / 2), ("pitch", 1 / 2), ("other", 1 / 4)):
        answers = Counter(item.answer for item in items if item.category == category)
        assert max(answers.values()) / answers.total() < most + 0.05, category
    match = Counter(item.answer for item in items if item.category == "match")
    assert match["yes"] == match["no"]


def test_neither_sight_nor_sound_alone_answers_what_needs_both(plans):
    """The best guess from what is seen, or from what is heard, counted over all clips that are asked."""
    scenes = [one for one in plan(AvScenesOptions(train=600, val=1, test=2))["train"] if one.asks_match]
    for sense in ("action", "sound"):
        by_value: dict[str, Counter[bool]] = {}
        for one in scenes:
            by_value.setdefault(getattr(one, sense), Counter())[one.dubbed] += 1
        assert sum(max(found.values()) for found in by_value.values()) / len(scenes) < 0.56, sense
    for one in plans["test"]:
        for item in ask(one):
            if item.category == "pair":
                assert sum(one.colour in option for option in item.options) == 2
                assert sum(one.other in option for option in item.options) == 2


def test_kinds_say_what_a_question_needs(plans):
    assert {item.kind for one in plans["test"] for item in ask(one)} == set(KINDS)
    one = plans["test"][1]
    other = replace(one, colour="blue" if one.colour != "blue" else "red")
    changed = {a.kind for a, b in zip(ask(one), ask(other), strict=True) if a.answer != b.answer}
    assert "sound" not in changed
    assert "sight" in changed


def test_captions_say_what_there_is(plans):
    for one in plans["train"][:20]:
        first, *_, deaf, blind = describe(one)
        assert one.colour in first
        assert one.pitch in first
        assert one.pitch not in deaf.split()
        assert one.colour not in blind.split()
        assert len(set(describe(one))) == 5


def test_a_clip_is_written_to_the_same_bytes_each_time(tmp_path):
    """With x264's usual settings about half of the writings of this clip differed."""
    pytest.importorskip("av")
    options = parse_options(
        "av-scenes", {"train": 3, "val": 1, "test": 2, "seconds": 2.0, "side": 32, "frame_rate": 6.0}
    )
    (one,) = plan(options)["val"]
    time_T = np.arange(12) / 6
    pixels_THW3 = draw(one, options.seconds, options.side, time_T)
    for number in range(16):
        write_video(tmp_path / f"{number}.mp4", pixels_THW3, time_T)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_prepared_twice_it_is_the_same_and_verifies(tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("decord")
    values = {"train": 3, "val": 1, "test": 2, "seconds": 2.0, "side": 32, "frame_rate": 6.0, "sample_rate": 16_000}
    options = parse_options("av-scenes", values)
    first = prepare_dataset("av-scenes", options, tmp_path / "a")
    (tmp_path / "b" / "video").mkdir(parents=True)
    second = prepare_dataset("av-scenes", options, tmp_path / "b")
    assert [row.sha256 for row in first.manifest] == [row.sha256 for row in second.manifest]
    assert first.card.statistics["leakage"]["graphs"] == 0
    assert first.questions("train").items[0].clip == "train-00000"
    assert verify(tmp_path / "a").ok
    cut_off = tmp_path / "a" / "video" / "train" / ".writing-abc.mp4"  # what a kill leaves
    cut_off.write_bytes(b"")
    made = (tmp_path / "a" / "dataset.json").stat().st_mtime_ns
    prepare_dataset("av-scenes", options, tmp_path / "a")
    assert (tmp_path / "a" / "dataset.json").stat().st_mtime_ns == made
    (tmp_path / "a" / second.manifest[1].path).unlink()
    prepare_dataset("av-scenes", options, tmp_path / "a")
    assert not cut_off.exists()
    with pytest.raises(ConfigError, match="other options"):
        prepare_dataset("av-scenes", parse_options("av-scenes", {**values, "train": 4}), tmp_path / "a")
    path = tmp_path / "a" / first.manifest[0].path
    path.write_bytes(path.read_bytes()[:-500])
    assert "cut off" in verify(tmp_path / "a").faults[0].reason
