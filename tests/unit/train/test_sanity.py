"""Phase 0 passes for what is sound, and fails for each thing that can be wrong, injected here one at a time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fusion_core.systems.additive import Additive
from fusion_core.systems.base import FusionSystem
from fusion_train import sanity
from fusion_train.config import load_settings
from fusion_train.sanity import TINY_PLAN, Check, check_sanity, failed

SHORT = dataclasses.replace(TINY_PLAN, steps=4, loss=100.0, cider_d=-1.0)  # for faults that show without learning


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Path:
    """A cache of this file's own; the scenes are composed once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FUSION_CACHE", str(folder))
        yield folder


def run(plan=SHORT, system: str = "additive") -> dict[str, Check]:
    return {check.name: check for check in check_sanity(system, load_settings("tiny", system=system), plan)}


def failures(checks: dict[str, Check]) -> list[str]:
    return [check.name for check in failed(list(checks.values()))]


@pytest.fixture
def broken(monkeypatch) -> Callable[[Callable[[FusionSystem], None]], None]:
    """Have every system that is built broken by a function."""
    build = sanity.build_system

    def install(breaks: Callable[..., None]) -> None:
        def build_broken(name, settings, backbone, encoder_width):
            system = build(name, settings, backbone, encoder_width)
            breaks(system, backbone)
            return system

        monkeypatch.setattr(sanity, "build_system", build_broken)

    return install


class Changed:
    """A context whose stream is changed on the way out of another's."""

    def __init__(self, context, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        self.context = context
        self.change = change

    def enter_block(self, block: int, h_BSD: torch.Tensor) -> torch.Tensor:
        return self.change(h_BSD, self.context.enter_block(block, h_BSD))


def change_bind(system: FusionSystem, change: Callable[..., torch.Tensor]) -> None:
    bind = system.bind
    system.bind = lambda x, mask, slots=None: Changed(bind(x, mask, slots), change)


def test_a_sound_system_passes_every_check():
    checks = run(TINY_PLAN)
    assert failures(checks) == []
    assert list(checks) == [
        "answers without audio, at the start",
        "loss after 300 steps on 4 clips",
        "CIDEr-D of 4 clips",
        "gradient of each of 2 gates",
        "trainable weights without a gradient",
        "answers without audio, after training",
        "answers with audio and every gate at 0",
        "hash of the backbone's weights",
        "backbone's weights with a gradient",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["concat", "cross-attention", "data-only", "hybrid", "partial-unfreeze"])
def test_every_other_system_passes_too(system):
    assert failures(run(TINY_PLAN, system)) == []


def test_a_learning_rate_of_0_learns_nothing():
    checks = run(dataclasses.replace(TINY_PLAN, steps=4, rate=0.0))
    assert failures(checks) == ["loss after 4 steps on 4 clips", "CIDEr-D of 4 clips"]


@pytest.mark.slow
def test_a_system_that_does_not_hear_cannot_tell_the_clips_apart(broken):
    """It learns the one caption that suits all best: the loss falls under its bound, and CIDEr-D betrays it."""

    def deafen(system, backbone):
        bind = system.bind
        system.bind = lambda x, mask, slots=None: bind(torch.ones_like(x), torch.ones_like(mask), slots)

    broken(deafen)
    assert failures(run(TINY_PLAN)) == ["CIDEr-D of 4 clips"]


def test_gradients_that_are_cut_are_missed(broken):
    broken(lambda system, backbone: change_bind(system, lambda before, after: after.detach()))
    assert failures(run()) == ["gradient of each of 2 gates", "trainable weights without a gradient"]


def test_one_gate_that_is_left_out_is_missed(broken):
    def leave_out(system: Additive, backbone) -> None:
        bind = system.bind

        def without_the_last(x, mask, slots=None):
            context = bind(x, mask, slots)
            first = min(system.gate_values())

            class First:
                def enter_block(self, block, h_BSD):
                    return context.enter_block(block, h_BSD) if block == first else h_BSD

            return First()

        system.bind = without_the_last

    broken(leave_out)
    checks = run()
    assert failures(checks) == ["gradient of each of 2 gates", "trainable weights without a gradient"]
    assert "such as" in checks["trainable weights without a gradient"].measured


def test_backbone_weights_that_move_are_noticed(broken):
    def move(system, backbone) -> None:
        bind = system.bind

        def bind_and_move(x, mask, slots=None):
            with torch.no_grad():
                backbone.model.get_output_embeddings().weight.view(-1)[7] += 1e-3
            return bind(x, mask, slots)

        system.bind = bind_and_move

    broken(move)
    assert failures(run()) == [
        "answers without audio, after training",
        "answers with audio and every gate at 0",
        "hash of the backbone's weights",
    ]


def test_a_backbone_that_trains_is_noticed(broken):
    broken(lambda system, backbone: backbone.model.get_output_embeddings().requires_grad_())
    assert failures(run()) == ["backbone's weights with a gradient"]


def test_something_left_on_a_block_is_noticed(broken):
    """The reference is the model without hooks, so what a system leaves on a block shows at once."""

    def leave(system, backbone) -> None:
        backbone.blocks[0].register_forward_pre_hook(lambda block, inputs: (inputs[0] * (1 + 1e-3), *inputs[1:]))

    broken(leave)
    checks = run()
    assert "answers without audio, at the start" in failures(checks)
    assert "logits 0 of 8" in checks["answers without audio, at the start"].measured


def test_a_closed_gate_that_still_lets_something_through_is_noticed(broken):
    broken(lambda system, backbone: change_bind(system, lambda before, after: after + 1e-4))
    assert failures(run()) == ["answers with audio and every gate at 0"]


def test_a_loss_that_is_no_number_is_a_failed_check(broken):
    def spoil(system, backbone) -> None:
        with torch.no_grad():
            system.projector.inner.weight.fill_(float("nan"))

    broken(spoil)
    checks = run()
    assert {"loss after 4 steps on 4 clips", "CIDEr-D of 4 clips"} <= set(failures(checks))
    assert "not a number" in checks["CIDEr-D of 4 clips"].measured


def test_the_command_ends_with_5_where_a_check_fails(cache, fusion_here, tmp_path):
    command = ["sanity", "--profile", "tiny", "--steps", "2", "--json"]
    done = fusion_here(tmp_path, *command, FUSION_CACHE=str(cache))
    assert done.returncode == 5, done.stderr
    assert "2 of 9 checks failed (loss after 2 steps on 4 clips; CIDEr-D of 4 clips)" in done.stderr
    found = json.loads(done.stdout)
    assert (found["passed"], found["plan"]["steps"]) == (False, 2)
    assert [check["passed"] for check in found["checks"]].count(False) == 2
