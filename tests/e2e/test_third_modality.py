"""ARCHITECTURE.md's «to add a modality», taken by the letter: its file, its line in the registry, its command."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from fusion_cli.main import app
from fusion_core.systems.base import load_system
from fusion_core.systems.joint import Joint
from fusion_encoders.registry import ENCODERS
from typer.testing import CliRunner

pytest.importorskip("decord")
pytest.importorskip("av")

PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"


@pytest.fixture
def page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index("### To add a modality") :]


@pytest.mark.slow
def test_the_page_adds_a_third_modality_in_one_file(page, tmp_path, monkeypatch):
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    name, module = re.search(r'`"(\w+)": "fusion_encoders\.(\w+:\w+)"`', page).groups()
    command = shlex.split(re.search(r"^    fusion (train av-scenes .*--modalities .*)$", page, re.MULTILINE)[1])
    file, _, kind = module.partition(":")
    (tmp_path / f"{file}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(ENCODERS._builtin, name, f"{file}:{kind}")
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, [*command, "--profile", "tiny", "--out", "run"], catch_exceptions=False)
    sys.modules.pop(file, None)
    assert run.exit_code == 0, run.output
    system = load_system(tmp_path / "run" / "adapter")
    assert isinstance(system, Joint)
    assert list(system.by_modality()) == ["audio", "motion", "video"]
    assert system.by_modality()["motion"].config.encoder_width == 16
    scores = json.loads((tmp_path / "run" / "modalities.json").read_text())
    assert set(scores["conditions"]) == {
        "audio+motion+video",
        *("audio", "motion", "video", "none"),
        *("shuffled-audio", "shuffled-motion", "shuffled-video"),
    }
    card = json.loads((tmp_path / "run" / "run_card.json").read_text())
    assert card["modalities"]["motion"]["encoder"]["name"] == name
    gates = {key: [] for key in ("audio.3", "motion.3", "video.3")}
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        event = json.loads(line)
        for key in gates if event["event"] == "step" else ():
            gates[key].append(event["gates"][key])
    assert all(len(set(values)) > 1 for values in gates.values()), "the gates of all three learn"
