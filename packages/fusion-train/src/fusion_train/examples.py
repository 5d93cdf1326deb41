"""What a training step is fed: token ids of prompt and caption, and the clip's features, in batches of similar length.

The order of an epoch is a function of seed and epoch alone, so that a run that is taken up again sees what an unbroken one sees.

Shapes: B batch, S text positions, N predicted tokens, T frames, A encoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.prompt import Prompt
from fusion_core.systems.base import FusionSystem
from fusion_encoders.base import FeatureSequence
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.trainer_pt_utils import LengthGroupedSampler

from fusion_train.modalities import ModalFeatures

FeatureLookup = Callable[[str], NDArray[Any]]
Features = FeatureSequence | ModalFeatures


@dataclass(frozen=True)
class CaptionedClip:
    """One clip of a split with its references.

    Attributes:
        id: the clip's id.
        sha256: the hash of its file, by which its features are found.
        references: its captions.
    """

    id: str
    sha256: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    Attributes:
        ids_BS: prompt and caption, padded on the right; the end token is only ever a target.
        mask_BS: 1 where a token is real.
        labels_BS: True at each position whose *next* token is to be predicted: the prompt's last and the caption's.
        targets_N: those next tokens, row by row, the end token the last of each row.
        features: the clips' frames.
        weights_N: how much each of those tokens counts; None where all count the same.
    """

    ids_BS: Tensor
    mask_BS: Tensor
    labels_BS: Tensor
    targets_N: Tensor
    features: Features
    weights_N: Tensor | None = None

    @property
    def tokens(self) -> int:
        """How many tokens are predicted."""
        return len(self.targets_N)

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device."""
        return Batch(
            self.ids_BS.to(device),
            self.mask_BS.to(device),
            self.labels_BS.to(device),
            self.targets_N.to(device),
            self.features.to(device),
            None if self.weights_N is None else self.weights_N.to(device),
        )


class TrainingExamples:
    """The training split: one caption of each clip an epoch, tokenised once.

    Args:
        clips: the clips, each with at least one reference.
        backbone: whose tokenizer and end token are used.
        prompt: what stands before each caption.
        features: x_TA by file hash.
        seed: decides order and choice of captions.
    """

    def __init__(
        self, clips: Sequence[CaptionedClip], backbone: Backbone, prompt: Prompt, features: FeatureLookup, seed: int
    ) -> None:
        self.clips = list(clips)
        self.prompt = prompt
        self.features = features
        self.seed = seed
        self.pad_id = backbone.pad_id
        captions = [reference for clip in self.clips for reference in clip.references]
        encoded = iter(backbone.tokenizer(captions, add_special_tokens=False)["input_ids"])
        self.tokens = [[[*next(encoded), backbone.end_id] for _ in clip.references] for clip in self.clips]

    def epoch(self, epoch: int, batch: int) -> Iterator[list[tuple[int, int]]]:
        """Yield the effective batches of an epoch as (clip, caption) pairs, of similar length within a batch.

        Args:
            epoch: counts from 0.
            batch: clips of one optimiser step; the last, smaller batch of an epoch is left out.
        """
        generator = np.random.default_rng([self.seed, epoch])
        choice = [int(generator.integers(len(captions))) for captions in self.tokens]
        lengths = [len(captions[pick]) for captions, pick in zip(self.tokens, choice, strict=True)]
        order = list(
            LengthGroupedSampler(
                batch, lengths=lengths, generator=torch.Generator().manual_seed(int(generator.integers(2**62)))
            )
        )
        starts = generator.permutation(range(0, len(order) - batch + 1, batch))
        for start in starts:
            yield [(index, choice[index]) for index in order[start : start + batch]]

    def batches_an_epoch(self, batch: int) -> int:
        """Return how many effective batches an epoch has."""
        return len(self.clips) // batch

    def collate(self, pairs: Sequence[tuple[int, int]]) -> Batch:
        """Build the tensors of one forward pass."""
        captions = [self.tokens[clip][caption] for clip, caption in pairs]
        return make_batch(self.prompt, captions, self.pad_id, self.frames([clip for clip, _ in pairs]))

    def frames(self, indices: Sequence[int]) -> FeatureSequence:
        """Return the padded features of some clips."""
        return gather_features([self.clips[index].sha256 for index in indices], self.features)


def make_batch(prompt: Prompt, captions: Sequence[Sequence[int]], pad_id: int, features: FeatureSequence) -> Batch:
    """Build the tensors of one forward pass.

    Args:
        prompt: what stands before each caption.
        captions: token ids, the last of each a target alone.
        pad_id: the token that fills up rows.
        features: the clips' frames; where several captions belong to one clip they stand together.
    """
    rows = [torch.tensor([*prompt.ids, *caption[:-1]]) for caption in captions]
    ids_BS = pad_sequence(rows, batch_first=True, padding_value=pad_id)
    mask_BS = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    labels_BS = mask_BS.bool()
    labels_BS[:, : len(prompt.ids) - 1] = False
    targets_N = torch.tensor([token for caption in captions for token in caption])
    return Batch(ids_BS, mask_BS, labels_BS, targets_N, features)


def gather_features(hashes: Sequence[str], features: FeatureLookup) -> FeatureSequence:
    """Read and pad the features of clips, fp32."""
    return FeatureSequence.pad([torch.from_numpy(np.asarray(features(key), dtype=np.float32)) for key in hashes])


def bind_features(system: FusionSystem, features: Features, slots_BS: Tensor | None = None) -> FusionContext:
    """Bind a batch's clips, whether they have one modality or several."""
    if isinstance(features, ModalFeatures):
        return features.bind(system)
    return system.bind(features.x_BTA, features.mask_BT, slots_BS)
