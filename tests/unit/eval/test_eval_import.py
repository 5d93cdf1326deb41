"""Importing the package is cheap: nothing heavy is loaded, and public names load when they are used."""

from __future__ import annotations

import subprocess
import sys

import fusion_eval
import pytest

HEAVY = ("torch", "transformers", "scipy", "polars", "numpy", "pydantic")


def _loaded(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(output.split())


def test_the_package_alone_loads_nothing_heavy():
    assert _loaded("import fusion_eval") == set()


def test_scoring_captions_loads_no_torch():
    assert _loaded("from fusion_eval import score, CiderD") <= {"numpy", "pydantic"}


@pytest.mark.parametrize("name", fusion_eval.__all__)
def test_public_names_load(name):
    assert getattr(fusion_eval, name) is not None
    assert name in dir(fusion_eval)


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'bleu_5'"):
        fusion_eval.bleu_5  # noqa: B018
