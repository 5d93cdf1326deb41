"""Log-probabilities of tokens a few rows at a time: what the whole logits give, gradients too."""

from __future__ import annotations

import pytest
import torch
from fusion_core.backbone import Backbone
from fusion_core.pretrained import load_backbone
from fusion_train import token_logprobs as module
from fusion_train.token_logprobs import token_logprobs


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny-random")


@pytest.mark.parametrize("rows", [1, 7, 128])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_gradients_and_entropy_are_those_of_the_whole_logits(rows, temperature, tiny, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows)
    generator = torch.Generator().manual_seed(0)
    hidden_MD = torch.randn(20, tiny.width, generator=generator, requires_grad=True)
    targets_M = torch.randint(0, 259, (20,), generator=generator)
    weights_M = torch.randn(20, generator=generator)
    all_MV = (tiny.logits(hidden_MD) / temperature).log_softmax(dim=-1)
    expected_M = all_MV.gather(1, targets_M[:, None])[:, 0]
    (expected_MD,) = torch.autograd.grad((expected_M * weights_M).sum(), hidden_MD)
    found_M, entropy = token_logprobs(tiny, hidden_MD, targets_M, temperature)
    (found_MD,) = torch.autograd.grad((found_M * weights_M).sum(), hidden_MD)
    torch.testing.assert_close(found_M, expected_M)
    torch.testing.assert_close(found_MD, expected_MD, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(entropy, -(all_MV.exp() * all_MV).sum().detach())
    assert not entropy.requires_grad


def test_where_no_gradient_is_wanted_none_is_computed(tiny, monkeypatch):
    hidden_MD, targets_M = torch.ones(3, tiny.width), torch.tensor([1, 2, 3])
    computed = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args: computed.append(1) or grad(*args))
    token_logprobs(tiny, hidden_MD.clone().requires_grad_(), targets_M)
    assert computed == [1]
    token_logprobs(tiny, hidden_MD, targets_M)
    assert computed == [1]
