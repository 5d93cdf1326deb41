"""Several modalities in one system: any of them bound to a call, each as if it were alone, none as the bare backbone.

Shapes: B batch, S text positions, T frames, A encoder width.
"""

from __future__ import annotations

import pytest
import torch
from fusion_core.context import SomeClips
from fusion_core.errors import ConfigError
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import Additive
from fusion_core.systems.base import load_system
from fusion_core.systems.joint import Bound, Joint
from transformers import DynamicCache

TIGHT = {"rtol": 1e-4, "atol": 1e-4}
WIDTHS = {"audio": 12, "touch": 5, "video": 7}
SUBSETS = [(), ("audio",), ("video",), ("touch", "video"), ("audio", "touch", "video")]
KINDS = [{}, {"adapter": "modulated", "peak": True}, {"hears": "answer"}]


def make_clips(rows: int = 3) -> dict[str, Bound]:
    generator = torch.Generator().manual_seed(7)
    clips = {}
    for name, width in WIDTHS.items():
        mask_BT = torch.arange(9)[None] < torch.tensor([9, 5, 2])[:rows, None]
        x_BTA = torch.randn(rows, 9, width, generator=generator) * mask_BT[..., None]
        clips[name] = Bound(x_BTA, mask_BT)
    return clips


def one(clip: Bound, index: int) -> Bound:
    return Bound(clip.x_BTA[index : index + 1], clip.mask_BT[index : index + 1])


def choose(names: tuple[str, ...], clips: dict[str, Bound]) -> dict[str, Bound]:
    return {name: clips[name] for name in names}


def build(additive_reference, backbone, **options) -> Joint:
    members = {}
    for seed, (name, width) in enumerate(WIDTHS.items()):
        torch.manual_seed(seed)
        member = Additive(additive_reference(encoder_width=width, **options))
        member.calibrate(backbone)
        with torch.no_grad():
            for key, parameter in member.named_parameters():
                if "mixing" in key or key.endswith("adapter.text.weight"):
                    parameter.normal_(std=0.5)
        members[name] = member
    return Joint.of(members).eval()


@pytest.fixture(params=KINDS, ids=["linear", "modulated-peak", "answer-alone"])
def joint(request, additive_reference, backbone) -> Joint:
    system = build(additive_reference, backbone, **request.param)
    system.attach(backbone)
    yield system
    system.detach()


@pytest.fixture(name="ids_BS")
def make_ids(backbone) -> torch.Tensor:
    caption = backbone.tokenizer("A dog.", add_special_tokens=False)["input_ids"]
    return torch.tensor([[*backbone.prompt().ids, *caption]] * 3)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def logits(backbone, ids_BS, context, mask_BS=None):
    return backbone.logits(backbone.hidden(ids_BS, mask_BS, fusion=context))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_nothing_bound_it_is_the_backbone_to_the_bit(additive_reference, tiny, ids_BS, dtype):
    backbone = tiny("llama", dtype)
    keys, expected = list(backbone.model.state_dict()), backbone.model(ids_BS).logits
    system = build(additive_reference, backbone)
    system.attach(backbone)
    assert torch.equal(logits(backbone, ids_BS, system.bind_modalities({})), expected)
    everything = system.bind_modalities(make_clips())
    assert not torch.equal(logits(backbone, ids_BS, everything), expected)
    assert torch.equal(logits(backbone, ids_BS, None), expected)
    assert list(backbone.model.state_dict()) == keys
    system.detach()


@pytest.mark.parametrize("name", WIDTHS)
def test_one_modality_alone_computes_what_its_own_system_computes(joint, backbone, ids_BS, name):
    clip = make_clips()[name]
    member = joint.by_modality()[name]
    alone = Additive(member.config)
    alone.load_state_dict(member.state_dict())
    expected = logits(backbone, ids_BS, alone.eval().bind(clip.x_BTA, clip.mask_BT))
    assert torch.equal(logits(backbone, ids_BS, joint.bind_modalities({name: clip})), expected)
    if name == "audio":
        assert torch.equal(logits(backbone, ids_BS, joint.bind(clip.x_BTA, clip.mask_BT)), expected)


def test_each_modality_changes_what_is_said(joint, backbone, ids_BS):
    clips = make_clips()
    found = [logits(backbone, ids_BS, joint.bind_modalities(choose(names, clips))) for names in SUBSETS]
    for index, first in enumerate(found):
        for second in found[index + 1 :]:
            assert not torch.allclose(first, second, atol=1e-2)


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_cached_is_uncached(joint, backbone, ids_BS, names):
    context = joint.bind_modalities(choose(names, make_clips()))
    expected = logits(backbone, ids_BS, context)
    cache, found = DynamicCache(config=backbone.decoder.config), []
    first = len(backbone.prompt().ids)
    for start, stop in [(0, first), *[(at, at + 1) for at in range(first, ids_BS.shape[1])]]:
        mask_BS = torch.ones(3, stop, dtype=torch.long)
        hidden = backbone.hidden(ids_BS[:, start:stop], mask_BS, cache, context)
        found.append(backbone.logits(hidden))
    torch.testing.assert_close(torch.cat(found, dim=1), expected, **TIGHT)


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_batched_and_beam_expanded_are_single(joint, backbone, ids_BS, names):
    clips = choose(names, make_clips())
    batched = logits(backbone, ids_BS, joint.bind_modalities(clips))
    beams = logits(backbone, ids_BS.repeat_interleave(2, dim=0), joint.bind_modalities(clips))
    for index in range(3):
        alone = {name: one(clip, index) for name, clip in clips.items()}
        single = logits(backbone, ids_BS[:1], joint.bind_modalities(alone))
        torch.testing.assert_close(batched[index : index + 1], single, **TIGHT)
        torch.testing.assert_close(beams[2 * index : 2 * index + 2], single.expand(2, -1, -1), **TIGHT)


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_padding_on_the_left_changes_nothing(joint, backbone, ids_BS, names):
    context = joint.bind_modalities(choose(names, make_clips()))
    padded = torch.cat([torch.full((3, 4), backbone.pad_id), ids_BS], dim=1)
    mask_BS = torch.ones_like(padded)
    mask_BS[:, :4] = 0
    found = logits(backbone, padded, context, mask_BS)[:, 4:]
    torch.testing.assert_close(found, logits(backbone, ids_BS, context), **TIGHT)


def test_each_clip_may_lack_another_modality(joint, backbone, ids_BS):
    clips = make_clips()
    present = {"audio": [True, False, True], "video": [True, True, False], "touch": [False, False, False]}
    bound = {}
    for name, flags in present.items():
        present_B = torch.tensor(flags)
        bound[name] = Bound(clips[name].x_BTA[present_B], clips[name].mask_BT[present_B], present_B)
    mixed = logits(backbone, ids_BS, joint.bind_modalities(bound))
    beams = logits(backbone, ids_BS.repeat_interleave(2, dim=0), joint.bind_modalities(bound))
    for index in range(3):
        own = {name: one(clips[name], index) for name, flags in present.items() if flags[index]}
        expected = logits(backbone, ids_BS[:1], joint.bind_modalities(own))
        torch.testing.assert_close(mixed[index : index + 1], expected, **TIGHT)
        torch.testing.assert_close(beams[2 * index : 2 * index + 2], expected.expand(2, -1, -1), **TIGHT)


def test_a_clip_without_any_modality_is_the_backbone_to_the_bit(joint, backbone, ids_BS):
    clip = make_clips()["video"]
    present_B = torch.tensor([True, False, True])
    bound = {"video": Bound(clip.x_BTA[present_B], clip.mask_BT[present_B], present_B)}
    mixed = logits(backbone, ids_BS, joint.bind_modalities(bound))
    assert torch.equal(mixed[1], logits(backbone, ids_BS, None)[1])


@pytest.mark.parametrize("closed", WIDTHS)
def test_a_closed_modality_is_skipped_even_where_its_frames_are_nan(joint, backbone, ids_BS, closed):
    clips = make_clips()
    others = {name: clip for name, clip in clips.items() if name != closed}
    expected = logits(backbone, ids_BS, joint.bind_modalities(others))
    for name, parameter in joint.by_modality()[closed].named_parameters():
        if ".gate." in name:
            parameter.zero_()
    broken = Bound(clips[closed].x_BTA * float("nan"), clips[closed].mask_BT)
    assert torch.equal(logits(backbone, ids_BS, joint.bind_modalities({**clips, closed: broken})), expected)


@torch.enable_grad()
def test_a_step_trains_what_is_bound_and_not_frozen_and_nothing_else(joint, backbone, ids_BS):
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    old = {name: value.clone() for name, value in joint.named_parameters()}
    joint.by_modality()["audio"].requires_grad_(requires_grad=False)
    optimiser = torch.optim.AdamW([p for p in joint.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    context = joint.bind_modalities(choose(("audio", "video"), make_clips()))
    found = logits(backbone, ids_BS, context)
    torch.nn.functional.cross_entropy(found[:, :-1].flatten(0, 1), ids_BS[:, 1:].flatten()).backward()
    optimiser.step()
    moved = {name.split(".")[1] for name, value in joint.named_parameters() if not torch.equal(value, old[name])}
    assert moved == {"video"}
    unmoved = [n for n, v in joint.named_parameters() if n.startswith("members.video.") and torch.equal(v, old[n])]
    assert unmoved == []
    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())
    assert not any(key.startswith("projector") for key in joint.state_dict())


def test_frozen_members_are_not_counted_as_trained(joint):
    whole = sum(parameter.numel() for parameter in joint.parameters())
    assert sum(joint.parameter_table().values()) == whole
    audio = joint.by_modality()["audio"]
    audio.requires_grad_(requires_grad=False)
    assert sum(joint.parameter_table().values()) == whole - sum(p.numel() for p in audio.parameters())
    assert set(joint.gate_values()) == {f"{name}.{site}" for name in WIDTHS for site in (3, 6)}
    assert joint.first_site == 3


def test_saved_and_loaded_is_the_same(joint, backbone, ids_BS, tmp_path):
    clips = make_clips()
    expected = logits(backbone, ids_BS, joint.bind_modalities(clips))
    joint.save_pretrained(tmp_path)
    loaded = load_system(tmp_path).eval()
    assert isinstance(loaded, Joint)
    assert loaded.config == joint.config
    assert torch.equal(logits(backbone, ids_BS, loaded.bind_modalities(clips)), expected)


def test_what_cannot_stand_beside_others_is_refused(additive_reference, backbone):
    audio = Additive(additive_reference(encoder_width=12))
    with pytest.raises(ConfigError, match="placement"):
        Joint.of({"audio": audio, "video": Additive(additive_reference(encoder_width=7, placement="slots"))})
    with pytest.raises(ConfigError, match="differ in hears"):
        Joint.of({"audio": audio, "video": Additive(additive_reference(encoder_width=7, hears="answer"))})
    with pytest.raises(ConfigError, match="different backbones"):
        Joint.of({"audio": audio, "video": Additive(additive_reference(encoder_width=7, backbone_depth=9))})
    with pytest.raises(ConfigError, match="no modality 'smell'"):
        Joint.of({"audio": audio}).bind_modalities({"smell": make_clips()["audio"]})


def test_rows_that_cannot_be_shared_out_are_refused():
    class Same:
        def enter_block(self, block, h_BSD):
            return h_BSD

    with pytest.raises(ValueError, match="cannot be shared out"):
        SomeClips(Same(), torch.tensor([True, False])).enter_block(0, torch.zeros(3, 2, 4))


def test_it_is_loaded_by_name_and_not_offered_as_a_system_to_compare():
    assert "joint" not in SYSTEMS.names()
    assert SYSTEMS.load("joint") is Joint
