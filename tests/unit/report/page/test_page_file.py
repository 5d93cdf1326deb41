"""The page as a file: the same bytes each time, nothing from a network, nothing of a caption as markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fusion_cli.main import run
from fusion_eval.schemas import Predictions
from fusion_report.page import Limits, write_page
from fusion_report.page.build import ASSETS, SCRIPTS

HOSTILE = "</script><script>document.title = 'owned'</script><!--<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Collects start tags with their attributes, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.open: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = [] if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        if self.open is not None:
            self.open.append(data)

    def handle_endtag(self, tag: str) -> None:
        if self.open is not None:
            self.texts.append((*self.tags[-1], "".join(self.open)))
        self.open = None


def parse(page: Path) -> Elements:
    elements = Elements()
    elements.feed(page.read_text(encoding="utf-8"))
    elements.close()
    return elements


def data_of(page: Path) -> dict[str, Any]:
    (packed,) = [text for tag, attributes, text in parse(page).texts if attributes.get("id") == "data"]
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return found


def test_nothing_runs_but_the_scripts_of_the_page(page):
    elements = parse(page)
    (policy,) = [one["content"] for tag, one in elements.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    scripts = [text for tag, one, text in elements.texts if tag == "script" and one.get("type") is None]
    (style,) = [text for tag, _, text in elements.texts if tag == "style"]
    assert len(scripts) == 2
    for text in (*scripts, style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 3


def test_nothing_is_loaded_from_elsewhere(page):
    for tag, attributes in parse(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "img")
        assert "src" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    for name in SCRIPTS:
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|fetch\(|https?:", (ASSETS / name).read_text()
        )


def test_the_data_hold_what_was_said_and_known(page):
    data = data_of(page)
    (clips,) = data["sets"]
    assert [clip["id"] for clip in clips["clips"]][:2] == ["test-00000", "test-00001"]
    first = clips["clips"][0]
    assert first["references"][0] == "a dog barks and then rain falls"
    assert first["kinds"] == ["held out"]
    assert first["events"][0] == {"name": "dog barking", "onset": 0.1, "offset": 0.9, "background": False, "count": 2}
    assert clips["clips"][5]["media"] == {"reason": "The file is corrupt (cut off)."}
    best = clips["outputs"][0]
    assert (best["run"], best["condition"]) == ("additive-s0", "audio")
    assert len(best["captions"]) == len(best["candidates"]) == len(best["scores"]["cider_d"]) == 8
    assert {chart["name"] for chart in data["charts"]} == {
        "scores",
        "controls",
        "curves",
        "gates",
        "stability",
        "clips",
    }
    assert all(data["rows"][name] for name in ("scores", "curves", "gates", "stability"))


def test_a_hostile_text_stands_in_the_data_alone(make_study, set_captions, tmp_path, measuring):
    files = make_study()
    set_captions(files, "additive-s0", {0: HOSTILE, 1: "rain " * 1000})
    card = files.results / "study_card.json"
    card.write_text(card.read_text().replace("a small study", HOSTILE.replace('"', "")))
    out = tmp_path / "index.html"
    write_page(files.results, out, [files.dataset], measuring=measuring)
    elements = parse(out)
    assert [one for tag, one in elements.tags if tag == "script" and one.get("type") is None] == [{}, {}]
    assert not any(tag == "img" or "onerror" in one for tag, one in elements.tags)
    assert "<!--" not in out.read_text()
    assert data_of(out)["sets"][0]["outputs"][0]["captions"][:2] == [HOSTILE, "rain " * 1000]


def test_a_study_without_clips_still_has_a_page(make_study, tmp_path, measuring):
    files = make_study()
    for path in sorted(files.results.glob("runs/*/predictions/*.json")):
        path.unlink()
    for path in sorted(files.results.glob("runs/*/scores/*.json")):
        path.unlink()
    summary = write_page(files.results, tmp_path / "index.html", measuring=measuring)
    assert summary.clips == 0
    assert data_of(tmp_path / "index.html")["sets"] == []
    assert "has no predictions and no scores" in (tmp_path / "index.html").read_text()


def test_predictions_of_no_clip_and_clips_without_a_prediction_are_said(make_study, tmp_path, measuring):
    files = make_study()
    empty = files.run("additive-s0") / "predictions" / "audio.json"
    made = Predictions.read(empty)
    made.model_copy(update={"items": made.items[:3]}).write(empty)
    nothing = files.run("cross-attention-s0") / "predictions" / "audio.json"
    Predictions.read(nothing).model_copy(update={"items": ()}).write(nothing)
    write_page(files.results, tmp_path / "index.html", [files.dataset], measuring=measuring)
    outputs = {(one["run"], one["condition"]): one for one in data_of(tmp_path / "index.html")["sets"][0]["outputs"]}
    assert outputs["additive-s0", "audio"]["captions"][2:4] == [made.items[2].caption, None]
    assert outputs["cross-attention-s0", "audio"]["captions"] == [None] * 8


def test_what_is_left_out_stands_in_the_page(study, tmp_path, measuring):
    summary = write_page(
        study.results,
        tmp_path / "index.html",
        [study.dataset],
        Limits(clips=6, media_bytes=0),
        False,
        measuring=measuring,
    )
    text = (tmp_path / "index.html").read_text()
    assert summary.clips == 6
    assert summary.audible == 0
    assert any(sentence.startswith("2 of 8 clips of scenes test") for sentence in summary.left_out)
    assert any("the limit of 0 MB of sounds and pictures is reached" in sentence for sentence in summary.left_out)
    for sentence in summary.left_out:
        assert sentence in text


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_in_another_process(study, page, tmp_path):
    out = tmp_path / "index.html"
    command = [sys.executable, "-m", "fusion_cli", "report", "html", str(study.results), "--audio", str(study.dataset)]
    done = subprocess.run([*command, "--out", str(out), "--json"], capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert (summary["clips"], summary["audible"], summary["bytes"]) == (8, 6, out.stat().st_size)
    assert out.read_bytes() == page.read_bytes()


def test_the_command_refuses_a_folder_without_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fusion", "report", "html", str(tmp_path), "--out", str(tmp_path / "index.html")])
    with pytest.raises(SystemExit) as stopped:
        run()
    assert stopped.value.code == 3
    assert "neither a study card nor a run here" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()
