"""Lists of clips: published ones by name, those of a file, and a denominator that no system can change."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from fusion_cli.evaluation import app
from fusion_eval.align import align
from fusion_eval.clip_lists import ClipList, find_clip_list
from fusion_eval.comparing import compare
from fusion_eval.console import main
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.readers import read_references
from fusion_eval.schemas import Predictions, References, Scores
from fusion_eval.schemas.comparison import Comparison
from fusion_eval.scoring import score
from typer.testing import CliRunner

TRUTH = {
    "a": ["A dog barks", "A dog is barking"],
    "b": ["Rain falls on a roof", "Heavy rain falls"],
    "c": ["A bell rings twice", "A church bell"],
    " d.wav": ["Wind blows hard", "Strong wind"],
}
CAPTIONS = {"a": "a dog barks", "b": "rain falls", "c": "a bell rings", " d.wav": "wind blows"}


@pytest.fixture
def truth() -> References:
    return References.from_captions(TRUTH, "demo", "test")


def captions(*ids: str, system: str = "mine") -> Predictions:
    return Predictions.from_captions({name: CAPTIONS[name] for name in ids}, system, "demo", "test")


def test_only_the_listed_clips_count_and_the_rest_is_left_out(truth: References) -> None:
    listed = ClipList("mine", frozenset({"a", "c"}))
    scores = score(captions(*CAPTIONS), truth, ["cider_d", "bleu_4"], clip_list=listed)
    alone = score(captions("a", "c"), listed.cut(truth), ["cider_d", "bleu_4"])
    assert scores.metrics == alone.metrics
    assert scores.metrics["cider_d"] != score(captions(*CAPTIONS), truth, ["cider_d"]).metrics["cider_d"]
    assert (scores.n, scores.clip_list, scores.missing) == (2, "mine", ())
    assert [clip.id for clip in scores.per_clip] == ["a", "c"]
    assert scores.references_sha256 == alone.references_sha256 == listed.cut(truth).sha256()
    assert scores.predictions_sha256 == captions(*CAPTIONS).sha256()


def test_a_listed_clip_without_a_prediction_counts_as_an_empty_caption(truth: References) -> None:
    listed = ClipList("mine", frozenset({"a", "b", "c"}))
    scores = score(captions("a", " d.wav"), truth, ["cider_d"], clip_list=listed)
    assert (scores.n, scores.missing, scores.denominator["cider_d"]) == (3, ("b", "c"), 3)
    assert {clip.id: clip.values["cider_d"] for clip in scores.per_clip}["b"] == 0
    empty = score(captions("a"), listed.cut(truth), ["cider_d"], allow_missing=True)
    assert scores.metrics == empty.metrics
    with pytest.raises(DataError, match="no clip of mine has one"):
        align(captions(" d.wav"), truth, clip_list=listed)
    with pytest.raises(DataError, match="2 of its 2 clips are not in the references, such as 'x'"):
        align(captions("a"), truth, clip_list=ClipList("other", frozenset({"x", "y"})))
    with pytest.raises(DataError, match="id 'e' is not in the references"):
        align(Predictions.from_captions({"e": "", "a": ""}, "mine", "demo"), truth, clip_list=listed)


def test_predictions_may_be_meant_for_the_split_or_for_the_list(truth: References) -> None:
    listed = ClipList("mine", frozenset({"a", "c"}))
    for meant in (truth.sha256(), listed.cut(truth).sha256()):
        align(captions("a").model_copy(update={"references_sha256": meant}), truth, clip_list=listed)
    with pytest.raises(DataError, match="references_sha256 is 000"):
        align(captions("a").model_copy(update={"references_sha256": "0" * 64}), truth, clip_list=listed)


def test_both_sides_of_a_comparison_have_the_list_s_clips(truth: References) -> None:
    listed = ClipList("mine", frozenset({"a", "b", "c"}))
    found = compare(
        [captions(*CAPTIONS)], [captions("a", system="other")], truth, ["cider_d"], resamples=100, clip_list=listed
    )
    assert (found.n, found.clip_list) == (3, "mine")
    assert (found.a[0].missing, found.b[0].missing) == ((), ("b", "c"))
    assert found.references_sha256 == listed.cut(truth).sha256()
    with pytest.raises(DataError, match="fewer than two clips"):
        compare([captions("a")], [captions("a", "b")], truth, resamples=100, clip_list=ClipList("one", frozenset("a")))


@pytest.mark.parametrize(
    ("file", "content", "name"),
    [
        ("ids.txt", "a\r\n\n d.wav\n", "ids"),
        ("ids.json", '["a", " d.wav"]', "ids"),
        ("subsets.json:seen", '{"seen": ["a", " d.wav"], "held_out": ["b"]}', "seen"),
        ("chosen.json", References.from_captions({"a": ["x"], " d.wav": ["y"]}).canonical_bytes().decode(), "chosen"),
    ],
)
def test_files_of_ids_are_read(tmp_path: Path, truth: References, file: str, content: str, name: str) -> None:
    (tmp_path / file.partition(":")[0]).write_bytes(content.encode())
    found = find_clip_list(str(tmp_path / file), truth)
    assert found == ClipList(name, frozenset({"a", " d.wav"}))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("subsets.json", '{"seen": ["a"]}', r"holds the lists seen; give one of them as .*subsets.json:NAME"),
        ("subsets.json:unseen", '{"seen": ["a"]}', "holds the lists seen"),
        ("ids.json", "[1, 2]", "no list of ids"),
        ("ids.json", "[1, 2", "not a JSON file"),
        ("ids.txt", b"\xff\xfe", "UTF-8"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, truth: References, file: str, content: str | bytes, message: str
) -> None:
    (tmp_path / file.partition(":")[0]).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        find_clip_list(str(tmp_path / file), truth)


def test_lists_of_a_dataset_are_found_by_name_and_unknown_ones_are_named(tmp_path: Path, truth: References) -> None:
    References.from_captions({"b": ["x"]}).write(tmp_path / "second-half.json")
    assert find_clip_list("Second Half", truth, tmp_path) == ClipList("second-half", frozenset("b"))
    with pytest.raises(ConfigError, match=r"no such list \(second-half\)"):
        find_clip_list("third", truth, tmp_path)
    with pytest.raises(ConfigError, match="the list is of AudioCaps' 975 test clips"):
        find_clip_list("common957", truth, tmp_path)


def test_the_command_line_scores_and_compares_on_a_list(tmp_path: Path, truth: References) -> None:
    truth.write(tmp_path / "references" / "test.json")
    captions("a", "b", " d.wav").write(tmp_path / "p.json")
    captions(*CAPTIONS, system="other").write(tmp_path / "q.json")
    References.from_captions({"a": ["x"], "c": ["x"]}).write(tmp_path / "lists" / "two.json")
    places = ["--references", str(tmp_path / "references" / "test.json"), "--clips", "two", "--metrics", "cider_d"]
    ours = ["captions", "--predictions", str(tmp_path / "p.json"), *places, "--out", str(tmp_path / "scores.json")]
    result = CliRunner().invoke(app, ours)
    assert result.exit_code == 0, result.output
    assert "the 2 clips of two" in " ".join(result.stdout.split())
    assert "1 of 2 clips have no prediction and score as an empty caption" in " ".join(result.stderr.split())
    assert (scores := Scores.read(tmp_path / "scores.json")).missing == ("c",)
    sides = ["--a", str(tmp_path / "p.json"), "--b", str(tmp_path / "q.json"), "--resamples", "100"]
    result = CliRunner().invoke(app, ["compare", *sides, *places, "--json"])
    assert result.exit_code == 0, result.output
    comparison = Comparison.model_validate_json(result.stdout)
    assert (comparison.n, comparison.clip_list) == (2, "two")
    assert comparison.metrics["cider_d"].a.value == scores.metrics["cider_d"]
    (tmp_path / "ids.txt").write_text("a\nc\n")
    alone = ["--predictions", str(tmp_path / "p.json"), *places[:3], str(tmp_path / "ids.txt"), *places[4:]]
    assert main(["score", *alone, "--out", str(tmp_path / "again.json")]) == 0
    assert Scores.read(tmp_path / "again.json").metrics == scores.metrics


def test_published_lists_have_their_clips_and_a_fixed_denominator(shared: Path) -> None:
    """CoNeTTE's captions of 912 clips, on the lists of other numbers: what it lacks counts, what is not listed does not."""
    folder = shared / "data" / "aac"
    truth = read_references(folder / "audiocaps" / "test.csv")
    ids = {item.id for item in truth.items}
    with (folder / "conette" / "outputs_audiocaps_test.csv").open() as stream:
        rows = {row["fname"][:11]: row["cands"] for row in csv.DictReader(stream)}
    assert len(rows) == 912
    assert set(rows) <= ids
    theirs = Predictions.from_captions(rows, "conette", truth.dataset, truth.split)
    numbers = {}
    for name, clips in (("official-975", 975), ("common957", 957), ("conette-912", 912)):
        listed = find_clip_list(name, truth)
        scores = score(theirs, truth, ["cider_d"], clip_list=listed)
        assert scores.n == clips
        numbers[listed.name] = (len(scores.missing), scores.metrics["cider_d"])
    assert [missing for missing, _ in numbers.values()] == [63, 51, 0]
    assert numbers["official-975"][1] < numbers["common-957"][1] < numbers["conette-912"][1]
    wavcaps = find_clip_list("common-957", find_clip_list("common-957", truth).cut(truth))
    assert len(wavcaps.ids) == 957
