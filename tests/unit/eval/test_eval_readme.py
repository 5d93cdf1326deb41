"""The README's example runs and prints what a caption metric should."""

from __future__ import annotations

import re


def test_the_example_runs(repository, capsys):
    text = (repository / "packages/fusion-eval/README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    value, per_clip = capsys.readouterr().out.split(" ", 1)
    assert 0 < float(value) < 10
    assert per_clip.startswith("{'cider_d': ")
