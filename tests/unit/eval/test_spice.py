"""SPICE: parses kept on disk, hostile captions, and the metric where the tool is absent or its values are given."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys

import pytest
from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.java import parses
from fusion_eval.java.lines import LineProcess, ToolError
from fusion_eval.java.parses import LONGEST, SceneParser
from fusion_eval.java.runtime import Java
from fusion_eval.metrics.base import Resources, ScoredClips
from fusion_eval.metrics.spice import METRIC, Spice, spice
from fusion_eval.provision import findings

MISSING = [one.detail for one in findings() if one.name.startswith("SPICE") and not one.present]
needs_tool = pytest.mark.skipif(shutil.which("java") is None or bool(MISSING), reason=f"Java or {MISSING} is missing")

# It proposes the words of a caption as objects, and fails or dies at some.
PARSER = """
import json, os, sys
for line in sys.stdin:
    question = json.loads(line)
    with open(sys.argv[1], "a") as log: log.write(line)
    captions = question.get("captions", [])
    if any("poison" in caption for caption in captions): answer = {"error": "it hurts"}
    elif any("deadly" in caption for caption in captions): sys.exit(3)
    elif captions: answer = {"tuples": [[[word] for word in caption.split()] for caption in captions]}
    else: answer = {"synsets": [[len(word)] for word in question["words"]]}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def log(tmp_path):
    """What the parser was asked, without its greeting."""
    path = tmp_path / "questions"
    path.touch()
    return lambda: [json.loads(line) for line in path.read_text().splitlines() if "a dog barks" not in line]


@pytest.fixture
def parser(tmp_path, monkeypatch, log):
    """A scene parser whose Java is a small Python program, with a cache of its own."""
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parses, "_BATCH", 4)
    made = SceneParser(Java(sys.executable, "17.0.1"), [])
    made._process = LineProcess(
        [sys.executable, "-S", "-c", PARSER, str(tmp_path / "questions")],
        greeting=json.dumps({"captions": ["a dog barks"]}),
    )
    yield made
    made.close()


def test_each_caption_is_parsed_once_on_a_machine(parser, log):
    captions = ["rain falls", "a cat", "rain falls", ""]
    first = parser.proposals(captions)
    assert first == {"rain falls": [("rain",), ("falls",)], "a cat": [("a",), ("cat",)], "": []}
    assert parser.synsets(first.values())["rain"] == frozenset({4})
    asked = log()
    assert asked == [{"captions": ["rain falls", "a cat"]}, {"words": ["a", "cat", "falls", "rain"]}]
    other = SceneParser(Java(sys.executable, "17.0.1"), [])
    assert other.proposals(captions) == first
    assert other.synsets(first.values())["cat"] == frozenset({3})
    assert log() == asked


def test_many_captions_are_asked_for_in_parts(parser, log):
    told = []
    captions = [f"word{number}" for number in range(10)]
    assert list(parser.proposals(captions, lambda done, of: told.append((done, of)))) == captions
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert [len(question["captions"]) for question in log()] == [4, 4, 2]


def test_long_captions_are_asked_for_in_smaller_parts(parser, log):
    captions = [" ".join([f"w{number}"] * LONGEST) for number in range(4)]
    assert list(parser.proposals(captions)) == captions
    assert [len(question["captions"]) for question in log()] == [3, 1]


@pytest.mark.parametrize("bad", ["poison", "deadly"])
def test_a_caption_that_the_parser_fails_at_is_named_and_the_others_are_kept(parser, log, bad):
    with pytest.raises(DataError, match=f"parser fails at the caption 'so {bad}'"):
        parser.proposals(["one", "two", f"so {bad}", "three"])
    asked = len(log())
    assert set(parser.proposals(["one", "two"])) == {"one", "two"}
    assert len(log()) <= asked + 1


def test_an_endless_caption_is_refused_at_once(parser, log):
    with pytest.raises(DataError, match=f"has 400000 words, and SPICE takes {LONGEST}; shorten it"):
        parser.proposals(["fine", " ".join(["word"] * 400_000)])
    assert log() == []


def test_a_damaged_store_is_made_anew(parser, tmp_path, log):
    parser.proposals(["rain"])
    (store,) = (tmp_path / "cache" / "spice").iterdir()
    store.write_bytes(b"no database at all" * 1000)
    assert parser.proposals(["rain"]) == {"rain": [("rain",)]}
    assert len(log()) == 2
    parser.proposals(["rain"])
    assert len(log()) == 2


def test_a_store_that_cannot_be_used_costs_only_time(parser, monkeypatch, log):
    def refuse(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    for _ in range(2):
        assert parser.proposals(["rain"]) == {"rain": [("rain",)]}
    assert len(log()) == 2


def test_a_parser_that_does_not_start_is_a_missing_asset(parser, monkeypatch):
    def fail(_: object) -> None:
        raise ToolError(None, "did not start: it ended with code 1 (no memory)")

    monkeypatch.setattr(parser._process, "ask", fail)
    with pytest.raises(MissingAssetError, match=r"SPICE's parser did not start: it ended with code 1 \(no memory\)"):
        parser.proposals(["rain"])


def test_without_its_files_the_mend_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path))
    with pytest.raises(MissingAssetError, match="fusion-eval setup"):
        Spice()


def test_published_values_take_the_place_of_the_tool():
    clips = ScoredClips(
        ids="ab", captions=["x", "y"], references=[["x"], ["y"]], resources=Resources(columns={"spice": [0.5, 0.25]})
    )
    found = METRIC.compute(clips)
    assert found.corpus == {"spice": 0.375}
    assert found.per_clip == {"spice": [0.5, 0.25]}
    assert found.definition["spice"]["values"] == "given as a column"
    assert found.tools == {}


@needs_tool
def test_a_caption_equal_to_its_reference_scores_one():
    assert spice(["a brown dog barks at two men"], [["a brown dog barks at two men"]]) == [1.0]


@needs_tool
def test_synonyms_agree():
    (close,) = spice(["a hound is on the couch"], [["a dog is on the sofa"]])
    (far,) = spice(["a helicopter is over the sea"], [["a dog is on the sofa"]])
    assert far == 0.0
    assert close > 0.5


@needs_tool
def test_hostile_captions():
    plain = spice(["a dog barks"], [["a dog is barking"]])
    hostile = ["a dog\nbarks", "a dog \x00 barks", "a dog 🐕 barks", '{"captions": []}', "", "\ud800", "']; exit(1) //"]
    found = spice(hostile, [["a dog is barking"]] * len(hostile))
    assert found[:3] == plain * 3
    assert found[4:6] == [0.0, 0.0]
    with pytest.raises(DataError, match="words, and SPICE takes"):
        spice(["x" * 2_000_000], [["a dog"]])
    with pytest.raises(DataError, match="Clip 0 has no references"):
        spice(["a dog"], [[]])


@needs_tool
@pytest.mark.slow
def test_a_kill_in_the_middle_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(parses, "_BATCH", 8)
    captions = [["a", "dog", f"number{number}", "barks"] for number in range(24)]
    references = [[["a", "dog", "is", "barking"]]] * 24
    with Spice() as tool:
        tool._parser._store = parses._Store(tmp_path / "first.sqlite")
        undisturbed = tool.score(captions, references)
        tool._parser._store = parses._Store(tmp_path / "second.sqlite")

        def kill_once(done: int, of: int) -> None:
            if done == 8:
                os.kill(tool._parser._process.pid, signal.SIGKILL)

        assert tool.score(captions, references, kill_once) == undisturbed
