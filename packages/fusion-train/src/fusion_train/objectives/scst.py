"""Self-critical sequence training: sampled captions that score better than their siblings become likelier.

Rennie et al., «Self-critical Sequence Training for Image Captioning», CVPR 2017, with the leave-one-out baseline of Luo,
«A Better Variant of Self-Critical Sequence Training», 2020 (the greedy baseline of the first paper as an option):

    L = −1/(B·N) Σ_{b,i} (r_{b,i} − baseline_{b,i}) Σ_t log p(w_{b,i,t})  −  λ_H·H  +  λ_KL·KL

Log-probabilities are computed again with gradients, each caption through its first end token, from the first site up: what lies
below hears nothing and was computed while the caption was sampled. H is the mean entropy a caption, KL the divergence from the
policy at the start, estimated on the sampled tokens (exp d − 1 − d with d = log p_start − log p).

Shapes: B clips, N samples a clip, R rows (B times N), S positions of prompt and caption, T longest caption, M sampled tokens of
all captions, V vocabulary, D backbone width.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from fusion_core.context import FusionContext
from fusion_core.errors import ConfigError
from fusion_encoders.base import FeatureSequence
from fusion_eval.ngrams import Floats
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fusion_train.config import DecodingSettings, SelfCriticalSettings
from fusion_train.examples import Batch, make_batch
from fusion_train.generate import generate
from fusion_train.learner import Learner, Pair
from fusion_train.objectives.reward import CaptionReward
from fusion_train.reading import prompt_head
from fusion_train.sampling import SampledCaption, sample_captions
from fusion_train.token_logprobs import token_logprobs


@dataclass
class _Sums:
    """Sums over an effective batch in this process."""

    loss: float = 0.0
    reward: float = 0.0
    baseline: float = 0.0
    entropy: float = 0.0
    divergence: float = 0.0
    length: float = 0.0
    ended: float = 0.0
    reward_seconds: float = 0.0
    seconds: float = 0.0


class SelfCritical:
    """Self-critical training of an effective batch of clips; the captions of its pairs play no part.

    Args:
        learner: what learns.
        settings: samples, baseline, weights.
        longest: T, tokens of a sampled caption at most.
        seed: decides what is sampled.

    Raises:
        ConfigError: a divergence is asked for and the system trains weights of the backbone.
    """

    name = "scst"
    module = None

    def __init__(self, learner: Learner, settings: SelfCriticalSettings, longest: int, seed: int) -> None:
        self.learner = learner
        self.settings = settings
        self.longest = longest
        self.seed = seed
        self.reader = learner.reader
        # With gradient checkpointing training reads the prompt whole; sampling never does.
        self.head = learner.reader.head or prompt_head(learner.backbone, learner.system, learner.examples.prompt)
        self.reward = CaptionReward([clip.references for clip in learner.examples.clips])
        self.start = None
        if settings.divergence:
            if learner.system.changes_backbone:
                raise ConfigError(
                    f"scst.divergence needs the policy at the start, but {learner.system.name!r} trains the backbone; "
                    "set it to 0."
                )
            self.start = copy.deepcopy(learner.system).requires_grad_(False).eval()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reward")

    def accumulate(self, pairs: Sequence[Pair], step: int) -> dict[str, float]:
        """Add the gradients of an effective batch and return reward, baseline, length and the share of time spent on rewards."""
        sums = _Sums()
        for part in self.learner.micro_batches(pairs):
            began = time.perf_counter()
            self._accumulate([clip for clip, _ in part], step, len(pairs), sums)
            sums.seconds += time.perf_counter() - began
        captions = len(pairs) * self.settings.samples
        facts = {name: self.learner.total(value) for name, value in vars(sums).items()}
        facts["reward_share"] = facts.pop("reward_seconds") / max(facts.pop("seconds"), 1e-9)
        means = {name: facts[name] / captions for name in ("reward", "baseline", "length", "ended")}
        return {**facts, **means, "clips": len(pairs)}

    def _accumulate(self, clips: list[int], step: int, all_clips: int, sums: _Sums) -> None:
        """Sample, reward, and add the gradients of one forward pass."""
        learner, settings = self.learner, self.settings
        features = learner.examples.frames(clips).to(learner.backbone.device)
        sampled, greedy = self._decode(clips, features, step)
        flat = [caption for captions in sampled for caption in captions]
        # Rewards are computed beside the forward pass, which does not need them yet.
        waiting = self._pool.submit(self._rewards, clips, flat, greedy)
        ids = [list(caption.ids) for caption in flat]
        batch = make_batch(learner.examples.prompt, ids, learner.backbone.pad_id, features).to(learner.backbone.device)
        stream_RSD = self._stream(flat)
        hidden_MD = self.reader.hidden_above(batch, learner.bind(batch), stream_RSD)
        logprob_M, entropy = self._logprobs(batch.targets_N, hidden_MD)
        owner_M = torch.repeat_interleave(torch.tensor([len(row) for row in ids])).to(logprob_M.device)
        advantage, rewards, baselines = self._advantages(waiting, len(clips), sums)
        captions = all_clips * settings.samples
        loss = -(torch.from_numpy(advantage).to(logprob_M)[owner_M] * logprob_M).sum() / captions
        if settings.entropy:
            loss = loss - settings.entropy * entropy / captions
        if self.start is not None:
            divergence = self._divergence(batch, features, stream_RSD, logprob_M) / captions
            loss = loss + settings.divergence * divergence
            sums.divergence += float(divergence.detach())
        learner.backward(loss)
        sums.loss += float(loss.detach())
        sums.entropy += float(entropy.detach()) / captions
        sums.reward += float(rewards.sum())
        sums.baseline += float(baselines.sum())
        sums.length += sum(len(row) for row in ids)
        sums.ended += sum(caption.ended for caption in flat)

    @torch.no_grad()
    def _decode(
        self, clips: list[int], features: FeatureSequence, step: int
    ) -> tuple[list[list[SampledCaption]], list[SampledCaption] | None]:
        """Sample captions of the clips; decode each greedily too, where that is the baseline."""
        learner = self.learner
        checkpointing = learner.backbone.model.training
        learner.backbone.model.eval()  # blocks that are to be computed twice would forget keys and values
        context = learner.system.bind(features.x_BTA, features.mask_BT, learner.examples.prompt.slot_index())
        sampled = self._sample(clips, context, step)
        greedy = self._greedy(len(clips), context) if self.settings.baseline == "greedy" else None
        learner.backbone.model.train(checkpointing)
        return sampled, greedy

    def _stream(self, sampled: Sequence[SampledCaption]) -> Tensor | None:
        """Return the streams at the first site of prompts and captions, h_RSD; None where there is none that hears nothing."""
        prefix = self.reader.prefix
        if prefix is None:
            return None
        streams = [one.stream_CD for one in sampled if one.stream_CD is not None]
        rows = [prefix.after_prompt(stream_CD, self.reader.start) for stream_CD in streams]
        return pad_sequence(rows, batch_first=True)

    def _sample(self, clips: Sequence[int], context: FusionContext, step: int) -> list[list[SampledCaption]]:
        """Sample captions; the random numbers of a clip follow from seed, step and clip alone."""
        size = (self.settings.samples, self.longest)
        uniform_BNT = np.stack([np.random.default_rng([self.seed, step, clip]).random(size) for clip in clips])
        return sample_captions(
            self.learner.backbone,
            self._prompt(len(clips)),
            torch.from_numpy(uniform_BNT),
            context,
            self._past(len(clips)),
            self.settings.temperature,
            None if self.reader.prefix is None else self.reader.prefix.split.block,
        )

    def _greedy(self, clips: int, context: FusionContext) -> list[SampledCaption]:
        """Decode each clip greedily."""
        greedy = DecodingSettings(beams=1, max_new_tokens=self.longest)
        found = generate(self.learner.backbone, self._prompt(clips), greedy, context, past=self._past(clips))
        return [SampledCaption(best[0].ids, len(best[0].ids) < self.longest) for best in found]

    def _prompt(self, clips: int) -> Tensor:
        return torch.tensor([self.learner.examples.prompt.rest] * clips, device=self.learner.backbone.device)

    def _past(self, clips: int) -> object:
        return self.head.past(clips) if self.head is not None else None

    def _rewards(
        self, clips: Sequence[int], sampled: Sequence[SampledCaption], greedy: Sequence[SampledCaption] | None
    ) -> tuple[Floats, Floats | None, float]:
        """Return the rewards of sampled and greedy captions, and the seconds that they took."""
        began = time.perf_counter()
        rewards = self._score(sampled, [clip for clip in clips for _ in range(self.settings.samples)])
        baseline = self._score(greedy, clips) if greedy is not None else None
        return rewards, baseline, time.perf_counter() - began

    def _score(self, captions: Sequence[SampledCaption], clips: Sequence[int]) -> Floats:
        decode = self.learner.backbone.tokenizer.decode
        texts = [" ".join(decode(list(one.ids), skip_special_tokens=True).split()) for one in captions]
        return self.reward(texts, [one.ended for one in captions], clips)

    def _advantages(
        self, waiting: Future[tuple[Floats, Floats | None, float]], clips: int, sums: _Sums
    ) -> tuple[Floats, Floats, Floats]:
        """Wait for the rewards; return what each caption is above its baseline, the rewards and the baselines."""
        rewards, greedy, seconds = waiting.result()
        sums.reward_seconds += seconds
        rewards_BN = rewards.reshape(clips, self.settings.samples)
        if greedy is not None:
            baseline_BN = np.broadcast_to(greedy[:, None], rewards_BN.shape)
        else:
            others = self.settings.samples - 1
            baseline_BN = (rewards_BN.sum(axis=1, keepdims=True) - rewards_BN) / others
        return (rewards_BN - baseline_BN).reshape(-1), rewards, baseline_BN.reshape(-1)

    def _logprobs(self, targets_M: Tensor, hidden_MD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability of each sampled token, and the sum of the entropies of their distributions."""
        backbone, temperature = self.learner.backbone, self.settings.temperature
        if not self.settings.entropy:
            return token_logprobs(backbone, hidden_MD, targets_M, temperature)
        all_MV = (backbone.logits(hidden_MD).float() / temperature).log_softmax(dim=-1)
        return all_MV.gather(1, targets_M[:, None])[:, 0], -(all_MV.exp() * all_MV).sum()

    def _divergence(
        self, batch: Batch, features: FeatureSequence, stream_RSD: Tensor | None, logprob_M: Tensor
    ) -> Tensor:
        """Return the estimated divergence from the policy at the start, summed over the sampled tokens."""
        if self.start is None:
            raise ValueError("there is no policy to diverge from")
        with torch.no_grad():
            context = self.start.bind(features.x_BTA, features.mask_BT, None)
            start_M, _ = self._logprobs(batch.targets_N, self.reader.hidden_above(batch, context, stream_RSD))
        gap_M = start_M - logprob_M
        return (gap_M.exp() - 1 - gap_M).sum()
