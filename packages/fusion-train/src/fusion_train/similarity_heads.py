"""Audio-text similarity of the embedded tier: two linear heads over frozen encoders, trained on captioned clips.

    a = W_a·[mean_T x ; max_T x] + b_a,   t = W_t·m + b_t,   similarity = cos(a, t)

x are the audio encoder's frames, m the text encoder's embedding, both standardised by the training split. The heads are trained
by a symmetric InfoNCE in which every reference of a clip is right for it, and a text that several clips have is right for each
(Khosla et al., «Supervised Contrastive Learning», NeurIPS 2020), with s the learned scale:

    L = ½ [ mean_b mean_{r∈P(b)} −log softmax_r(s·cos) + mean_r mean_{b∈P(r)} −log softmax_b(s·cos) ]

Shapes: B clips, N clips of a split, M distinct texts, A audio width, G text width, T frames, E shared width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from fusion_core.progress import track
from fusion_encoders.base import FeatureSequence
from torch import Tensor, nn
from torch.nn import functional

from fusion_train.examples import CaptionedClip, FeatureLookup, gather_features
from fusion_train.similarity_settings import HeadSettings

_START_SCALE = 14.0
_LARGEST_SCALE = 100.0
_WARMUP_STEPS = 20
_LEAST_DEVIATION = 1e-6

Note = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class PairedSplit:
    """One split: pooled audio, distinct texts, and which texts belong to which clip.

    Attributes:
        audio_NA: the pooled features of each clip, twice as wide as a frame.
        text_MG: the embedding of each distinct text.
        own: the texts of each clip, as indices.
    """

    audio_NA: Tensor
    text_MG: Tensor
    own: Sequence[Sequence[int]]

    @classmethod
    def of(
        cls, clips: Sequence[CaptionedClip], features: FeatureLookup, embed_text: Callable[[list[str]], Tensor]
    ) -> PairedSplit:
        """Pool the clips' features and embed their references, each distinct text once."""
        texts = sorted({text for clip in clips for text in clip.references})
        place = {text: index for index, text in enumerate(texts)}
        audio_NA = torch.cat([pool_frames(gather_features([clip.sha256], features)) for clip in clips])
        return cls(audio_NA, embed_text(texts), [sorted({place[text] for text in clip.references}) for clip in clips])

    def relevant(self, clips: Sequence[int], texts: Sequence[int]) -> Tensor:
        """Return for some clips and texts, a row a clip, True where the text is a reference of the clip."""
        column = {text: index for index, text in enumerate(texts)}
        relevant_BM = torch.zeros(len(clips), len(texts), dtype=torch.bool)
        for row_M, clip in zip(relevant_BM, clips, strict=True):
            row_M[[column[text] for text in self.own[clip] if text in column]] = True
        return relevant_BM


class LinearHeads(nn.Module):
    """The two heads, with the statistics that standardise what they take."""

    audio_mean: Tensor
    audio_deviation: Tensor
    text_mean: Tensor
    text_deviation: Tensor

    def __init__(self, audio_width: int, text_width: int, width: int) -> None:
        super().__init__()
        self.audio = nn.Linear(2 * audio_width, width)
        self.text = nn.Linear(text_width, width)
        self.log_scale = nn.Parameter(torch.tensor(_START_SCALE).log())
        for name, size in (("audio", 2 * audio_width), ("text", text_width)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_deviation", torch.ones(size))

    @torch.no_grad()
    def fit_statistics(self, split: PairedSplit) -> None:
        """Take mean and standard deviation of the training split."""
        for name, values in (("audio", split.audio_NA), ("text", split.text_MG)):
            getattr(self, f"{name}_mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}_deviation").copy_(values.std(dim=0, correction=0).clamp(min=_LEAST_DEVIATION))

    def embed_audio(self, pooled_BA: Tensor, keep_BA: Tensor | None = None) -> Tensor:
        """Return the unit vectors e_BE of pooled features; ``keep_BA`` multiplies the standardised ones (dropout)."""
        standard_BA = (pooled_BA - self.audio_mean) / self.audio_deviation
        return functional.normalize(self.audio(standard_BA if keep_BA is None else standard_BA * keep_BA), dim=1)

    def embed_text(self, text_BG: Tensor) -> Tensor:
        """Return the unit vectors e_BE of text embeddings."""
        return functional.normalize(self.text((text_BG - self.text_mean) / self.text_deviation), dim=1)


def pool_frames(features: FeatureSequence) -> Tensor:
    """Return mean and maximum over each clip's real frames, side by side; the bits do not depend on the padding."""
    clips = [x_TA[mask_T] for x_TA, mask_T in zip(features.x_BTA.float(), features.mask_BT, strict=True)]
    return torch.stack([torch.cat([x_TA.mean(dim=0), x_TA.amax(dim=0)]) for x_TA in clips])


def multi_positive_loss(logits_BM: Tensor, relevant_BM: Tensor) -> Tensor:
    """Return the symmetric InfoNCE in which a row and a column may have several right partners, and each has one."""
    share_BM = relevant_BM.float()
    to_text = (logits_BM.log_softmax(dim=1) * share_BM).sum(dim=1) / share_BM.sum(dim=1)
    to_audio = (logits_BM.log_softmax(dim=0) * share_BM).sum(dim=0) / share_BM.sum(dim=0)
    return -(to_text.mean() + to_audio.mean()) / 2


def train_heads(
    train: PairedSplit, val: PairedSplit, settings: HeadSettings, note: Note | None = None
) -> tuple[LinearHeads, dict[str, float]]:
    """Train the heads and return them as they were at the lowest loss on val, with what is worth remembering.

    Equal data and settings give equal bits, whatever the number of threads; no global random state is touched.

    Args:
        train: the training split.
        val: the validation split, which says when to stop.
        settings: sizes, rates and the seed.
        note: called with the losses of each epoch.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        heads = LinearHeads(train.audio_NA.shape[1] // 2, train.text_MG.shape[1], settings.width)
        heads.fit_statistics(train)
        return heads, _fit(heads, train, val, settings, note)


def split_similarity(heads: LinearHeads, split: PairedSplit) -> tuple[Tensor, Tensor]:
    """Return the similarity of each clip and distinct text of a split, and which of them belong together."""
    with torch.no_grad():
        similarity_NM = heads.embed_audio(split.audio_NA) @ heads.embed_text(split.text_MG).T
    return similarity_NM, split.relevant(range(len(split.own)), range(len(split.text_MG)))


def _fit(
    heads: LinearHeads, train: PairedSplit, val: PairedSplit, settings: HeadSettings, note: Note | None
) -> dict[str, float]:
    matrices = [heads.audio.weight, heads.text.weight]
    others = [heads.audio.bias, heads.text.bias, heads.log_scale]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.lr,
    )
    size = min(settings.batch, len(train.own))
    total = settings.epochs * (len(train.own) // size)
    best, best_state, step = {"epoch": 0.0, "val_loss": _val_loss(heads, val)}, _copy(heads), 0
    for epoch in track(range(1, settings.epochs + 1), "training the heads"):
        order = torch.randperm(len(train.own)).tolist()
        losses = []
        for start in range(0, len(order) - size + 1, size):
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * _schedule(step, total)
            losses.append(_step(heads, optimiser, train, order[start : start + size], settings.dropout))
            step += 1
        facts = {"epoch": float(epoch), "train_loss": sum(losses) / len(losses), "val_loss": _val_loss(heads, val)}
        if note is not None:
            note(facts)
        if facts["val_loss"] < best["val_loss"]:
            best, best_state = facts, _copy(heads)
        elif epoch - best["epoch"] >= settings.patience:
            break
    heads.load_state_dict(best_state)
    return best


def _step(
    heads: LinearHeads, optimiser: torch.optim.Optimizer, train: PairedSplit, clips: list[int], dropout: float
) -> float:
    texts = sorted({text for clip in clips for text in train.own[clip]})
    audio_BA = train.audio_NA[clips]
    keep_BA = (torch.rand(audio_BA.shape) >= dropout) / (1 - dropout)
    similarity_BM = heads.embed_audio(audio_BA, keep_BA) @ heads.embed_text(train.text_MG[texts]).T
    loss = multi_positive_loss(heads.log_scale.exp() * similarity_BM, train.relevant(clips, texts))
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()
    with torch.no_grad():
        heads.log_scale.clamp_(max=math.log(_LARGEST_SCALE))
    return float(loss.detach())


@torch.no_grad()
def _val_loss(heads: LinearHeads, val: PairedSplit) -> float:
    similarity_NM, relevant_NM = split_similarity(heads, val)
    return float(multi_positive_loss(heads.log_scale.exp() * similarity_NM, relevant_NM))


def _schedule(step: int, total: int) -> float:
    """Return the share of the learning rate: linear warm-up, then cosine to 0."""
    return min(1.0, (step + 1) / _WARMUP_STEPS) * (1 + math.cos(math.pi * step / total)) / 2


def _copy(heads: LinearHeads) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in heads.state_dict().items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
