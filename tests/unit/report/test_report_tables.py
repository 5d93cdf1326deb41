"""The tables of a study: right numbers with their sources, reasons where there are none, in four formats."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from html import unescape
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest
from fusion_eval.schemas import Predictions, References, Scores
from fusion_eval.tokenize import tokenize_all
from fusion_report.groups import said_once
from fusion_report.page.build import write_page
from fusion_report.page.tables import EMPTY, report_table, to_html
from fusion_report.rendering import RENDERERS, plain, render_csv, render_latex, render_markdown
from fusion_report.table import Table
from fusion_report.tables.captions import scored
from fusion_report.tables.catalogue import TABLES
from pydantic import ValidationError


@pytest.fixture(scope="module")
def tables(study):
    return {name: build(study) for name, build in TABLES.items()}


def row_of(table: Table, label: str):
    """The cells of the first row of that label, by column."""
    for row in table.rows:
        if row.cells[0].text == label:
            return dict(zip([column.key for column in table.columns], row.cells, strict=True))
    raise AssertionError(f"no row {label}")


def test_the_main_table_has_mean_deviation_interval_and_sources(tables, whole_results):
    cell = row_of(tables["main-results"], "additive")["cider_d"]
    files = [whole_results / source for source in cell.sources]
    values = [Scores.read(path).metrics["cider_d"] for path in files]
    assert [path.parent.parent.name for path in files] == ["additive-s0", "additive-s1", "additive-s2"]
    assert cell.value == pytest.approx(statistics.fmean(values))
    assert cell.stdev == pytest.approx(statistics.stdev(values))
    assert cell.low < cell.value < cell.high


def test_differences_are_to_additive_after_the_same_training(tables):
    main = tables["main-results"]
    cross, additive = (row_of(main, name) for name in ("cross-attention", "additive"))
    assert cross["difference"].value == pytest.approx(cross["cider_d"].value - additive["cider_d"].value)
    assert 0 < cross["difference"].p <= 1
    assert {source.split("/")[1] for source in cross["difference"].sources} == {
        f"{system}-s{seed}" for system in ("additive", "cross-attention") for seed in range(3)
    }
    further = row_of(tables["objectives"], "additive + SCST")["difference"]
    assert any("+scst" in source for source in further.sources)


def test_size_is_normalised_and_a_mismatch_is_said(tables):
    main = tables["main-results"]
    large = row_of(main, "partial-unfreeze")
    assert large["parameters"].value == 14_200_000
    assert large["normalised"].value == pytest.approx(large["cider_d"].value / 1.42)
    assert any("partial-unfreeze 7.47" in sentence for sentence in main.caption)


def test_captions_say_test_list_n_seeds_versions_and_what_is_missing(tables):
    caption = " ".join(tables["main-results"].caption)
    for words in (
        "scenes test: n = 36 clips",
        "Seeds: 0, 1, 2",
        "computed in bfloat16.",
        "1 of 19 runs",
        "400 resamples",
        "fusion_eval 0.1",
    ):
        assert words in caption
    assert "Not reported: SPIDEr, METEOR, SPICE" in caption


def test_a_caption_says_where_runs_computed_in_different_types(own_results, open_study_at):
    card = own_results / "runs" / "additive-s0" / "run_card.json"
    card.write_text(card.read_text().replace('"bfloat16"', '"float32"'))
    study = open_study_at(own_results)
    caption = " ".join(scored(study, study.groups, ["cider_d"]))
    assert re.search(r"Runs differ in what .* \(\d+ in bfloat16, 1 in float32\)", caption)


def test_a_failed_run_leaves_cells_that_say_why(tables):
    cells = row_of(tables["main-results"], "hybrid")
    assert all(cell.is_empty and "out of memory" in cell.reason for name, cell in cells.items() if name != "system")


def test_controls_stand_apart_and_the_oracle_is_no_result(tables):
    sections = [row.section for row in tables["main-results"].rows if row.section]
    assert sections == ["Controls, of the additive system's runs"]
    rows = tables["decoding"].rows
    place = next(n for n, row in enumerate(rows) if row.section == "Oracle (not a result)")
    assert all("oracle" not in plain(cell).lower() for row in rows[:place] for cell in row.cells)
    best = row_of(tables["decoding"], "additive: best candidate")
    assert best["cider_d"].value > row_of(tables["decoding"], "beam 3, reranked")["cider_d"].value
    assert best["difference"].is_empty


def test_retention_shows_before_after_bound_and_the_worst_verdict(tables):
    rows = {(row.cells[0].text, row.cells[1].text): row for row in tables["retention"].rows}
    keys = [column.key for column in tables["retention"].columns]
    lost = dict(zip(keys, rows["partial-unfreeze", "none"].cells, strict=True))
    kept = dict(zip(keys, rows["additive", "none"].cells, strict=True))
    assert lost["delta_xe"].value < -2
    assert lost["verdict_xe"].text == "lost"
    assert lost["bound_xe"].value < lost["delta_xe"].value
    assert kept["verdict_xe"].text == "identical"
    assert kept["delta_xe"].value == 0
    assert kept["bound_xe"].is_empty
    assert lost["after_scst"].reason == "The study has no such run."


def test_ablations_are_sections_with_the_default_in_each(tables):
    rows = tables["ablations"].rows
    assert [row.section for row in rows if row.section] == ["Sites", "Audio tokens and projector width", "Objective"]
    assert [row.cells[0].text for row in rows].count("additive, default") == 3
    assert row_of(tables["ablations"], "sites 12")["gates"].text == "12: 0.440"


def test_hours_to_the_target_are_censored(tables):
    assert row_of(tables["cost"], "data-only")["target"].text.startswith("not reached in 0.03")
    assert "(3 of 3)" in row_of(tables["cost"], "additive")["target"].text


def test_answers_stand_by_what_a_question_needs_and_are_compared_by_clip(tables):
    table = tables["answers"]
    assert [row.cells[0].text for row in table.rows] == ["audio+video", "audio", "shuffled video", "none"]
    full, heard, shuffled, _ = table.rows
    # of 4 questions 3 are right, and of seed 1 one more in a third of the clips
    assert table.column("sight")[0].value == pytest.approx((0.75 + 0.75 + 1 / 12) / 2)
    assert row_of(table, "shuffled video")["difference_sight"].value == pytest.approx(0.5)
    assert row_of(table, "audio")["difference_sound"].value == 0
    assert shuffled.cells[4].low > 0
    assert any("chance 0.250" in sentence for sentence in table.caption)
    assert full.section == "additive"
    assert heard.section is None


def test_answers_whose_questions_are_not_kept_have_no_interval_and_say_why(own_results, open_study_at):
    for path in (own_results / "questions").iterdir():
        path.unlink()
    (cell, *_) = TABLES["answers"](open_study_at(own_results)).column("sight")
    assert cell.value == pytest.approx((0.75 + 0.75 + 1 / 12) / 2)
    assert cell.low is None
    assert "do not keep the questions" in cell.reason


@pytest.mark.parametrize("name", list(TABLES))
def test_the_page_shows_every_number_and_reason_of_a_table(tables, name):
    table = tables[name]
    text = unescape(to_html(report_table(table)))
    for row in table.rows:
        for cell in row.cells[1:]:
            assert (cell.number() if cell.value is not None else cell.text or EMPTY) in text
            assert not cell.reason or cell.reason in text


def test_the_page_has_the_tables_on_watching_where_a_run_watches(whole_results, tmp_path):
    def answers(folder: Path) -> bool:
        write_page(folder, tmp_path / "index.html")
        return 'id="answers"' in (tmp_path / "index.html").read_text()

    assert answers(whole_results)
    assert not answers(whole_results / "runs" / "additive-s0")


def test_the_earlier_skills_are_measured_again_after_video(tables, study):
    table = tables["earlier-skills"]
    skills = [row.cells[0].text for row in table.rows]
    assert "captions by audio, CIDEr-D" in skills
    earlier = "retention, distractor of the earlier run"
    none = "retention, none"
    # Under distractor each run heard clips of its own, so there is nothing to compare with.
    kinds = [none, f"{none}, since that run", "retention, distractor", earlier, f"{earlier}, since that run"]
    assert skills[-5:] == kinds
    row = row_of(table, "captions by audio, CIDEr-D")
    assert row["difference"].low < row["difference"].value < row["difference"].high
    runs = next(group for group in study.groups if group.stage == "video").runs
    first = next(
        group for group in study.groups if (group.system, group.stage, group.variant) == ("additive", "xe", "")
    )
    files = [run.scores("kept-audio") for run in runs]
    assert row["difference"].value == pytest.approx(row["after"].value - row["before"].value)
    assert row["after"].value == pytest.approx(sum(one.metrics["cider_d"] for one in files) / 2)
    assert row_of(table, "retention, none")["verdict"].text == "identical"
    since = row_of(table, f"{earlier}, since that run")
    seeds = {run.entry.seed for run in runs}
    before, after = (
        sum(100 * run.retention().conditions[condition].scorings["likelihood"].after for run in side) / len(seeds)
        for condition, side in (
            ("distractor", [run for run in first.runs if run.entry.seed in seeds]),
            ("earlier_distractor", runs),
        )
    )
    assert since["before"].value == pytest.approx(before)
    assert since["difference"].value == pytest.approx(after - before)
    assert len(since["difference"].sources) == 2 * len(seeds)


def test_a_table_of_a_missing_dataset_is_empty_with_its_reason(tables):
    (row,) = tables["generalisation"].rows
    assert all("clotho" in cell.reason for cell in row.cells[1:])


@pytest.mark.parametrize("name", list(TABLES))
def test_every_format_shows_every_number(tables, name):
    table = tables[name]
    again = Table.model_validate_json(RENDERERS["json"](table))
    assert again == table
    rows = list(csv.DictReader(io.StringIO(render_csv(table))))
    markdown, latex = render_markdown(table), render_latex(table)
    assert len(rows) == len(table.rows)
    for row, written in zip(table.rows, rows, strict=True):
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.value is not None:
                assert float(written[column.key]) == cell.value
                assert cell.number() in markdown
                assert cell.number().lstrip("+-") in latex
            elif cell.is_empty:
                assert written[f"{column.key}_reason"]
    assert latex.count("%") >= sum(
        bool(cell.sources and cell.value is not None) for r in table.rows for cell in r.cells
    )


def test_an_empty_cell_needs_a_reason_and_rows_fit_the_columns():
    with pytest.raises(ValidationError, match="says why"):
        Table.model_validate(
            {"key": "t", "title": "t", "caption": [], "columns": [{"key": "a", "title": ""}], "rows": [{"cells": [{}]}]}
        )
    with pytest.raises(ValidationError, match="cell a column"):
        Table.model_validate(
            {"key": "t", "title": "t", "caption": [], "columns": [{"key": "a", "title": ""}], "rows": [{"cells": []}]}
        )


def damage(folder: Path, run: str, change) -> None:
    path = folder / "runs" / run / "scores" / "audio.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_score_that_is_no_number_is_left_out_with_its_reason(own_results, open_study_at):
    damage(own_results, "concat-s1", lambda content: content["metrics"].update(cider_d=float("nan")))
    cell = row_of(TABLES["main-results"](open_study_at(own_results)), "concat")["cider_d"]
    assert len(cell.sources) == 2
    assert "runs/concat-s1/scores/audio.json: field metrics.cider_d" in cell.reason
    assert str(own_results) not in cell.reason


def test_no_clip_and_one_seed(own_results, open_study_at):
    for seed in (0, 1, 2):
        damage(own_results, f"concat-s{seed}", lambda content: content.update(n=0, per_clip=[]))
    for seed in (1, 2):
        (own_results / "runs" / f"cross-attention-s{seed}" / "scores" / "audio.json").unlink()
    table = TABLES["main-results"](open_study_at(own_results))
    assert "field n" in row_of(table, "concat")["cider_d"].reason
    alone = row_of(table, "cross-attention")["cider_d"]
    assert alone.stdev is None
    assert alone.low is not None
    assert "runs/cross-attention-s{1,2}/scores/audio.json is absent" in alone.reason
    for build in TABLES.values():  # nothing crashes
        assert build(open_study_at(own_results)).rows


def test_a_missing_run_folder_and_a_missing_study_card(own_results, open_study_at):
    import shutil

    from fusion_eval.errors import DataError

    shutil.rmtree(own_results / "runs" / "additive-s1")
    cell = row_of(TABLES["main-results"](open_study_at(own_results)), "additive")["cider_d"]
    assert len(cell.sources) == 2
    assert "additive-s1" in cell.reason
    (own_results / "study_card.json").unlink()
    with pytest.raises(DataError, match="holds no study_card"):
        open_study_at(own_results)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["additive-s0"], "additive-s0"),
        (["additive-s0", "additive-s1"], "additive-s{0,1}"),
        (["additive-s0+scst", "additive-s12+scst"], "additive-s{0,12}+scst"),
        (["a", "ab"], "a{,b}"),
        (["x", "y", "x"], "{x,y}"),
    ],
)
def test_a_reason_of_several_runs_is_said_once(names, said):
    reasons = [(name, f"runs/{name}/scores.json is absent") for name in names]
    assert said_once([*reasons, ("other", "other is damaged")]) == [
        f"runs/{said}/scores.json is absent",
        "other is damaged",
    ]


def test_pairs_of_words_new_to_training_are_counted_against_the_training_captions(own_results, open_study_at):
    cell = row_of(TABLES["objectives"](open_study_at(own_results)), "additive")["unseen_bigrams"]
    assert "names no training captions" in cell.reason
    said = []
    for folder in sorted((own_results / "runs").glob("additive-s?")):
        path = folder / "run_card.json"
        card = json.loads(path.read_text())
        card["dataset"]["references_sha256"]["train"] = card["dataset"]["references_sha256"]["test"]
        path.write_text(json.dumps(card))
        known = References.read(own_results / "references" / f"{card['dataset']['references_sha256']['test']}.json")
        pairs = {pair for item in known.items for text in item.references for pair in pairwise(tokenize_all([text])[0])}
        captions = [item.caption for item in Predictions.read(folder / "predictions" / "audio.json").items]
        said.append(fmean(not set(pairwise(tokens)) <= pairs for tokens in tokenize_all(captions)))
    cell = row_of(TABLES["objectives"](open_study_at(own_results)), "additive")["unseen_bigrams"]
    assert cell.value == pytest.approx(fmean(said))
