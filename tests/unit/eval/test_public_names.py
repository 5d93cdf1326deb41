"""What the package offers by name is there, whichever of its modules were imported before."""

from __future__ import annotations

import importlib
import pkgutil
import types

import fusion_eval


def test_no_public_name_is_hidden_by_a_module():
    modules = [module.name for module in pkgutil.iter_modules(fusion_eval.__path__)]
    assert not set(modules) & set(fusion_eval.__all__)


def test_every_public_name_loads():
    for module in pkgutil.iter_modules(fusion_eval.__path__):
        if module.name != "__main__":
            importlib.import_module(f"fusion_eval.{module.name}")
    for name in fusion_eval.__all__:
        assert not isinstance(getattr(fusion_eval, name), types.ModuleType), name
