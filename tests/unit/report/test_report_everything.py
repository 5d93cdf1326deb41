"""The whole report: all files, nothing made twice, the same bytes anywhere, every number traceable, hostile text harmless."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fusion_report import escaping, everything
from fusion_report.checklist import checklist, render_checklist
from fusion_report.everything import build_report
from fusion_report.experiments import missing
from fusion_report.figures.catalogue import FIGURES
from fusion_report.measuring import Measuring
from fusion_report.study import open_study

HOSTILE = (
    '<script>alert("x")</script> & <img src=x onerror=alert(1)> | --> \\input{/etc/passwd} \\end{document} $x_1^2$ 50% #1 {~}'
    " `code` [link](javascript:alert(1)) =1+1 שלום עולם \u202eevil 🐕‍🦺 naïve Łódź\nnew\tline\x00"
)


def protocol(encoder: str) -> tuple[str, ...]:
    return (f"{encoder} hears at 44,100 Hz.",)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(autouse=True, scope="module")
def few_figures():
    """One figure stands for all, except where a test asks for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(everything, "FIGURES", {"pareto": FIGURES["pareto"]})
        yield


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, build_report(study, folder, protocol)


def test_everything_is_there_and_a_second_time_nothing_is_written(study, report):
    folder, written = report
    names = hashes(folder)
    assert {"README.md", "paper.tex", "methods.md", "methods.tex", "experiments.tex", "checklist.json"} <= set(names)
    assert {f"figures/pareto.{ending}" for ending in ("svg", "png", "pdf")} <= set(names)
    assert {f"tables/main-results.{ending}" for ending in ("md", "tex", "csv", "json")} <= set(names)
    assert len([name for name in names if name.startswith("model-cards/")]) == 2  # after XE and after SCST
    assert written.not_drawn == {}
    again = build_report(study, folder, protocol)
    assert again.drawn == []
    assert sorted(again.kept) == sorted(written.drawn)
    assert hashes(folder) == names


def test_what_was_changed_or_is_no_longer_made_is_mended(study, report, tmp_path):
    folder = Path(shutil.copytree(report[0], tmp_path / "report"))
    before = hashes(folder)
    (folder / "figures" / "pareto.svg").write_text("broken")
    (folder / "tables" / "cost.md").unlink()
    ledger = json.loads((folder / ".report.json").read_text())
    ledger["figures/old.svg"] = {"source": "", "sha256": hashlib.sha256(b"old").hexdigest()}
    ledger["../outside.txt"] = {"source": "", "sha256": hashlib.sha256(b"old").hexdigest()}
    (folder / ".report.json").write_text(json.dumps(ledger))
    (folder / "figures" / "old.svg").write_text("old")
    (folder.parent / "outside.txt").write_text("old")
    again = build_report(study, folder, protocol)
    assert sorted(again.drawn) == ["figures/pareto.svg", "tables/cost.md"]
    assert again.removed == ["figures/old.svg"]
    assert (folder.parent / "outside.txt").exists()
    assert hashes(folder) == before


def test_no_file_holds_a_time_or_a_place(report, whole_results):
    for path in report[0].rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert str(whole_results).encode() not in data
            assert not re.search(rb"20\d\d-\d\d-\d\d[T ]\d\d:\d\d", data)


def test_every_number_of_the_experiments_has_a_comment_with_a_file_that_is_there(report, whole_results):
    text = (report[0] / "experiments.md").read_text()
    sources = [source for comment in re.findall("<!-- (.*?) -->", text) for source in comment.split(", ")]
    assert len(sources) > 50
    assert all((whole_results / source).is_file() for source in sources)
    body = text[text.index("## Main results") : text.index("## Verdicts")]
    bare = re.sub(r"[^\s(]*[^<\n]*?<!-- .*? -->", "", body)
    assert not re.search(r"\d\.\d\d", bare), bare
    latex = (report[0] / "experiments.tex").read_text()
    assert latex.count("% runs/") == text.count("<!-- runs/")


def test_the_draft_names_what_is_missing_and_follows_the_intervals(study, report):
    text = (report[0] / "experiments.md").read_text()
    assert missing(study) == ["Run hybrid-s0 is failed: The process was killed: out of memory."]
    assert "hybrid-s0 is failed" in text
    assert re.search("data-only.*?it is behind by", text, re.IGNORECASE)


def test_the_draft_tells_what_watching_is_worth_and_what_became_of_hearing(report):
    text = re.sub(r"<!--.*?-->", "", (report[0] / "experiments.md").read_text())
    watching = text.split("## The second modality")[1].split("\n## ")[0]
    assert re.search(r"additive, bound video: CIDEr-D \d.*; with every modality it is", watching)
    assert re.search(r"additive, bound audio\+video, questions answered rightly: all 0\.\d.*sight 0\.\d", watching)
    assert re.search(r"additive, captions by audio, CIDEr-D: from \d.* to \d.*, Δ", watching)
    assert "additive, retention, none, since that run: from" in watching


def test_the_checklist_asks_what_video_alone_has_changed(study):
    (line,) = [line for line in checklist(study).lines if line.key == "video"]
    asked = {one.what: one for one in line.checks}
    assert [what.partition(":")[0] for what in asked] == ["additive"] * 5
    assert asked["additive: Δ accuracy since the run before video, heard: none"].measured == "identical to the bit"
    assert (
        asked["additive: CIDEr-D by audio alone less that of the run before video"].threshold == "interval not below 0"
    )
    assert asked["additive: Δ accuracy since the run before video, heard: silence"].verdict == "not measured"


def test_a_model_card_says_results_over_seeds_retention_and_limits(report):
    (card,) = [path for path in (report[0] / "model-cards").iterdir() if "scst" in path.name]
    text = card.read_text()
    header = json.loads(text.split("---")[1])
    assert header["model-index"][0]["results"][0]["metrics"][0]["type"] == "cider_d"
    for words in ("Use and limits", "templates", "another clip's audio", "identical", "SHA-256", "scst 1"):
        assert words in text


def test_the_checklist_does_not_let_stand_ins_pass_for_the_plan(study):
    found = checklist(study)
    by_key = {line.key: line for line in found.lines}
    assert by_key["audiocaps"].verdict == by_key["clotho"].verdict == by_key["retention"].verdict == "not measured"
    assert by_key["attribution-stand-in"].verdict == "pass"
    assert by_key["attribution-stand-in"].stand_in
    assert not found.passes
    assert all(check.sources for line in found.lines for check in line.checks if check.measured)
    assert "0 of 6 lines of the plan pass" in render_checklist(found)


@pytest.mark.parametrize("text", [HOSTILE, "", " ", "a" * 5000, "|" * 50, "-->" * 3, "\u202e\u2066"])
def test_hostile_text_is_shown_and_nothing_of_it_is_obeyed(text):
    shown = escaping.shortened(text)
    markdown = escaping.markdown(shown)
    assert not re.search(r"<\w|(?<!\\)[|`\[\]*_$~]", markdown)
    assert "\n" not in markdown
    assert "\u202e" not in markdown
    assert "-->" not in escaping.markdown_comment(text)
    latex = escaping.latex(shown)
    assert not re.search(r"\\(input|end\{document)", latex)
    assert not re.search(r"(?<!\\)[%#&$_^~]", latex.replace("\\allowbreak{}", ""))
    assert "\n" not in escaping.latex_comment(text)
    assert not escaping.csv("=1+1").startswith("=")
    assert len(shown) < 300


@pytest.fixture
def hostile(own_results):
    """Results in which captions, and the reason of a failed run, are hostile."""
    for name in ("additive-s0", "concat-s0"):
        path = own_results / "runs" / name / "predictions" / "audio.json"
        content = json.loads(path.read_text())
        for place, item in enumerate(content["items"]):
            item["caption"] = HOSTILE * (1 if place % 2 else 40)
        path.write_text(json.dumps(content))
    card = json.loads((own_results / "study_card.json").read_text())
    card["runs"][-1]["reason"] = HOSTILE
    (own_results / "study_card.json").write_text(json.dumps(card))
    return own_results


def test_hostile_captions_are_escaped_in_every_output(hostile, open_study_at, tmp_path):
    folder = tmp_path / "report"
    build_report(open_study_at(hostile), folder, protocol)
    for path in folder.rglob("*"):
        if path.suffix in (".md", ".svg", ".tex"):
            text = path.read_text()
            assert "<script" not in text
            assert "<img" not in text
            assert path.suffix != ".tex" or not re.search(r"\\input\{/", text)
    table = (folder / "tables" / "examples.md").read_text()
    assert "&lt;script&gt;" in table
    assert "characters)" in table
    assert all(line.count("|") - line.count("\\|") == 4 for line in table.splitlines() if line.startswith("|"))


@pytest.mark.slow
def test_latex_compiles_with_hostile_captions(hostile, open_study_at, tmp_path, monkeypatch):
    monkeypatch.setattr(everything, "FIGURES", FIGURES)
    compiler = next((name for name in ("tectonic", "pdflatex") if shutil.which(name)), None)
    if compiler is None:
        pytest.skip("neither tectonic nor pdflatex is installed")
    folder = tmp_path / "report"
    build_report(open_study_at(hostile), folder, protocol)
    options = [] if compiler == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([compiler, *options, "paper.tex"], cwd=folder, capture_output=True, timeout=280, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (folder / "paper.pdf").stat().st_size > 50_000
    assert "Overfull" not in log or compiler == "tectonic"


def test_a_seed_without_retention_is_not_passed_over_by_the_checklist(own_results):
    def verdicts(folder):
        lines = {line.key: line for line in checklist(open_study(folder, Measuring(200))).lines}
        return [check for check in lines["retention-stand-in"].checks if "heard: none" in check.what]

    results = own_results
    assert "not measured" not in {check.verdict for check in verdicts(results)}
    (results / "runs" / "additive-s1" / "retention.json").unlink()
    lost = [check for check in verdicts(results) if check.verdict == "not measured"]
    assert [check.reason for check in lost] == ["It was measured on 2 of 3 seeds."]
