"""``fusion backbone list``: what those that see are worth, and whose weights they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fusion_cli.main import app
from typer.testing import CliRunner


def listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.setenv("FUSION_CACHE", str(folder))
    result = CliRunner().invoke(app, ["backbone", "list", "--json"])
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_the_list_says_what_is_trained_and_how_well_it_sees(tmp_path, monkeypatch):
    rows = listed(tmp_path, monkeypatch)
    assert rows["tiny-vlm"]["trained"] == rows["smollm2-vl"]["trained"] == "with the package"
    assert rows["tiny-vlm"]["accuracy"] > 0.8 > 0.4 > rows["tiny-vlm"]["blind"]
    assert rows["smollm2-vl"]["built_by"] == "fusion backbone build smollm2-vl"
    assert (rows["tiny-random"]["trained"], rows["tiny-random"]["built_by"]) == (None, None)


def test_what_is_listed_is_what_the_name_loads(tmp_path, monkeypatch):
    for name in ("smollm2-vl-0123", "tiny-vlm-seed-0"):
        built = tmp_path / "backbones" / name
        built.mkdir(parents=True)
        (built / "card.json").write_text(json.dumps({"scores": [{"accuracy": 0.75, "blind": 0.25}]}))
    rows = listed(tmp_path, monkeypatch)
    row = rows["smollm2-vl"]
    assert (row["trained"], row["accuracy"], row["blind"]) == ("on this machine", 0.75, 0.25)
    assert rows["tiny-vlm"]["trained"] == "with the package"  # that is what its name loads
