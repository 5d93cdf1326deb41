"""Attention without copies of what query heads share: transformers' plain attention, a row at a time if one likes."""

from __future__ import annotations

import pytest
import torch
from fusion_core.attention import GROUPED, attention, grouped_attention
from fusion_core.pretrained import load_backbone
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import eager_attention_forward

WIDTH = 8


class Heads(torch.nn.Module):
    """What attention functions ask of their module."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups
        self.eval()


@given(
    batch=st.integers(1, 3),
    shared=st.integers(1, 3),
    groups=st.integers(1, 3),
    length=st.integers(1, 5),
    cached=st.integers(0, 4),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_the_plain_attention_of_transformers(batch, shared, groups, length, cached, masked, seed):
    draw = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, shared * groups, length, WIDTH, generator=draw)
    key, value = (torch.randn(batch, shared, cached + length, WIDTH, generator=draw) for _ in range(2))
    mask = torch.full((batch, 1, length, cached + length), float("-inf")).triu(cached + 1) if masked else None
    output, weights = grouped_attention(Heads(groups), query, key, value, mask, scaling=0.3)
    expected, expected_weights = eager_attention_forward(Heads(groups), query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(weights, expected_weights)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes with the fused kernel")
def test_a_llama_on_a_cpu_computes_with_it_and_says_the_same():
    backbone = load_backbone("tiny-random")
    assert backbone.decoder.config._attn_implementation == GROUPED == attention("llama")
    assert attention() == attention("gpt_neox") == "eager"
    ids = torch.randint(0, 200, (3, 17), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    mine = backbone.logits(backbone.hidden(ids, mask))
    backbone.model.set_attn_implementation("eager")
    theirs = backbone.logits(backbone.hidden(ids, mask))
    torch.testing.assert_close(mine[mask.bool()], theirs[mask.bool()])


def test_a_row_s_bits_do_not_depend_on_the_others():
    draw = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(6, 6, 4, WIDTH, generator=draw), *torch.randn(2, 6, 2, 9, WIDTH, generator=draw)
    together, _ = grouped_attention(Heads(3), query, key, value, None, scaling=0.3)
    for row in range(6):
        own = slice(row, row + 1)
        alone, _ = grouped_attention(Heads(3), query[own], key[own], value[own], None, scaling=0.3)
        assert torch.equal(alone, together[own])
