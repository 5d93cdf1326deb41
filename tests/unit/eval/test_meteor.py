"""METEOR: its formula without Java, and the warm tool under hostile captions and kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.java.runtime import Java, _version, find_java, machine_memory, processors
from fusion_eval.metrics.base import ScoredClips
from fusion_eval.metrics.meteor import COLUMNS, LONGEST, METRIC, Meteor, meteor, meteor_of_sums, shared_meteor
from fusion_eval.provision import findings
from hypothesis import given
from hypothesis import strategies as st

MISSING = [one.detail for one in findings() if one.name.startswith("METEOR") and not one.present]
needs_tool = pytest.mark.skipif(shutil.which("java") is None or bool(MISSING), reason=f"Java or {MISSING} is missing")

# "a man is speaking" against "a man speaks": two exact matches, and "is speaking" as a paraphrase of "speaks".
MAN = [4, 3, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 4, 3]
# "rain falls" against "rain is falling hard on a surface": one exact match and one stem.
RAIN = [2, 7, 0, 3, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 2, 2]


def test_the_columns_have_names():
    assert len(COLUMNS) == len(MAN) == 23
    assert (COLUMNS[4], COLUMNS[8], COLUMNS[20]) == ("test_content_exact", "test_content_stem", "chunks")


def test_the_formula_of_one_clip():
    assert meteor_of_sums(np.array(RAIN)) == pytest.approx(0.12809018869872418, abs=1e-15)


def test_nothing_matched_or_nothing_said_is_zero():
    empty = np.zeros((3, 23))
    empty[1, :2], empty[2, 0] = 5, 4
    assert meteor_of_sums(empty).tolist() == [0.0, 0.0, 0.0]


@given(st.lists(st.sampled_from([MAN, RAIN, [0] * 23]), min_size=1, max_size=6))
def test_sums_may_have_any_leading_axes(rows):
    values_CF = np.array(rows, dtype=float)
    cube = np.stack([values_CF, values_CF[::-1] * 2])
    expected = [[float(meteor_of_sums(row)) for row in matrix] for matrix in cube]
    assert meteor_of_sums(cube).tolist() == expected
    assert all(0 <= value <= 1 for line in expected for value in line)


def test_without_java_the_mend_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingAssetError, match="Java is not installed; install a Java runtime, 8 or newer"):
        find_java()


def test_what_does_not_run_as_java_is_refused(monkeypatch, tmp_path):
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'No Java runtime present' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingAssetError, match="does not run as Java"):
        find_java()
    program.write_text("#!/bin/sh\necho 'java version \"1.7.0_80\"' >&2\n")
    _version.cache_clear()
    with pytest.raises(MissingAssetError, match=r"is Java 1\.7\.0_80; install a Java runtime, 8 or newer"):
        find_java()


@pytest.mark.parametrize(
    ("version", "major"), [("1.8.0_392", 8), ("11.0.22", 11), ("17.0.15", 17), ("25", 25), ("21-ea", 21)]
)
def test_the_version_that_people_speak_of(version, major):
    assert Java("java", version).major == major


def test_the_machine_is_known():
    assert 1 <= processors() <= (os.cpu_count() or 1)
    assert 256 < machine_memory() < 1 << 24


@needs_tool
def test_no_clip_without_references_and_no_endless_text():
    tool = Meteor()
    with pytest.raises(DataError, match="Clip 1 has no references"):
        tool.statistics([["a"], ["b"]], [[["a"]], []])
    with pytest.raises(DataError, match=f"Clip 0 has a text of {LONGEST + 1} words"):
        tool.statistics([["a"] * (LONGEST + 1)], [[["a"]]])
    with pytest.raises(DataError, match=r"Clip 0 has a text of \d+ words"):
        meteor(["x" * 2_000_000], [["a dog"]])
    with pytest.raises(DataError, match="no captions"):
        meteor([], [])


@needs_tool
def test_a_caption_equal_to_a_reference_scores_one():
    corpus, per_clip = meteor(["a dog barks", "rain falls"], [["nothing", "a dog barks"], ["rain falls"]])
    assert (corpus, per_clip) == (1.0, [1.0, 1.0])


@needs_tool
def test_hostile_captions_are_scored_as_their_words():
    plain = meteor(["a dog barks loudly"] * 6, [["a dog is barking"]] * 6)
    hostile = ["a dog\nbarks\r\nloudly", "a dog \x00 barks loudly", "a dog 🐕 barks loudly 🎉"]
    hostile += ["a dog barks loudly\u2028", "  a\tdog\vbarks\floudly ", "a dog barks loudly."]
    assert meteor(hostile, [["a dog\x00 is\nbarking"]] * 6) == plain


@needs_tool
def test_the_tools_own_words_in_a_caption_do_no_harm():
    captions = ["EVAL ||| 1 2 3", "SCORE ||| a ||| b", "||| ||| |||", "", "   ", "\ud800", "a ||| dog"]
    corpus, per_clip = meteor(captions, [["a dog", "|||"]] * len(captions))
    assert len(per_clip) == len(captions)
    assert per_clip[3:6] == [0.0, 0.0, 0.0]
    assert per_clip[6] > 0.4
    assert 0 < corpus < 1
    assert meteor(["a dog"], [[""]]) == (0.0, [0.0])


@needs_tool
def test_permutations_of_clips_and_references_change_nothing():
    captions = ["a dog barks", "rain falls hard", "a man speaks"]
    references = [["a dog is barking", "one dog"], ["heavy rain", "it rains"], ["someone talks", "a man is speaking"]]
    corpus, per_clip = meteor(captions, references)
    assert meteor(captions[::-1], [texts[::-1] for texts in references[::-1]]) == (corpus, per_clip[::-1])


@needs_tool
def test_the_metric_gives_statistics_whose_sum_is_the_corpus():
    clips = ScoredClips(ids="ab", captions=["a dog barks", "rain falls"], references=[["a dog barks"], ["it rains"]])
    found = METRIC.compute(clips)
    assert found.statistics is not None
    total = found.statistics.corpus(found.statistics.values_CF.sum(axis=0))["meteor"]
    assert float(total) == found.corpus["meteor"]
    assert found.per_clip["meteor"][0] == 1.0
    assert found.statistics.values_CF[0, COLUMNS.index("chunks")] == 0
    assert found.tools["meteor"] == "1.5"


@needs_tool
@pytest.mark.slow
def test_a_kill_in_the_middle_changes_nothing():
    captions = [["a", "dog", "barks", "x" * (number % 7 + 1)] for number in range(300)]
    references = [[["a", "dog", "is", "barking"], ["the", "hound", "bays"]]] * 300
    tool = shared_meteor()
    undisturbed = tool.statistics(captions, references)
    killed = []

    def kill_once(answered: int) -> None:
        if answered == 100 and not killed:
            killed.append(tool.pids[0])
            os.kill(killed[0], signal.SIGKILL)

    assert (tool.statistics(captions, references, kill_once) == undisturbed).all()
    assert killed
    assert tool.pids[0] != killed[0]


@needs_tool
@pytest.mark.slow
def test_ten_thousand_clips_in_two_processes():
    captions = [["a", "dog", "barks", f"w{number}"] for number in range(10_000)]
    references = [[["a", "dog", "is", "barking", f"w{number % 9}"]] * 5 for number in range(10_000)]
    with Meteor(processes=2) as tool:
        values_CF = tool.statistics(captions, references)
        pids = tool.pids
    assert values_CF.shape == (10_000, 23)
    assert (values_CF == shared_meteor().statistics(captions, references)).all()
    assert all(_ends(pid) for pid in pids)


@needs_tool
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_java_is_left_when_python_is_killed_in_the_middle(number):
    code = """
from fusion_eval.metrics.meteor import Meteor
tool = Meteor()
tool.statistics([["a"]], [[["a"]]])
print(tool.pids[0], flush=True)
while True:
    tool.statistics([["a", "dog", "barks"]] * 5000, [[["the", "hound", "bays", "at", "it"]] * 5] * 5000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as python:
        assert python.stdout is not None
        java = int(python.stdout.readline())
        time.sleep(0.5)
        assert not _ends(java, 0.0)
        python.send_signal(number)
        python.communicate(timeout=30)
    assert _ends(java)


def _ends(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
