"""The README's example runs and prints what caption metrics should."""

from __future__ import annotations

import ast
import re


def test_the_example_runs(repository, capsys):
    text = (repository / "packages/fusion-eval/README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    corpus, first = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    assert list(corpus) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"]
    assert 0 < corpus["cider_d"] < 10
    assert 0 < corpus["bleu_4"] < corpus["bleu_1"] <= 1
    assert 0 < first <= 10


def test_the_example_is_ten_lines_of_code(repository):
    text = (repository / "packages/fusion-eval/README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 12
