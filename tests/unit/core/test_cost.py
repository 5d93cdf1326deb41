"""Parameters and FLOPs are those that one counts by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fusion_core.cost import CallShape, bare_cost, system_cost
from fusion_core.flops import count_flops
from fusion_core.freeze import trainable_names
from fusion_core.match import matched_config, trainable_parameters
from fusion_core.outlines import outline
from fusion_core.pretrained import load_backbone
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import Additive, AdditiveConfig

# tiny-random: 8 blocks of width 32, MLP 64, 4 heads and 2 key-value heads of 8, bytes and marks as vocabulary.
WIDTH, INNER, KEYS, DEPTH = 32, 64, 16, 8
SHAPE = CallShape(prompt=5, caption=3, frames=4, encoder_width=6, beams=2)


def block_products(tokens: int) -> int:
    """Multiply-adds of the linear layers of one block."""
    return tokens * (2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * INNER)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def attention_products(queries: int, keys: int) -> int:
    """Multiply-adds of scores and mixing of one block, over all heads."""
    return 2 * queries * keys * WIDTH


@pytest.fixture(scope="module")
def tiny():
    return outline("tiny-random")


@pytest.fixture(scope="module")
def reference(tiny):
    options = Additive.backbone_options(tiny)
    return AdditiveConfig(**options, encoder_width=6, sites=(3, 6), tokens=2, projector_width=8)


def test_products_count_two_operations_a_multiply_add_and_the_rest_is_listed():
    a, b = torch.zeros(3, 4, requires_grad=True), torch.zeros(4, 5)
    forward = count_flops(lambda: (a @ b).sigmoid())
    assert forward.total == 2 * 3 * 4 * 5
    assert dict(forward.unknown) == {"sigmoid": 1}
    assert count_flops(lambda: (a @ b).sum().backward()).total == 2 * (2 * 3 * 4 * 5)  # b needs no gradient


def test_the_bare_backbone_costs_what_its_shapes_say(tiny):
    vocabulary = tiny.model.config.vocab_size
    length = SHAPE.prompt + SHAPE.caption  # the end token is a target alone
    cost = bare_cost(tiny, SHAPE)
    rotary = 2 * 4 * length  # the angles: positions times inverse frequencies, a product for each
    products = DEPTH * (block_products(length) + attention_products(length, length))
    assert cost.forward == pytest.approx(2 * (products + (SHAPE.caption + 1) * WIDTH * vocabulary) + rotary, abs=rotary)
    decoded = sum(
        DEPTH * (block_products(SHAPE.beams) + attention_products(SHAPE.beams, before + 1))
        for before in range(SHAPE.prompt, SHAPE.prompt + SHAPE.caption)
    )
    prefill = DEPTH * (block_products(SHAPE.prompt) + attention_products(SHAPE.prompt, SHAPE.prompt))
    heads = (1 + SHAPE.beams * SHAPE.caption) * WIDTH * vocabulary
    assert cost.generate == pytest.approx(2 * (prefill + decoded + heads), rel=1e-3)


def test_the_same_is_counted_with_and_without_weights(tiny, reference):
    real = load_backbone("tiny-random")
    real.model.set_attn_implementation("eager")
    assert bare_cost(real, SHAPE).forward == bare_cost(tiny, SHAPE).forward
    assert system_cost("additive", real, reference, SHAPE).step == system_cost("additive", tiny, reference, SHAPE).step


def test_a_kernel_that_hides_its_products_is_named(tiny):
    real = load_backbone("tiny-random")
    real.model.set_attn_implementation("sdpa")
    cost = bare_cost(real, SHAPE)
    assert cost.forward < bare_cost(tiny, SHAPE).forward
    assert any("scaled_dot_product" in name for name in cost.unknown)


@pytest.mark.parametrize("name", SYSTEMS.names())
def test_every_system_is_counted_and_leaves_the_backbone_untouched(tiny, reference, name):
    keys = set(tiny.model.state_dict())
    cost = system_cost(name, tiny, reference, SHAPE)
    bare = bare_cost(tiny, dataclasses.replace(SHAPE, heard=name != "data-only"))
    assert set(tiny.model.state_dict()) == keys
    tiny.require_untouched()
    assert bare.forward <= cost.forward < cost.step
    assert bare.generate <= cost.generate
    assert cost.total == sum(cost.parameters.values()) > 0


def test_an_additive_step_ends_at_its_lowest_site(tiny, reference):
    high = dataclasses.replace(reference, sites=(6, 7))
    low = dataclasses.replace(reference, sites=(1, 7))
    length = SHAPE.prompt + SHAPE.caption  # the end token is a target alone
    gap = system_cost("additive", tiny, low, SHAPE).step - system_cost("additive", tiny, high, SHAPE).step
    # Five more blocks of gradients: one product a weight for activations alone, and two a product of attention.
    assert gap == pytest.approx(2 * 5 * (block_products(length) + 2 * attention_products(length, length)), rel=0.02)


def test_a_prompt_that_is_read_once_is_not_counted(tiny, reference):
    answer = dataclasses.replace(reference, hears="answer")
    read, length = 1 + SHAPE.caption, SHAPE.prompt + SHAPE.caption
    gap = system_cost("additive", tiny, reference, SHAPE).forward - system_cost("additive", tiny, answer, SHAPE).forward
    blocks = DEPTH * (
        block_products(length - read) + attention_products(length, length) - attention_products(read, length)
    )
    assert gap == pytest.approx(2 * blocks, rel=0.05)


def test_the_frozen_prefix_saves_the_forward_pass_below_the_lowest_site(tiny, reference):
    cost = system_cost("additive", tiny, reference, SHAPE)
    length = SHAPE.prompt + SHAPE.caption
    saved = 2 * 3 * (block_products(length) + attention_products(length, length))
    assert cost.step - cost.cached_step == pytest.approx(saved, rel=0.01)
    everywhere = system_cost("cross-attention", tiny, reference, SHAPE)
    assert everywhere.step == everywhere.cached_step


def test_llava_1_5_7b_by_hand():
    block = 4 * 4096**2 + 3 * 4096 * 11_008 + 2 * 4096
    assert block == 202_383_360
    model = outline("llava-1.5-7b")
    assert sum(p.numel() for p in model.blocks[0].parameters()) == block
    total = 32 * block + 2 * 32_064 * 4096 + 4096
    assert parameters(model.decoder) + parameters(model.model.get_output_embeddings()) == total
    layer = 4 * (1024**2 + 1024) + 2 * 1024 * 4096 + 4096 + 1024 + 4 * 1024
    tower = 24 * layer + 1024 + 3 * 14**2 * 1024 + 577 * 1024 + 4 * 1024
    bridge = 1024 * 4096 + 4096 + 4096**2 + 4096
    assert parameters(model.model) == total + tower + bridge == 7_063_427_072
    assert trainable_names(model.model) == []
    reference = AdditiveConfig(**Additive.backbone_options(model), encoder_width=768, sites=(12, 24))
    projector = (768 * 768 + 768) * 2 + 2 * 768 + 16 * 768
    site = 768 * 4096 + 16 * 4096 + 16 + 1
    assert sum(trainable_parameters("additive", reference).values()) == projector + 2 * site
    system_type = SYSTEMS.load("partial-unfreeze")
    config = matched_config("partial-unfreeze", reference, system_type.backbone_options(model) | {"encoder_width": 768})
    parts = trainable_parameters("partial-unfreeze", config)
    assert parts["backbone"] == 4 * block == 809_533_440
