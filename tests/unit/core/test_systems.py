"""What is particular to each system: the names of what trains, its equation, its attachment."""

from __future__ import annotations

import math

import pytest
import torch
from fusion_core.context import AdditionMeter
from fusion_core.errors import ConfigError
from fusion_core.freeze import trainable_names
from fusion_core.gates import normalise_state
from torch.nn import functional

PROJECTOR = [
    f"projector.{name}"
    for name in ("positions", "inner.weight", "inner.bias", "outer.weight", "outer.bias", "norm.weight", "norm.bias")
]
GATED = ("gate.alpha", "mixing.vectors", "mixing.bias")
ATTENTION = ("gate.opening", "query.weight", "key.weight", "value.weight", "outward.weight")
LLAMA_BLOCK = [
    *(f"self_attn.{name}_proj.weight" for name in "qkvo"),
    *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
]
LLAMA_LINEAR = [name.removesuffix(".weight") for name in LLAMA_BLOCK if "proj" in name]


def sited(blocks, names) -> list[str]:
    return [f"sites.{block}.{name}" for block in blocks for name in names]


EXPECTED = {
    "additive-broadcast-gated-linear": [*PROJECTOR, *sited((3, 6), (*GATED, "adapter.outward.weight"))],
    "concat": [*PROJECTOR, *sited((3, 6), (*GATED, "adapter.inward.weight", "adapter.outward.weight"))],
    "cross-attention": [*PROJECTOR, *sited(range(8), ATTENTION)],
    "hybrid": [
        *PROJECTOR,
        *sited((3, 6), (*GATED, "adapter.outward.weight")),
        *sited((0, 1, 2, 4, 5, 7), ATTENTION),
    ],
    "partial-unfreeze": [
        *PROJECTOR,
        *sited(range(8), ATTENTION),
        *(f"blocks.{block}.{name}" for block in (4, 5, 6, 7) for name in LLAMA_BLOCK),
    ],
    "data-only": [f"lora.{block}.{layer}.{matrix}" for block in range(8) for layer in LLAMA_LINEAR for matrix in "AB"],
}


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def test_exactly_these_parameters_train(one_form, fuse, backbone):
    fused = fuse(one_form, backbone)
    assert sorted(trainable_names(fused.system)) == sorted(EXPECTED[one_form])
    of_the_system = {id(parameter) for parameter in fused.system.parameters()}
    assert all(id(p) in of_the_system for p in backbone.model.parameters() if p.requires_grad)


def test_alpha_is_the_size_of_the_addition_relative_to_the_stream(fuse, backbone):
    for form in ("additive-broadcast-gated-linear", "additive-broadcast-gated-modulated", "concat"):
        system = fuse(form, backbone, gate_init=0.2).system
        h_BSD = torch.randn(1, 4, backbone.width)
        for block, site in system.sites_by_block().items():
            one_token = system.projector.norm(torch.randn(1, 1, 24)).expand(1, 4, -1)
            added = site(h_BSD, site.values(one_token), None) - h_BSD
            expected = 0.2 * system.residual_rms()[block]
            assert added.square().mean(-1).sqrt().flatten().tolist() == pytest.approx([expected] * 4, rel=1e-3)


def test_rho_is_the_median_of_the_stream_without_the_sink(backbone):
    stream = backbone.model(torch.tensor([backbone.prompt().ids]), output_hidden_states=True).hidden_states
    for site, rho in backbone.residual_rms((3, 6), backbone.prompt()).items():
        expected = stream[site][0, 1:].square().mean(-1).sqrt().median()
        assert rho == pytest.approx(float(expected), rel=1e-6)


def test_matched_width_of_the_modulated_adapter(fuse, backbone):
    linear = fuse("additive-broadcast-gated-linear", backbone).system.parameter_table()["adapters"]
    modulated = fuse("additive-broadcast-gated-modulated", backbone).system.parameter_table()["adapters"]
    assert 0.9 <= modulated / linear <= 1.1


def test_cross_attention_is_its_equation(fuse, backbone):
    site = fuse("cross-attention", backbone).system.sites_by_block()[2]
    h_BSD, z_BKP = torch.randn(2, 5, 32), torch.randn(2, 4, 24)
    query, key, value = site.query(normalise_state(h_BSD)), site.key(z_BKP), site.value(z_BKP)
    weights = (query @ key.transpose(1, 2) / math.sqrt(4)).softmax(dim=-1)
    expected = h_BSD + site.gate.opening.tanh() * site.rho * site.outward(weights @ value)
    torch.testing.assert_close(site(h_BSD, site.values(z_BKP), None), expected)


def test_heads_attend_apart(fuse, backbone):
    site = fuse("cross-attention-heads", backbone).system.sites_by_block()[2]
    h_BSD, z_BKP = torch.randn(1, 5, 32), torch.randn(1, 4, 24)
    query, key, value = site.query(normalise_state(h_BSD)), site.key(z_BKP), site.value(z_BKP)
    heads = []
    for head in range(3):
        part = slice(2 * head, 2 * head + 2)
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(2)).softmax(dim=-1)
        heads.append(weights @ value[..., part])
    expected = site.outward(torch.cat(heads, dim=-1))
    torch.testing.assert_close(site.addition(h_BSD, site.values(z_BKP), None), expected)


def test_attention_to_normal_tokens_adds_a_stream_of_size_one_at_the_start(fuse, backbone):
    site = fuse("cross-attention", backbone, fresh=True, width=256).system.sites_by_block()[2]
    added = site.addition(torch.randn(50, 1, 32), site.values(torch.randn(50, 1, 24)), None)
    assert float(added.square().mean().sqrt()) == pytest.approx(1.0, abs=0.15)


def test_concatenation_is_its_equation(fuse, backbone):
    system = fuse("concat", backbone).system
    site = system.sites_by_block()[3]
    h_BSD, z_BKP = torch.randn(2, 5, 32), torch.randn(2, 4, 24)
    weights = site.mixing(normalise_state(h_BSD))
    rms = h_BSD / h_BSD.square().mean(-1, keepdim=True).sqrt()
    joined = torch.cat([rms, weights @ z_BKP], dim=-1)
    direction = functional.normalize(site.adapter.outward(functional.gelu(site.adapter.inward(joined))), dim=-1)
    expected = h_BSD + site.gate.alpha * site.rho * math.sqrt(32) * direction
    torch.testing.assert_close(site(h_BSD, site.values(z_BKP), None), expected, rtol=1e-4, atol=1e-5)


def test_the_hybrid_is_the_additive_system_where_its_attention_is_closed(fuse, backbone, frames):
    hybrid, additive = fuse("hybrid", backbone), fuse("additive-broadcast-gated-linear", backbone)
    state = hybrid.system.state_dict()
    additive.system.load_state_dict({name: state[name] for name in additive.system.state_dict()})
    for name, parameter in hybrid.system.named_parameters():
        if name.endswith("opening"):
            parameter.zero_()
    ids_BS = hybrid.ids(3)
    assert torch.equal(hybrid.logits(ids_BS, frames), additive.logits(ids_BS, frames))
    with pytest.raises(ConfigError, match=r"share \[3\]"):
        fuse("hybrid", backbone, attention_sites=(2, 3))


def test_directions_are_what_a_neutral_text_state_is_given(fuse, backbone, frames):
    for form in ("additive-broadcast-gated-linear", "concat", "cross-attention", "hybrid"):
        system = fuse(form, backbone, fresh=True).system
        directions = system.directions(*frames)
        z_BKP = system.projector(*frames)
        neutral_BSD = torch.zeros(3, 1, backbone.width)
        for (block, site), direction_BD in zip(system.sites_by_block().items(), directions, strict=True):
            added_BSD = site.addition(neutral_BSD, site.values(z_BKP), None)
            torch.testing.assert_close(added_BSD[:, 0], direction_BD, msg=f"{form} {block}")
    assert fuse("data-only", backbone).system.directions(*frames) == []


def test_two_systems_cannot_be_attached_to_one_backbone(fuse, backbone, frames):
    first = fuse("data-only", backbone)
    for form in ("partial-unfreeze", "additive-broadcast-gated-linear"):
        with pytest.raises(ConfigError, match="attached to 'data-only'; detach that system first"):
            fuse(form, backbone)
    first.system.attach(backbone)
    first.system.detach()
    first.system.detach()
    second = fuse("partial-unfreeze", backbone)
    with pytest.raises(ConfigError, match="attached to 'partial-unfreeze'"):
        first.system.attach(backbone)
    with pytest.raises(ConfigError, match="'data-only' is not attached"):
        first.system.bind(*frames)
    assert second.system.bind(*frames)


def test_a_system_is_attached_to_one_backbone_and_only_to_the_kind_it_was_made_for(fuse, tiny, frames):
    system = fuse("partial-unfreeze", tiny("llama")).system
    with pytest.raises(ConfigError, match="attached to another backbone"):
        system.attach(tiny("qwen2"))
    system.detach()
    with pytest.raises(ConfigError, match="not of the shape"):
        system.attach(tiny("qwen2"))
    fuse("additive-broadcast-gated-linear", tiny("qwen2"))  # a failed attachment leaves the backbone free
    with pytest.raises(ConfigError, match="not attached"):
        system.bind(*frames)


def test_trained_blocks_are_followed_while_decoding(fuse, tiny, frames):
    """Without gradients the cast to bf16 is kept between calls; a change of the weights must reach the next call."""
    fused = fuse("partial-unfreeze", tiny("llama", torch.bfloat16))
    ids_BS = fused.ids(3)
    before = fused.logits(ids_BS, frames)
    state = {name: value.clone() for name, value in fused.system.state_dict().items()}
    fused.system.get_parameter("blocks.7.mlp.down_proj.weight").mul_(1.5)
    assert not torch.equal(fused.logits(ids_BS, frames), before)
    fused.system.load_state_dict(state)
    assert torch.equal(fused.logits(ids_BS, frames), before)


@pytest.mark.parametrize("architecture", ["llama", "gpt-neox"])
def test_low_rank_adapters_load_with_peft(architecture, fuse, tiny, frames, tmp_path):
    from peft import PeftModel

    backbone = tiny(architecture)
    fused = fuse("data-only", backbone)
    ids_BS = fused.ids(2)
    expected = fused.bare(ids_BS)
    fused.system.save_pretrained(tmp_path)
    fused.system.detach()
    untouched = backbone.model(ids_BS).logits
    theirs = PeftModel.from_pretrained(backbone.model, tmp_path)
    try:
        torch.testing.assert_close(theirs(ids_BS).logits, expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(untouched, expected, atol=1e-2)
    finally:
        theirs.unload()
    assert torch.equal(backbone.model(ids_BS).logits, untouched)


def test_the_meter_measures_and_changes_nothing(fuse, backbone, frames):
    fused = fuse("additive-broadcast-static-linear", backbone)
    ids_BS = fused.ids(3)
    mask_BS = torch.ones_like(ids_BS)
    mask_BS[:, -4:] = 0
    plain = backbone.hidden(ids_BS, mask_BS, fusion=fused.system.bind(*frames))
    meter = AdditionMeter(fused.system.bind(*frames), mask_BS)
    assert torch.equal(backbone.hidden(ids_BS, mask_BS, fusion=meter), plain)
    assert list(meter.ratios()) == [3, 6]
    for ratio in meter.ratios().values():
        assert 0.03 < ratio < 1.0  # α is 0.3 for a stream of the median size, and the sum of unit vectors is shorter


def test_the_meter_knows_the_ratio_of_one_addition_and_leaves_untouched_positions_out(backbone):
    class Double:
        def enter_block(self, block, h_BSD):
            return h_BSD + h_BSD * torch.tensor([0.0, 1.0, 2.0, 3.0, 0.0])[:, None] if block == 5 else h_BSD

    meter = AdditionMeter(Double(), torch.tensor([[1, 1, 1, 0, 1]]))
    for block in range(8):
        meter.enter_block(block, torch.ones(1, 5, 4))
    assert meter.ratios() == {5: 1.0}  # of 1 and 2 the lower median


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("cross-attention", {"width": 5, "heads": 2}, "multiple of heads"),
        ("cross-attention", {"gate_init": 1.0}, "between -1 and 1"),
        ("cross-attention", {"sites": (9,)}, "from 0 to 7"),
        ("concat", {"width": -1}, "width must be at least 1"),
        ("partial-unfreeze", {"unfrozen": 9}, "from 1 to 8"),
        ("data-only", {"targets": ("mlp.nonsense",)}, "mlp.nonsense"),
        ("hybrid", {"attention_width": 3, "attention_heads": 2}, "multiple of attention_heads"),
    ],
)
def test_wrong_settings_are_refused_when_they_are_made(form, options, message, fuse, backbone):
    with pytest.raises(ConfigError, match=message):
        fuse(form, backbone, **options)
