"""Steps and tokens are timed for every side, and the backbone is given back as it was."""

from __future__ import annotations

import torch
from fusion_core.pretrained import load_backbone
from fusion_train.config import load_settings
from fusion_train.model import build_system
from fusion_train.objectives.xe import cross_entropy_sum
from fusion_train.step_cost import BARE, PREFIXED, UNKEPT, StepShape, _batch, _FromTheFirstSiteUp, _Side, measure_steps

SHAPE = StepShape(clips=2, caption=4, frames=3, beams=2)


def test_every_side_is_timed_and_the_backbone_comes_back_untouched(tmp_path):
    backbone = load_backbone("tiny-random")
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    settings = load_settings("tiny")
    costs = measure_steps(
        backbone,
        dict.fromkeys(["additive", "partial-unfreeze"], settings),
        settings,
        8,
        SHAPE,
        repeats=2,
        prefix_root=tmp_path,
    )
    assert list(costs) == [BARE, "additive" + PREFIXED, "additive" + UNKEPT, "additive", "partial-unfreeze"]
    assert all(cost.step > 0 and cost.token > 0 for cost in costs.values())
    after = backbone.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_bare_side_computes_gradients_from_the_first_site_up_and_no_lower():
    backbone = load_backbone("tiny-random")
    side = _Side(backbone, None, load_settings("tiny"), SHAPE)
    seen = {}

    class Recorder(_FromTheFirstSiteUp):
        def enter_block(self, block, h_BSD):
            seen[block] = super().enter_block(block, h_BSD)
            return seen[block]

    torch.autograd.backward(cross_entropy_sum(side.reader, _batch(side, 8), Recorder(3)))
    assert [seen[block].requires_grad for block in range(backbone.depth)] == [False] * 3 + [True] * 5
    assert seen[3].grad is not None


def test_what_is_kept_changes_no_loss(tmp_path):
    backbone = load_backbone("tiny-random")
    settings = load_settings("tiny", ["reference.hears=answer"])
    system = build_system("additive", settings, backbone, 8)
    kept = {"prefix_root": tmp_path}, {}, {"keeps_prompt": False}
    losses = []
    for options in kept:
        side = _Side(backbone, system, settings, SHAPE, **options)
        batch = _batch(side, 8)
        side.reader.prepare(batch.ids_BS[:, len(side.prompt.ids) :].tolist())
        context = system.bind(
            batch.features.x_BTA, batch.features.mask_BT, side.prompt.slot_index(batch.ids_BS.shape[1])
        )
        losses.append(cross_entropy_sum(side.reader, batch, context).item())
    assert losses[0] == losses[1] == losses[2]
