"""The contract of a fusion system (DESIGN §4): system × architecture × type × cache × beams.

Shapes: B batch, S text positions, T frames, A encoder width, V vocabulary.
"""

from __future__ import annotations

import pytest
import torch
from fusion_core.freeze import trainable_names
from fusion_core.systems.base import load_system
from transformers import DynamicCache

TIGHT = {"rtol": 1e-4, "atol": 1e-4}
STARTS_AS_THE_BACKBONE = ["cross-attention", "cross-attention-heads", "partial-unfreeze", "data-only"]


def clip(frames, index: int):
    x_BTA, mask_BT = frames
    return x_BTA[index : index + 1], mask_BT[index : index + 1]


def hears(fused) -> bool:
    return fused.system.projector is not None


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", STARTS_AS_THE_BACKBONE)
def test_before_training_it_is_the_backbone_bit_for_bit(form, dtype, architecture, fuse, tiny, frames):
    backbone = tiny(architecture, dtype)
    plain = fuse("additive-broadcast-gated-linear", backbone)
    ids_BS = plain.ids(3)
    expected = plain.bare(ids_BS)
    fused = fuse(form, backbone, fresh=True)
    assert torch.equal(fused.logits(ids_BS, frames), expected)
    with torch.enable_grad():  # in training a closed gate is computed, to learn from it
        assert torch.equal(fused.logits(ids_BS, frames), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_audio_the_frozen_backbone_answers_where_that_is_promised(one_form, dtype, fuse, tiny, frames):
    backbone = tiny("llama", dtype)
    ids_BS = torch.tensor([backbone.prompt().ids] * 3)
    expected = backbone.model(ids_BS).logits
    keys = list(backbone.model.state_dict())
    fused = fuse(one_form, backbone)
    with_audio = fused.logits(ids_BS, frames)
    assert not torch.equal(with_audio, expected)
    kept = torch.equal(fused.bare(ids_BS), expected) and torch.equal(backbone.model(ids_BS).logits, expected)
    assert kept is not fused.system.changes_backbone
    if not fused.system.changes_backbone:
        assert list(backbone.model.state_dict()) == keys
    fused.system.detach()
    assert list(backbone.model.state_dict()) == keys
    assert torch.equal(backbone.model(ids_BS).logits, expected)
    fused.system.attach(backbone)
    assert torch.equal(fused.logits(ids_BS, frames), with_audio)


def test_with_every_gate_at_zero_even_nan_audio_changes_nothing(form, fuse, backbone, frames):
    fused = fuse(form, backbone)
    if not hears(fused):
        return
    ids_BS = fused.ids(3)
    expected = fused.bare(ids_BS)
    for name, parameter in fused.system.named_parameters():
        if ".gate." in name:
            parameter.zero_()
    x_BTA, mask_BT = frames
    assert torch.equal(fused.logits(ids_BS, (x_BTA * float("nan"), mask_BT)), expected)


def test_audio_is_heard_by_all_but_the_blind_floor(fused, frames):
    ids_BS = fused.ids(3)
    logits = fused.logits(ids_BS, frames)
    if hears(fused):
        assert not torch.allclose(logits, fused.bare(ids_BS), atol=1e-2)
        assert not torch.allclose(logits[0], logits[1], atol=1e-3)
    else:
        assert torch.equal(logits, fused.bare(ids_BS))
        assert torch.equal(logits[0], logits[1])


def test_nothing_changes_below_the_first_site(form, fuse, backbone, frames):
    class Recorder:
        def __init__(self, inner):
            self.inner, self.seen = inner, {}

        def enter_block(self, block, h_BSD):
            self.seen[block] = h_BSD
            return h_BSD if self.inner is None else self.inner.enter_block(block, h_BSD)

    fused = fuse(form, backbone)
    ids_BS = fused.ids(3)
    bare, bound = Recorder(None), Recorder(fused.system.bind(*frames, fused.prompt.slot_index(ids_BS.shape[1])))
    for recorder in (bare, bound):
        backbone.hidden(ids_BS, fusion=recorder)
    same = [torch.equal(bare.seen[block], bound.seen[block]) for block in range(backbone.depth)]
    first = min(fused.system.residual_rms(), default=backbone.depth)
    # The first site's block is entered with the addition; the block after it is the first to see it.
    assert same == [block <= first for block in range(backbone.depth)]


@pytest.mark.parametrize("beams", [1, 3])
def test_cached_equals_uncached(fused, frames, beams):
    ids_BS = fused.ids(3 * beams)
    expected = fused.logits(ids_BS, frames)
    prompt = fused.prompt
    context = fused.system.bind(*frames, prompt.slot_index())
    cache = DynamicCache(config=fused.backbone.decoder.config)
    length = len(prompt.ids)
    pieces = [fused.hidden(ids_BS[:, :length], cache=cache, fusion=context)]
    for t in range(length, ids_BS.shape[1]):
        pieces.append(fused.hidden(ids_BS[:, t : t + 1], cache=cache, fusion=context))
    torch.testing.assert_close(fused.backbone.logits(torch.cat(pieces, dim=1)), expected, **TIGHT)


def test_batched_and_beam_expanded_equal_single(fused, frames):
    x_BTA, mask_BT = frames
    together = fused.logits(fused.ids(3), frames)
    expanded = fused.logits(fused.ids(6), (x_BTA[:2], mask_BT[:2]))
    for index in range(3):
        alone = fused.logits(fused.ids(1), clip(frames, index))
        torch.testing.assert_close(together[index : index + 1], alone, **TIGHT)
        if index < 2:
            for row in range(3 * index, 3 * index + 3):
                torch.testing.assert_close(expanded[row : row + 1], alone, **TIGHT)


def test_rows_that_are_no_multiple_of_the_clips_are_refused(form, fuse, backbone, frames):
    fused = fuse(form, backbone)
    if hears(fused):
        with pytest.raises(ValueError, match="5 sequences cannot be shared out over 3 clips"):
            fused.logits(fused.ids(5), frames)


def test_padded_frames_equal_unpadded(form, fuse, backbone, frames):
    fused = fuse(form, backbone)
    ids_BS = fused.ids(1)
    for index, length in enumerate((9, 5, 2)):
        x_1TA, mask_1T = clip(frames, index)
        garbage = x_1TA.masked_fill(~mask_1T[..., None], 7.0)
        padded = fused.logits(ids_BS, (garbage, mask_1T))
        assert torch.equal(padded, fused.logits(ids_BS, (x_1TA[:, :length], mask_1T[:, :length])))


def test_left_padded_text_equals_unpadded(fused, frames):
    ids_BS = fused.ids(1)
    length, padding = ids_BS.shape[1], 5
    padded = torch.cat([torch.full((1, padding), fused.backbone.pad_id), ids_BS], dim=1)
    mask_BS = (torch.arange(padded.shape[1]) >= padding).long()[None]
    slots_BS = fused.prompt.slot_index(length)
    if slots_BS is not None:
        slots_BS = torch.cat([torch.full((1, padding), -1), slots_BS], dim=1)
    left = fused.logits(padded, clip(frames, 0), mask_BS, slots_BS)
    torch.testing.assert_close(left[:, padding:], fused.logits(ids_BS, clip(frames, 0)), **TIGHT)


def test_in_bf16_it_computes_what_it_computes_in_fp32(one_form, fuse, tiny, frames):
    wide = fuse(one_form, tiny("llama"))
    expected = wide.logits(wide.ids(3), frames)
    wide.system.detach()
    narrow = fuse(one_form, tiny("llama", torch.bfloat16))
    narrow.system.load_state_dict(wide.system.state_dict())
    logits = narrow.logits(narrow.ids(3), frames)
    assert logits.dtype == torch.bfloat16
    assert all(parameter.dtype == torch.float32 for parameter in narrow.system.parameters())
    assert torch.nn.functional.cosine_similarity(logits.float().flatten(), expected.flatten(), dim=0) > 0.999


@torch.enable_grad()
def test_a_step_trains_every_parameter_and_leaves_the_frozen_weights_alone(fused, frames):
    backbone, system = fused.backbone, fused.system
    system.detach()
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    old = {name: parameter.clone() for name, parameter in system.named_parameters()}
    system.attach(backbone)
    optimiser = torch.optim.AdamW(system.parameters(), lr=1e-2)
    ids_BS = fused.ids(3)
    loss = torch.nn.functional.cross_entropy(
        fused.logits(ids_BS, frames)[:, :-1].flatten(0, 1), ids_BS[:, 1:].flatten()
    )
    loss.backward()
    optimiser.step()
    lower = torch.nn.functional.cross_entropy(
        fused.logits(ids_BS, frames)[:, :-1].flatten(0, 1), ids_BS[:, 1:].flatten()
    )
    assert lower < loss
    system.detach()
    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())
    assert not [name for name, parameter in system.named_parameters() if torch.equal(parameter, old[name])]
    assert trainable_names(backbone.model) == []


@torch.enable_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_with_checkpointing_equal_those_without(one_form, dtype, fuse, tiny, frames):
    backbone = tiny("llama", dtype)
    fused = fuse(one_form, backbone)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            backbone.model.activation_checkpointing_enable({"use_reentrant": False})
            backbone.model.train()
        fused.logits(fused.ids(3), frames).float().logsumexp(-1).sum().backward()
        backbone.model.activation_checkpointing_disable()
        backbone.model.eval()
        gradients.append({name: parameter.grad for name, parameter in fused.system.named_parameters()})
        fused.system.zero_grad(set_to_none=True)
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, msg=name)
        assert expected.dtype == torch.float32


@torch.enable_grad()
def test_gradients_agree_with_finite_differences(form, fuse, tiny, frames):
    fused = fuse(form, tiny("llama", torch.float64))
    system = fused.system.double()
    ids_BS = fused.ids(3)
    frames = frames[0].double(), frames[1]

    def loss() -> torch.Tensor:
        return fused.logits(ids_BS, frames)[:, -1].logsumexp(-1).sum()

    loss().backward()
    # The backbone's norms compute in fp32, in which a smaller step drowns; a larger one leaps over the kinks of a peak.
    step = 1e-3 if getattr(system.config, "peak", False) else 3e-3
    names = [name for name, _ in system.named_parameters()]
    for name in {*names[:: max(1, len(names) // 6)], names[-1]}:
        parameter = system.get_parameter(name)
        flat = parameter.data.view(-1)
        index = int(parameter.grad.abs().argmax())
        slope = float(parameter.grad.view(-1)[index])
        flat[index] += step
        with torch.no_grad():
            high = loss()
            flat[index] -= 2 * step
            low = loss()
        flat[index] += step
        assert float(high - low) / (2 * step) == pytest.approx(slope, rel=2e-2, abs=2e-4), name


def test_saved_and_loaded_is_the_same(fused, frames, tmp_path):
    system = fused.system
    if system.projector is not None:
        system.projector.set_statistics(torch.randn(12), torch.rand(12) + 0.5)
    ids_BS = fused.ids(3)
    expected = fused.logits(ids_BS, frames)
    system.save_pretrained(tmp_path)
    system.detach()
    loaded = type(system).from_pretrained(tmp_path).eval()
    assert type(load_system(tmp_path)) is type(system)
    assert loaded.config == system.config
    assert loaded.adapter_bytes() == system.adapter_bytes()
    fused.system = loaded
    loaded.attach(fused.backbone)
    try:
        assert torch.equal(fused.logits(ids_BS, frames), expected)
    finally:
        loaded.detach()


def test_parts_count_every_parameter_once(form, fuse, backbone):
    fused = fuse(form, backbone)
    table = fused.system.parameter_table()
    assert sum(table.values()) == sum(parameter.numel() for parameter in fused.system.parameters())
    gates = fused.system.gate_values()
    assert table.get("gates", 0) == len(gates)
    assert float(fused.system.penalty()) == pytest.approx(sum(gate**2 for gate in gates.values()), rel=1e-6)
    assert sum(parameter.numel() for parameter in fused.system.parameters()) == sum(
        value.numel()
        for name, value in fused.system.state_dict().items()
        if not name.endswith((".rho", "mean_A", "deviation_A"))
    )
