"""The contract of a fusion system (DESIGN §4), for the additive system in each of its forms.

Shapes: B batch, S text positions, T frames, A encoder width, V vocabulary.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from fusion_core.backbone import Backbone
from fusion_core.context import expand_to_beams
from fusion_core.freeze import trainable_names
from fusion_core.pretrained import load_backbone
from fusion_core.systems.additive import Additive
from fusion_core.systems.base import load_system
from transformers import DynamicCache, LlamaForCausalLM

_spec = importlib.util.spec_from_file_location("core_conftest", Path(__file__).with_name("conftest.py"))
_helpers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_helpers)
make_system = _helpers.make_system

CAPTION = "A dog barks twice"
TIGHT = {"rtol": 1e-4, "atol": 1e-4}


def bound_logits(backbone: Backbone, system: Additive, ids_BS, frames, mask_BS=None, slots=None) -> torch.Tensor:
    context = system.bind(
        *frames, slots if slots is not None else prompt_of(backbone, system).slot_index(ids_BS.shape[1])
    )
    return backbone.logits(backbone.hidden(ids_BS, mask_BS, fusion=context))


def prompt_of(backbone: Backbone, system: Additive):
    return backbone.prompt(slots=system.slots)


def sequence(backbone: Backbone, system: Additive, rows: int) -> torch.Tensor:
    caption = backbone.tokenizer(CAPTION, add_special_tokens=False)["input_ids"]
    return torch.tensor([[*prompt_of(backbone, system).ids, *caption]] * rows)


def clip(frames, index: int):
    x_BTA, mask_BT = frames
    return x_BTA[index : index + 1], mask_BT[index : index + 1]


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_audio_the_untouched_backbone_answers_bit_for_bit(dtype):
    backbone = load_backbone("tiny-random", dtype)
    untouched = LlamaForCausalLM(backbone.model.config).to(dtype)
    untouched.load_state_dict(backbone.model.state_dict())
    untouched.set_attn_implementation(backbone.model.config._attn_implementation)
    assert set(backbone.model.state_dict()) == set(untouched.state_dict())
    system = make_system(backbone)
    ids_BS = sequence(backbone, system, 2)
    frames = torch.ones(2, 5, _helpers.ENCODER_WIDTH), torch.ones(2, 5, dtype=torch.bool)
    expected = untouched(ids_BS).logits
    assert not torch.equal(bound_logits(backbone, system, ids_BS, frames), expected)
    # ... and a call with audio leaves nothing behind.
    assert torch.equal(backbone.logits(backbone.hidden(ids_BS)), expected)
    assert torch.equal(backbone.model(ids_BS).logits, expected)


def test_with_every_gate_at_zero_even_nan_audio_changes_nothing(backbone, system, frames):
    ids_BS = sequence(backbone, system, 3)
    expected = backbone.logits(backbone.hidden(ids_BS))
    for site in system.sites.values():
        site.gate.alpha.zero_()
    x_BTA, mask_BT = frames
    assert torch.equal(bound_logits(backbone, system, ids_BS, (x_BTA * float("nan"), mask_BT)), expected)


def test_audio_is_heard(backbone, system, frames):
    ids_BS = sequence(backbone, system, 3)
    logits = bound_logits(backbone, system, ids_BS, frames)
    assert not torch.allclose(logits, backbone.logits(backbone.hidden(ids_BS)), atol=1e-2)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_nothing_changes_below_the_first_site(backbone, system, frames):
    class Recorder:
        def __init__(self, inner):
            self.inner, self.seen = inner, {}

        def enter_block(self, block, h_BSD):
            self.seen[block] = h_BSD
            return h_BSD if self.inner is None else self.inner.enter_block(block, h_BSD)

    ids_BS = sequence(backbone, system, 3)
    slots = prompt_of(backbone, system).slot_index(ids_BS.shape[1])
    bare, fused = Recorder(None), Recorder(system.bind(*frames, slots))
    for recorder in (bare, fused):
        backbone.hidden(ids_BS, fusion=recorder)
    same = [torch.equal(bare.seen[block], fused.seen[block]) for block in range(backbone.depth)]
    assert same == [True] * 4 + [False] * 4  # block 3 is entered with the addition, block 4 is the first to see it


def test_cached_equals_uncached(backbone, system, frames):
    ids_BS = sequence(backbone, system, 3)
    expected = bound_logits(backbone, system, ids_BS, frames)
    prompt = prompt_of(backbone, system)
    context = system.bind(*frames, prompt.slot_index())
    cache = DynamicCache(config=backbone.decoder.config)
    length = len(prompt.ids)
    pieces = [backbone.hidden(ids_BS[:, :length], cache=cache, fusion=context)]
    pieces += [
        backbone.hidden(ids_BS[:, t : t + 1], cache=cache, fusion=context) for t in range(length, ids_BS.shape[1])
    ]
    torch.testing.assert_close(backbone.logits(torch.cat(pieces, dim=1)), expected, **TIGHT)


def test_batched_equals_single(backbone, system, frames):
    ids_BS = sequence(backbone, system, 3)
    together = bound_logits(backbone, system, ids_BS, frames)
    for index in range(3):
        alone = bound_logits(backbone, system, ids_BS[:1], clip(frames, index))
        torch.testing.assert_close(together[index : index + 1], alone, **TIGHT)


def test_beam_expanded_equals_single(backbone, system, frames):
    ids_BS = sequence(backbone, system, 6)
    x_BTA, mask_BT = frames
    expanded = bound_logits(backbone, system, ids_BS, (x_BTA[:2], mask_BT[:2]))
    for row in range(6):
        alone = bound_logits(backbone, system, ids_BS[:1], clip(frames, row // 3))
        torch.testing.assert_close(expanded[row : row + 1], alone, **TIGHT)


def test_rows_that_are_no_multiple_of_the_clips_are_refused():
    with pytest.raises(ValueError, match="5 sequences cannot be shared out over 2 clips"):
        expand_to_beams(torch.zeros(2, 1), 5)


def test_padded_frames_equal_unpadded(backbone, system, frames):
    ids_BS = sequence(backbone, system, 1)
    for index, length in enumerate((9, 5, 2)):
        x_1TA, mask_1T = clip(frames, index)
        garbage = x_1TA.masked_fill(~mask_1T[..., None], 7.0)
        padded = bound_logits(backbone, system, ids_BS, (garbage, mask_1T))
        unpadded = bound_logits(backbone, system, ids_BS, (x_1TA[:, :length], mask_1T[:, :length]))
        assert torch.equal(padded, unpadded)


def test_left_padded_text_equals_unpadded(backbone, system, frames):
    ids_BS = sequence(backbone, system, 1)
    length = ids_BS.shape[1]
    padding = 5
    padded = torch.cat([torch.full((1, padding), backbone.pad_id), ids_BS], dim=1)
    mask_BS = (torch.arange(padded.shape[1]) >= padding).long()[None]
    slots = prompt_of(backbone, system).slot_index(length)
    if slots is not None:
        slots = torch.cat([torch.full((1, padding), -1), slots], dim=1)
    left = bound_logits(backbone, system, padded, clip(frames, 0), mask_BS, slots)
    plain = bound_logits(backbone, system, ids_BS, clip(frames, 0))
    torch.testing.assert_close(left[:, padding:], plain, **TIGHT)


def test_exactly_these_parameters_train(backbone):
    names = trainable_names(make_system(backbone))
    sites = [
        f"sites.{site}.{name}"
        for site in (3, 6)
        for name in ("gate.alpha", "mixing.vectors", "mixing.bias", "adapter.outward.weight")
    ]
    projector = ["positions", "inner.weight", "inner.bias", "outer.weight", "outer.bias", "norm.weight", "norm.bias"]
    assert sorted(names) == sorted([*(f"projector.{name}" for name in projector), *sites])
    assert trainable_names(backbone.model) == []


def test_parts_count_every_parameter_once(backbone, system):
    table = system.parameter_table()
    assert sum(table.values()) == sum(parameter.numel() for parameter in system.parameters())
    assert table["gates"] == 2


def test_matched_width_of_the_modulated_adapter(backbone):
    linear = make_system(backbone, adapter="linear").parameter_table()["adapters"]
    modulated = make_system(backbone, adapter="modulated").parameter_table()["adapters"]
    assert 0.9 <= modulated / linear <= 1.1


@torch.enable_grad()
def test_a_step_trains_every_parameter_and_leaves_the_backbone_alone(backbone, system, frames):
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    old = {name: parameter.clone() for name, parameter in system.named_parameters()}
    optimiser = torch.optim.AdamW(system.parameters(), lr=1e-2)
    ids_BS = sequence(backbone, system, 3)
    loss = torch.nn.functional.cross_entropy(
        bound_logits(backbone, system, ids_BS, frames)[:, :-1].flatten(0, 1), ids_BS[:, 1:].flatten()
    )
    loss.backward()
    optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())
    assert not [name for name, parameter in system.named_parameters() if torch.equal(parameter, old[name])]


@torch.enable_grad()
def test_gradients_with_checkpointing_equal_those_without(backbone, frames):
    gradients = []
    for checkpointing in (False, True):
        system = make_system(backbone)
        ids_BS = sequence(backbone, system, 3)
        if checkpointing:
            backbone.model.activation_checkpointing_enable({"use_reentrant": False})
            backbone.model.train()
        bound_logits(backbone, system, ids_BS, frames).logsumexp(-1).sum().backward()
        backbone.model.activation_checkpointing_disable()
        backbone.model.eval()
        gradients.append({name: parameter.grad for name, parameter in system.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, msg=name)


@torch.enable_grad()
def test_gradients_agree_with_finite_differences(backbone, system, frames):
    wide = load_backbone("tiny-random", torch.float64)
    system = system.double()
    ids_BS = sequence(wide, system, 3)
    frames = frames[0].double(), frames[1]

    def loss() -> torch.Tensor:
        return bound_logits(wide, system, ids_BS, frames)[:, -1].logsumexp(-1).sum()

    loss().backward()
    for name in ("sites.3.gate.alpha", "projector.inner.weight", "sites.6.adapter.outward.weight"):
        parameter = system.get_parameter(name)
        flat, step = parameter.data.view(-1), 3e-3  # the backbone's norms compute in fp32: a smaller step drowns in it
        index = int(parameter.grad.abs().argmax())
        flat[index] += step
        with torch.no_grad():
            high = loss()
            flat[index] -= 2 * step
            low = loss()
        flat[index] += step
        measured = float(high - low) / (2 * step)
        assert measured == pytest.approx(float(parameter.grad.view(-1)[index]), rel=1e-2), name


def test_saved_and_loaded_is_the_same(backbone, system, frames, tmp_path):
    system.set_statistics(torch.randn(_helpers.ENCODER_WIDTH), torch.rand(_helpers.ENCODER_WIDTH) + 0.5)
    system.save_pretrained(tmp_path)
    loaded = Additive.from_pretrained(tmp_path).eval()
    assert type(load_system(tmp_path)) is Additive
    assert loaded.config == system.config
    assert loaded.adapter_bytes() == system.adapter_bytes()
    ids_BS = sequence(backbone, system, 3)
    assert torch.equal(bound_logits(backbone, loaded, ids_BS, frames), bound_logits(backbone, system, ids_BS, frames))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.safetensors", "config.json"]


def test_alpha_is_the_size_of_the_addition_relative_to_the_stream(backbone):
    system = make_system(backbone, alpha=0.2, placement="broadcast")
    rho = system.residual_rms()
    for site in (3, 6):
        h_BSD = torch.zeros(1, 4, backbone.width)
        values = torch.nn.functional.normalize(torch.randn(1, 1, backbone.width), dim=-1).expand(1, 4, -1)
        added = system.sites[str(site)](h_BSD, values, None)
        assert added.square().mean(-1).sqrt() == pytest.approx(0.2 * rho[site], rel=1e-4)


def test_rho_is_the_median_of_the_stream_without_the_sink(backbone):
    stream = backbone.model(torch.tensor([backbone.prompt().ids]), output_hidden_states=True).hidden_states
    for site, rho in backbone.residual_rms((3, 6), backbone.prompt()).items():
        expected = stream[site][0, 1:].square().mean(-1).sqrt().median()
        assert rho == pytest.approx(float(expected), rel=1e-6)
