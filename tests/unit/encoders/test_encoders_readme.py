"""The example of the package's README runs and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_the_example_prints_what_its_comment_says(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (repository / "packages" / "fusion-encoders" / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert capsys.readouterr().out.strip() == example.rsplit("# ", 1)[1].strip()
