"""The parts of the page: what is read, what is said where something is absent, and how heavy it may be."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_eval.errors import DataError
from fusion_eval.schemas import Scores, read_manifest, write_manifest
from fusion_eval.schemas.retention import (
    Change,
    ConditionRetention,
    LogprobShift,
    Outcome,
    Question,
    Retention,
    RetentionBackbone,
)
from fusion_report.measuring import Measuring
from fusion_report.page.chart_data import MOST_POINTS, curve_rows, stability_rows
from fusion_report.page.clips import TextBudget, describe_outputs, gather_sets
from fusion_report.page.datasets import open_dataset
from fusion_report.page.media import MediaCollector
from fusion_report.page.outputs import read_outputs
from fusion_report.page.overview import overview
from fusion_report.page.questions import PageQuestions, describe_questions
from fusion_report.page.sound import BANDS, FRAMES, LEVELS, SAMPLE_RATE, encode_mp3, picture, read_sound
from fusion_report.page.summary import group_runs, metrics_of
from fusion_report.page.tables import controls_table, results_table, retention_table, runs_table, to_html
from fusion_report.page.weight import Limits, evenly_spaced, spread_out


def groups_by_label(folder: Path, measuring: Measuring):
    return {group.label: group for group in group_runs(read_outputs(folder), measuring)}


def test_seeds_are_put_together_and_what_is_lacking_says_why(study, measuring):
    groups = groups_by_label(study.results, measuring)
    assert list(groups) == ["additive", "additive + SCST", "cross-attention", "concat", "hybrid"]
    additive = groups["additive"].cell("audio", "cider_d")
    assert sorted(additive.by_seed) == [0, 1, 2]
    assert additive.value == pytest.approx(np.mean(list(additive.by_seed.values())))
    assert additive.deviation == pytest.approx(np.std(list(additive.by_seed.values()), ddof=1))
    assert additive.low < additive.value < additive.high
    assert additive.reason == ""
    one = groups["additive + SCST"].cell("audio", "cider_d")
    assert (len(one.by_seed), one.deviation) == (1, None)
    assert groups["hybrid"].cell("audio", "cider_d").reason == "It has not been run."
    assert "metrics.cider_d: Input should be a finite number" in groups["concat"].cell("audio", "cider_d").reason
    assert "seed 1: The loss was no number at step 7." in groups["concat"].cell("audio", "cider_d").reason
    assert groups["additive"].cell("audio", "spice").reason.startswith("stanford-corenlp is absent")
    partly = groups["additive"].cell("reranked", "cider_d")
    assert (list(partly.by_seed), partly.reason) == (
        [0],
        "seed 1: reranked was not measured; seed 2: reranked was not measured",
    )


def test_an_interval_is_given_only_where_the_corpus_value_is_a_mean_of_clips(make_study, measuring):
    files = make_study()
    path = files.run("additive-s0+scst") / "scores" / "audio.json"
    content = json.loads(path.read_text())
    content["metrics"]["cider_d"] += 0.25
    path.write_text(json.dumps(content))
    cell = groups_by_label(files.results, measuring)["additive + SCST"].cell("audio", "cider_d")
    assert cell.value == pytest.approx(content["metrics"]["cider_d"])
    assert (cell.low, cell.high) == (None, None)


def test_tables_hold_every_group_and_number_the_reasons(study, measuring):
    results = read_outputs(study.results)
    groups = group_runs(results, measuring)
    text = to_html(results_table(groups, metrics_of(groups), "scenes"))
    for expected in (
        "additive + reranked",
        "cross-attention",
        "hybrid",
        "It has not been run.",
        "One seed",
        "SPICE",
        "± ",
    ):
        assert expected in text
    assert text.count('class="number best"') == 2  # one a metric that has values
    assert "shuffled audio" in to_html(controls_table(groups, metrics_of(groups), "scenes"))
    listed = to_html(runs_table(results))
    assert "failed: The loss was no number at step 7." in listed
    assert "missing: It has not been run." in listed


def test_text_of_a_run_is_no_markup_in_a_table(make_study, measuring):
    files = make_study()
    card = files.results / "study_card.json"
    card.write_text(card.read_text().replace("It has not been run.", "<script>alert(1)</script>"))
    groups = group_runs(read_outputs(files.results), measuring)
    text = to_html(results_table(groups, ["cider_d"], "<b>scenes</b>"))
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append(tag)
    parser.feed(text)
    assert "script" not in found
    assert set(found) <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "b", "span", "sup", "a", "ol", "li"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;b&gt;scenes" in text


def test_a_run_directory_and_a_folder_of_them_are_results_too(study):
    (one,) = read_outputs(study.run("additive-s0")).runs
    assert (one.plan.name, one.plan.system, one.plan.seed, one.plan.stage) == ("additive-s0", "additive", 0, "xe")
    several = read_outputs(study.results / "runs").runs
    assert len(several) == 7
    assert {run.plan.variant for run in several if run.plan.system == "cross-attention"} == {""}
    alike = [run.plan.variant for run in several if run.plan.system == "additive" and run.plan.seed == 0]
    assert alike == ["additive-s0", "additive-s0+scst"]  # no study says how they differ, so their names do


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither a study card nor a run here"):
        read_outputs(tmp_path)


def test_a_run_without_files_keeps_its_reason(make_study):
    files = make_study()
    for path in sorted(files.run("additive-s0").rglob("*.json")):
        path.unlink()
    run = read_outputs(files.results).runs[0]
    assert "run_card.json is absent" in run.reason
    assert "has no predictions and no scores" in run.reason


def test_a_pure_tone_is_drawn_where_it_is_and_silence_is_dark(tmp_path):
    for frequency in (200, 1000, 4000):
        time_S = np.arange(3 * 44100) / 44100
        tone_S = np.where(time_S < 1.5, np.sin(2 * np.pi * frequency * time_S), 0.0)
        soundfile.write(tmp_path / "tone.wav", tone_S, 44100)
        levels = np.frombuffer(gzip.decompress(picture(read_sound(tmp_path / "tone.wav"))), np.uint8)
        levels_MF = levels.reshape(BANDS, FRAMES)
        mel = 2595 * np.log10(1 + np.array([40, frequency, SAMPLE_RATE / 2]) / 700)
        expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * BANDS
        assert levels_MF[:, FRAMES // 4].argmax() == pytest.approx(expected, abs=1.5)
        assert levels_MF.max() == LEVELS - 1
        assert levels_MF[:, FRAMES * 3 // 4].max() == 0


@pytest.mark.parametrize("samples", [1, 100, 16000])
def test_short_and_silent_sounds_have_a_picture_and_play(tmp_path, samples):
    soundfile.write(tmp_path / "quiet.wav", np.zeros((samples, 7)), 96000)
    sound = read_sound(tmp_path / "quiet.wav")
    assert len(gzip.decompress(picture(sound))) == BANDS * FRAMES
    (tmp_path / "quiet.mp3").write_bytes(encode_mp3(sound))
    assert soundfile.info(tmp_path / "quiet.mp3").samplerate == SAMPLE_RATE


def test_a_sound_keeps_its_length_and_content_as_mp3(tmp_path):
    time_S = np.arange(2 * 22050) / 22050
    soundfile.write(tmp_path / "tone.flac", 0.5 * np.sin(2 * np.pi * 440 * time_S), 22050)
    sound = read_sound(tmp_path / "tone.flac")
    encoded = encode_mp3(sound)
    assert encoded == encode_mp3(sound)
    assert len(encoded) < 12_000
    (tmp_path / "tone.mp3").write_bytes(encoded)
    decoded, rate = soundfile.read(tmp_path / "tone.mp3")
    assert len(decoded) / rate == pytest.approx(2.0, abs=0.2)
    spectrum = np.abs(np.fft.rfft(decoded))
    assert np.fft.rfftfreq(len(decoded), 1 / rate)[spectrum.argmax()] == pytest.approx(440, abs=2)


def test_samples_that_are_no_numbers_are_silence(tmp_path):
    soundfile.write(tmp_path / "holes.wav", np.full(8000, np.nan), 16000, subtype="FLOAT")
    sound = read_sound(tmp_path / "holes.wav")
    assert not sound.samples_S.any()
    assert set(gzip.decompress(picture(sound))) <= set(range(LEVELS))


@pytest.mark.parametrize("content", [b"", b"no sound"])
def test_a_file_that_is_no_sound_is_refused_by_name(tmp_path, content):
    (tmp_path / "clip.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"clip\.wav cannot be decoded"):
        read_sound(tmp_path / "clip.wav")


def test_what_is_kept_lies_evenly_over_all():
    assert evenly_spaced(3, 5) == [0, 1, 2]
    assert evenly_spaced(10, 5) == [0, 2, 4, 6, 8]
    order = spread_out(1000)
    assert sorted(order) == list(range(1000))
    for kept in (50, 100, 300):
        counts, _ = np.histogram(order[:kept], bins=10, range=(0, 1000))
        assert counts.max() - counts.min() <= 3


def media_of(study, room: int, links: bool = True, page: Path = Path("index.html")):
    sets = gather_sets(read_outputs(study.results), [open_dataset(study.dataset)], Limits())
    return MediaCollector(room, page, links).collect(sets, iter)


def test_media_stay_within_their_room_and_the_rest_is_linked_or_left_out(study):
    whole = media_of(study, 10_000_000)
    assert sum("block" in entry for entry in whole.entries.values()) == 6
    assert whole.reasons == {"The file is corrupt (cut off).": 1, "The file is missing (cut off).": 1}
    half = media_of(study, whole.bytes_used * 3 // 4, page=study.results / "index.html")
    assert 0 < half.bytes_used <= whole.bytes_used * 3 // 4
    assert sum("picture" in entry for entry in half.entries.values()) == 6  # pictures come first
    linked = [entry for entry in half.entries.values() if "link" in entry]
    assert linked
    for entry in linked:
        assert (study.results / entry["link"]).resolve().is_file()
        assert "the limit of" in entry["reason"]
    none = media_of(study, 0, links=False)
    assert none.blocks == {}
    assert not any("link" in entry for entry in none.entries.values())
    assert none.reasons["Left out: the limit of 0 MB of sounds and pictures is reached."] == 6


def test_texts_stay_within_their_room_and_candidates_go_first(study):
    (one,) = gather_sets(read_outputs(study.results), [open_dataset(study.dataset)], Limits())
    unbounded = TextBudget(10_000_000)
    outputs = describe_outputs(one, unbounded)
    assert unbounded.left_out == []
    assert all("candidates" in output for output in outputs)
    tight = TextBudget(sum(len(json.dumps(output["captions"] + list(output["scores"].values()))) for output in outputs))
    kept = describe_outputs(one, tight)
    assert tight.room >= 0
    assert len(kept) < len(outputs) or not all("candidates" in output for output in kept)
    assert kept[0]["condition"] == "audio"
    assert tight.left_out


def test_the_clips_are_bounded_and_evenly_taken(study):
    (one,) = gather_sets(read_outputs(study.results), [open_dataset(study.dataset)], Limits(clips=4))
    assert one.ids == ["test-00000", "test-00002", "test-00004", "test-00006"]
    assert one.left_out == 4


def test_references_of_another_split_are_not_shown_beside_the_captions(make_study):
    files = make_study()
    path = files.dataset / "references" / "test.json"
    path.write_text(path.read_text().replace("a dog barks", "a cat meows"))
    (one,) = gather_sets(read_outputs(files.results), [open_dataset(files.dataset)], Limits())
    assert one.known.references == {}
    assert "has other references for test than those that were scored" in one.known.reason
    assert len(one.ids) == 8


def test_without_a_dataset_the_clips_are_those_of_the_predictions(study):
    (one,) = gather_sets(read_outputs(study.results), [], Limits())
    assert len(one.ids) == 8
    assert one.known.reason == "No dataset scenes was given to the page (--audio DATASET_ROOT)."


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match="no prepared dataset here"):
        open_dataset(tmp_path)


def test_a_video_is_embedded_as_it_is_or_linked(make_study):
    files = make_study()
    rows = read_manifest(files.dataset / "manifest.parquet")
    (files.dataset / "audio" / "test" / "clip.mp4").write_bytes(b"a video of some bytes")
    rows[0] = rows[0].model_copy(update={"path": "audio/test/clip.mp4"})
    write_manifest(files.dataset / "manifest.parquet", rows)
    embedded = media_of(files, 1_000_000)
    entry = embedded.entries[0, "test-00000"]
    assert entry == {"type": "video/mp4", "block": "media-0"}
    assert base64.b64decode(embedded.blocks["media-0"]) == b"a video of some bytes"
    assert embedded.pictures_left_out == {"A video shows itself.": 1}
    linked = media_of(files, 0, page=files.results / "index.html").entries[0, "test-00000"]
    assert linked["type"] == "video/mp4"
    assert (files.results / linked["link"]).read_bytes() == b"a video of some bytes"


def test_a_clip_that_the_manifest_lacks_or_whose_file_is_gone_says_so(make_study):
    files = make_study()
    rows = read_manifest(files.dataset / "manifest.parquet")
    (files.dataset / rows[1].path).unlink()
    write_manifest(files.dataset / "manifest.parquet", rows[1:])
    entries = media_of(files, 1_000_000).entries
    assert entries[0, "test-00000"] == {"reason": "The manifest of scenes does not list the clip."}
    assert entries[0, "test-00001"] == {"reason": "audio/test/test-00001.flac is absent."}


def retention(before: list[bool], after: list[bool]) -> Retention:
    def outcomes(right: list[bool]) -> dict[str, Outcome]:
        return {
            str(place): Outcome(text="yes", exact=value, contains=value, answer_logprob=-1.0)
            for place, value in enumerate(right)
        }

    questions = {str(place): Question(category="colour", cluster="0", answer="yes") for place in range(len(before))}
    change = Change(
        n=len(before),
        clusters=1,
        before=sum(before) / len(before),
        after=sum(after) / len(after),
        delta=(sum(after) - sum(before)) / len(before),
        gained=0,
        lost=1,
        mcnemar_p=1.0,
        bound=-0.5,
        standard_error=0.1,
        design_effect=1.0,
    )
    condition = ConditionRetention(
        identical=False,
        logits_sha256_before="0" * 64,
        logits_sha256_after="1" * 64,
        verdict="undecided",
        scorings={"contains": change},
        by_category={},
        answer_logprob=LogprobShift(mean=0.0, standard_error=0.0),
        questions=questions,
        before=outcomes(before),
        after=outcomes(after),
    )
    return Retention(
        run_id="r",
        system="additive",
        adapter_sha256="0" * 64,
        backbone=RetentionBackbone(name="b", weights_sha256="0" * 64, precision="fp32"),
        probe="p",
        probe_sha256="0" * 64,
        scoring="contains",
        margin=0.005,
        conditions={"distractor": condition},
        method={},
    )


def test_retention_is_a_row_a_condition_and_says_why_it_was_not_measured(make_study):
    files = make_study()
    retention([True, True, True, False], [True, True, False, False]).write(files.run("additive-s0") / "retention.json")
    card = json.loads((files.results / "study_card.json").read_text())
    reason = "The probe is absent."
    card["runs"][1]["measures"] = {"retention": {"status": "missing", "reason": reason, "identity": "0" * 64}}
    (files.results / "study_card.json").write_text(json.dumps(card))
    text = to_html(retention_table(read_outputs(files.results)))
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall("<t[dh].*?</t[dh]>", text.split("<tbody>")[1])]
    assert cells[:8] == ["additive-s0", "distractor", "4", "75.0", "50.0", "-25.0", "-50.0", "undecided"]
    assert cells[8] == "additive-s1"
    assert reason in text
    assert retention_table(read_outputs(files.run("additive-s1"))) == []


def test_self_critical_training_in_a_run_directory_is_a_run_of_its_own(make_study):
    files = make_study()
    shutil.copytree(files.run("additive-s0+scst"), files.run("additive-s0") / "scst")
    own, further = read_outputs(files.run("additive-s0")).runs
    assert (own.plan.stage, further.plan.stage) == ("xe", "scst")
    assert further.plan.name == "additive-s0+scst"


def test_curves_are_thinned_and_logs_that_cannot_be_read_are_named(make_study):
    files = make_study()
    events = [{"event": "step", "step": step, "loss": float(step)} for step in range(1, 1001)]
    (files.run("additive-s0") / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (files.run("additive-s1") / "log.jsonl").write_text("")
    rows, problems = curve_rows(read_outputs(files.results))
    loss = [row for row in rows if row["run"] == "additive-s0" and row["curve"] == "loss"]
    assert len(loss) <= MOST_POINTS
    assert loss[-1]["step"] == 1000
    assert np.mean([row["value"] for row in loss]) == pytest.approx(500.5, abs=2)
    assert problems == ["additive-s1/log.jsonl has no step yet; wait until training has begun."]


def test_a_stability_row_that_is_no_number_is_left_out(make_study):
    files = make_study()
    path = files.run("additive-s0") / "stability.jsonl"
    path.write_text(path.read_text() + '{"step": 60, "score": NaN, "before": {"contains": 0.5}}\n{"step": 80, "sc')
    rows = [row for row in stability_rows(read_outputs(files.results)) if row["run"] == "additive-s0"]
    assert [(row["step"], row["condition"], row["accuracy"]) for row in rows] == [
        (20, "before", 0.8),
        (20, "distractor", 0.75),
        (40, "before", 0.8),
        (40, "distractor", 0.75),
    ]


def test_a_run_of_several_modalities_is_judged_by_all_of_them_together(make_study, measuring):
    files = make_study()
    for folder in ("predictions", "scores"):
        place = files.run("cross-attention-s0") / folder
        shutil.copy(place / "audio.json", place / "audio+video.json")
        shutil.copy(place / "shuffled.json", place / "audio.json")
        (place / "shuffled.json").rename(place / "shuffled-video.json")
    results = read_outputs(files.results)
    groups = groups_by_label(files.results, measuring)
    group = groups["cross-attention"]
    assert group.whole == "audio+video"
    text = to_html(results_table([group], ["cider_d"], "scenes"))
    assert f"{group.cell('audio+video', 'cider_d').value:.3f}" in text
    assert "audio and video" in to_html(controls_table([group], ["cider_d"], "scenes"))
    (one,) = gather_sets(results, [], Limits())
    said = {
        output["condition"]: output["heard"]
        for output in describe_outputs(one, TextBudget(10**7))
        if output["run"] == "cross-attention-s0"
    }
    assert said == {"audio+video": True, "audio": False, "shuffled-video": False}


def test_questions_stand_with_their_clip_and_answers_with_their_run(make_study, put_questions):
    files = make_study()
    put_questions(files, "cross-attention-s0")
    results = read_outputs(files.results)
    (one,) = gather_sets(results, [], Limits())
    names = [run.plan.name for run, _ in one.said]
    found = PageQuestions(results)
    assert found.asked(names, "scenes", "val") == found.asked(names, "av-scenes", "test") == {}
    asked = found.asked(names, "scenes", "test")
    assert list(asked) == one.ids[:1]
    assert describe_questions(asked[one.ids[0]])[1] == {
        "text": "Which colour is it? <i>1</i>",
        "answer": "red",
        "kind": "sight",
    }
    answered = found.answered("cross-attention-s0", "audio", asked, one.ids)
    assert answered == [[True, False], *([] for _ in one.ids[1:])]
    assert found.answered("cross-attention-s0", "shuffled", asked, one.ids) is None
    (files.run("cross-attention-s0") / "modalities.json").write_text("{}")
    assert PageQuestions(read_outputs(files.results)).asked(names, "scenes", "test") == {}


def test_a_sanity_run_has_no_captions_and_no_complaint(make_study):
    files = make_study()
    card = json.loads((files.results / "study_card.json").read_text())
    card["runs"].append({**card["runs"][0], "name": "sanity-additive-s0", "stage": "sanity"})
    (files.results / "study_card.json").write_text(json.dumps(card))
    files.run("sanity-additive-s0").mkdir()
    (files.run("sanity-additive-s0") / "log.jsonl").write_text("")
    run = read_outputs(files.results).runs[-1]
    assert (run.plan.name, run.problems, run.reason) == ("sanity-additive-s0", (), "")
    assert curve_rows(read_outputs(files.results))[1] == []


def test_a_study_that_keeps_its_references_shows_them_without_its_dataset(make_study):
    files = make_study()
    files.references.write(files.results / "references" / f"{files.references.sha256()}.json")
    files.events.write(files.results / "events" / f"{files.events.sha256()}.json")
    (one,) = gather_sets(read_outputs(files.results), [], Limits())
    assert one.known.references["test-00000"] == files.references.items[0].references
    assert one.known.events["test-00000"] == files.events.items[0]
    assert one.known.data is None
    entry = MediaCollector(1000, Path("index.html"), True).collect([one], iter).entries[0, "test-00000"]
    assert entry == {"reason": "No dataset scenes was given to the page (--audio DATASET_ROOT)."}


def test_an_oracle_stands_apart_and_is_never_the_best(make_study, measuring):
    files = make_study()
    scores = Scores.read(files.run("additive-s1") / "scores" / "audio.json")
    clips = [{"id": clip.id, "cider_d_max": clip.values["cider_d"] + 5} for clip in scores.per_clip]
    content = {**scores.model_dump(mode="json", exclude_none=True), "oracle": ["cider_d_max"], "per_clip": clips}
    content["metrics"] = {"cider_d_max": scores.metrics["cider_d"] + 5}
    Scores.model_validate(content).write(files.run("additive-s1") / "scores" / "oracle.json")
    group = groups_by_label(files.results, measuring)["additive"]
    assert group.cell("oracle", "cider_d").by_seed == {1: pytest.approx(scores.metrics["cider_d"] + 5)}
    assert "seed 0: oracle was not measured" in group.cell("oracle", "cider_d").reason
    text = to_html(results_table([group], ["cider_d"], "scenes"))
    (row,) = re.findall('<tr class="oracle">.*?</tr>', text)
    assert "additive: oracle, no result" in row
    assert f"<b>{scores.metrics['cider_d'] + 5:.3f}</b>" in row
    assert "best" not in row


def test_the_best_score_is_one_of_the_main_dataset(study, measuring):
    results = read_outputs(study.results)
    groups = list(groups_by_label(study.results, measuring).values())
    before = to_html(overview(results, groups)[1])
    far_above = replace(groups[0].cell("audio", "cider_d"), value=99.0)
    cells = {("audio", "cider_d", "test"): far_above}
    watching = replace(groups[0], label="watching", dataset="av-scenes", _cells=cells)
    assert to_html(overview(results, [*groups, watching])[1]) == before
    better = replace(watching, dataset=groups[0].dataset)
    assert "99.000" in to_html(overview(results, [*groups, better])[1])
