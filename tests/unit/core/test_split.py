"""A decoder cut in two, a prompt read once, and the peak of the audio tokens: what makes training cheap and sharp."""

from __future__ import annotations

import pytest
import torch
from fusion_core.context import HeardFrom
from fusion_core.prompt_head import PromptHead
from fusion_core.split import SplitDecoder
from transformers import DynamicCache


@pytest.mark.parametrize("block", [1, 4, 7])
def test_the_halves_are_the_whole(tiny, architecture, block):
    backbone = tiny(architecture)
    ids_BS = torch.arange(24).view(2, 12)
    mask_BS = torch.ones_like(ids_BS)
    mask_BS[1, 9:] = 0
    split = SplitDecoder(backbone, block)
    stream_BSD = split.stream(ids_BS, mask_BS)
    real_BS = mask_BS.bool()
    torch.testing.assert_close(
        split.hidden(stream_BSD, mask_BS)[real_BS], backbone.hidden(ids_BS, mask_BS)[real_BS], rtol=1e-5, atol=1e-5
    )


def test_the_stream_of_what_follows_is_computed_from_the_keys_and_values_before(tiny, architecture):
    backbone = tiny(architecture)
    ids_BS = torch.arange(24).view(2, 12)
    split = SplitDecoder(backbone, 4)
    cache = DynamicCache(config=backbone.decoder.config)
    first = split.stream(ids_BS[:, :7], cache=cache)
    rest = split.stream(ids_BS[:, 7:], torch.ones_like(ids_BS), cache)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), split.stream(ids_BS), rtol=1e-5, atol=1e-5)


def test_a_system_acts_the_same_above_the_cut(tiny, architecture, fuse, frames):
    backbone = tiny(architecture)
    system = fuse("additive-peak", backbone).system
    context = system.bind(*frames)
    ids_BS = torch.arange(36).view(3, 12)
    split = SplitDecoder(backbone, system.first_site)
    expected = backbone.hidden(ids_BS, fusion=context)
    assert not torch.allclose(expected, backbone.hidden(ids_BS), atol=1e-3)
    torch.testing.assert_close(split.hidden(split.stream(ids_BS), fusion=context), expected, rtol=1e-5, atol=1e-5)


def test_a_head_read_once_is_a_head_that_does_not_hear(tiny, architecture, fuse, frames):
    backbone = tiny(architecture)
    system = fuse("additive-answer-alone", backbone).system
    prompt = system.prompt(backbone)
    assert (prompt.head, prompt.rest) == (prompt.ids[:-1], prompt.ids[-1:])
    context = system.bind(*frames)
    caption_BS = torch.arange(12).view(3, 4) + 40
    whole_BS = torch.cat([torch.tensor([prompt.ids] * 3), caption_BS], dim=1)
    expected = backbone.hidden(whole_BS, fusion=HeardFrom(context, prompt.unheard))[:, prompt.unheard :]
    rest_BS = torch.cat([torch.tensor([prompt.rest] * 3), caption_BS], dim=1)
    head = PromptHead(backbone, prompt, frozen=True)
    for _ in range(2):  # the second batch finds it read
        found = backbone.hidden(rest_BS, cache=head.past(3), fusion=context)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(backbone.hidden(whole_BS, fusion=context)[:, prompt.unheard :], expected, atol=1e-3)


def test_a_prompt_that_is_heard_has_no_head(backbone, fuse):
    system = fuse("additive-broadcast-gated-linear", backbone).system
    assert system.prompt(backbone).unheard == 0
    assert PromptHead(backbone, system.prompt(backbone), frozen=True).past(2) is None


@pytest.mark.parametrize("form", ["additive-peak", "additive-answer-alone", "concat-peak"])
def test_the_peak_adds_each_channels_largest_value_to_every_token(form, backbone, fuse, frames):
    system = fuse(form, backbone, fresh=True).system
    tokens_BKP = system.projector(*frames)
    for site in system.sites.values():
        bare = site.adapter.values(tokens_BKP)
        torch.testing.assert_close(site.values(tokens_BKP), bare + bare.max(dim=1, keepdim=True).values)
        with torch.no_grad():
            site.peak.zero_()
        torch.testing.assert_close(site.values(tokens_BKP), bare)
