"""Systems of equal size, for three backbones that exist only as shapes."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from fusion_core.backbone import Backbone, BackboneIdentity
from fusion_core.errors import ConfigError
from fusion_core.match import TOLERANCE, matched_config, parameter_ratio, smallest_reaching, trainable_parameters
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import AdditiveConfig
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
LLAMA_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
LLAMA_13B = {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40}
MATCHED = ["concat", "cross-attention", "data-only", "hybrid"]


def shapes_of(settings: dict[str, int]) -> Backbone:
    return _shapes_of(tuple(settings.items()))


@cache
def _shapes_of(settings: tuple[tuple[str, int], ...]) -> Backbone:
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**dict(settings), vocab_size=1000))
    return Backbone(model, None, BackboneIdentity("shapes", "0" * 64))


def additive(backbone: Backbone, **options: object) -> AdditiveConfig:
    return AdditiveConfig(
        **{
            "backbone_width": backbone.width,
            "backbone_depth": backbone.depth,
            "encoder_width": 512,
            "sites": (12, 24),
            **options,
        }
    )


@pytest.mark.parametrize("name", MATCHED)
@pytest.mark.parametrize("settings", [SMOLLM2, LLAMA_7B, LLAMA_13B], ids=["135m", "7b", "13b"])
def test_sizes_are_within_ten_percent(name, settings):
    backbone = shapes_of(settings)
    reference = additive(backbone)
    config = matched_config(name, reference, SYSTEMS.load(name).backbone_options(backbone))
    assert abs(parameter_ratio(name, config, reference) - 1) <= TOLERANCE


def test_four_blocks_of_a_7b_llama_cannot_be_matched_and_the_rest_is():
    backbone = shapes_of(LLAMA_7B)
    reference = additive(backbone)
    options = SYSTEMS.load("partial-unfreeze").backbone_options(backbone)
    config = matched_config("partial-unfreeze", reference, options)
    table = trainable_parameters("partial-unfreeze", config)
    block = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    assert block == 202_383_360
    assert table["backbone"] == 4 * block == 809_533_440
    rest = sum(count for part, count in table.items() if part != "backbone")
    cross = matched_config("cross-attention", reference)
    assert rest == sum(trainable_parameters("cross-attention", cross).values())
    assert parameter_ratio("partial-unfreeze", config, reference) > 100


def test_additive_counted_by_hand():
    reference = additive(shapes_of(SMOLLM2))
    projector = 512 * 768 + 768 + 768**2 + 768 + 2 * 768 + 16 * 768
    site = 768 * 576 + 16 * 576 + 16
    expected = {"projector": projector, "gates": 2, "adapters": 2 * site}
    assert trainable_parameters("additive", reference) == expected
    assert sum(expected.values()) == 1_901_602


@pytest.mark.parametrize("name", sorted({*MATCHED, "partial-unfreeze", "additive"}))
def test_what_is_counted_on_the_meta_device_is_what_is_built(name, backbone, additive_reference):
    system_type = SYSTEMS.load(name)
    config = matched_config(name, additive_reference(), system_type.backbone_options(backbone))
    assert trainable_parameters(name, config) == system_type(config).parameter_table()


def test_what_is_given_stays_and_what_is_common_is_taken_over(backbone, additive_reference):
    reference = additive_reference(tokens=5, placement="both", gate_init=0.7)
    assert matched_config("cross-attention", reference, {"width": 3}).width == 3
    assert matched_config("cross-attention", reference, {"width": None}).width > 0
    cross = matched_config("cross-attention", reference, {"heads": 2})
    assert (cross.tokens, cross.sites, cross.gate_init, cross.width % 2) == (5, tuple(range(8)), 0.0, 0)
    concat = matched_config("concat", reference, {"tokens": 6})
    assert (concat.tokens, concat.sites, concat.placement, concat.gate_init) == (6, (3, 6), "both", 0.7)
    hybrid = matched_config("hybrid", reference)
    assert hybrid.attention_sites == (0, 1, 2, 4, 5, 7)
    assert hybrid.projector_width < reference.projector_width
    assert matched_config("additive", reference, {"gate_init": 0.1}) == additive_reference(
        tokens=5, placement="both", gate_init=0.1
    )


def test_a_finer_choice_of_layers_is_taken_where_ranks_are_too_coarse(backbone, additive_reference):
    options = SYSTEMS.load("data-only").backbone_options(backbone)
    coarse = matched_config("data-only", additive_reference(), options)
    assert coarse.targets == ("self_attn.q_proj", "self_attn.v_proj")
    large = matched_config("data-only", additive_reference(projector_width=200), options)
    assert len(large.targets) == 7
    chosen = matched_config("data-only", additive_reference(), {**options, "targets": ["mlp.up_proj"]})
    assert chosen.targets == ("mlp.up_proj",)


def test_unknown_options_are_refused(additive_reference):
    with pytest.raises(TypeError, match="colour"):
        matched_config("cross-attention", additive_reference(), {"colour": "red"})
    with pytest.raises(ConfigError, match="did you mean"):
        matched_config("crossattention", additive_reference())


@given(slope=st.integers(1, 1000), start=st.integers(0, 10_000), target=st.integers(1, 10**7))
def test_bisection_finds_the_smallest_size_that_reaches_the_target(slope, start, target):
    found = smallest_reaching(lambda size: start + slope * size, target)
    assert start + slope * found >= target
    assert found == 1 or start + slope * (found - 1) < target
