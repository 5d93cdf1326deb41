"""The aligned start: before the language model is run at all, what the audio would add is fitted to what the captions say.

For each training clip the target is the mean output embedding of its captions' tokens, less the mean over the clips, so that
words which every caption has cancel out and content words remain. Projector and adapters are fitted so that the direction which
the audio adds at each site (at the token gates' starting value, 1/K) has a large cosine with the target:

    L = − Σ_sites mean_clips cos(d_site, t),     t = mean_refs mean_tokens E[token] − centre

No backbone forward is needed, so 120 steps take some ten seconds; cross-entropy then starts with directions that mean something.
Every system that hears gets this help: what counts is what its sites add to a neutral text state. Token gates, α, queries and
keys do not move, nor do trained blocks of the backbone. References of the training split alone are used.

Shapes: N clips, B batch, D backbone width.
"""

from __future__ import annotations

import torch
from fusion_core.backbone import Backbone
from fusion_core.progress import track
from fusion_core.systems.base import FusionSystem
from torch import Tensor
from torch.nn import functional

from fusion_train.config import AlignmentSettings
from fusion_train.examples import TrainingExamples

WARMUP_STEPS = 20


def align(
    system: FusionSystem, backbone: Backbone, examples: TrainingExamples, settings: AlignmentSettings
) -> tuple[float, float]:
    """Fit projector and adapters to the captions' embeddings; return the mean cosine before and after.

    A system whose additions have no fixed direction (it returns none) is left as it is.
    """
    device = backbone.device
    parts = system.parts()
    parameters = [parameter for part in ("projector", "adapters") for parameter in parts.get(part, [])]
    if not parameters:
        return 0.0, 0.0
    target_ND = caption_targets(backbone, examples).to(device)
    optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    generator = torch.Generator().manual_seed(examples.seed)
    curve: list[float] = []
    system.train()
    for step in track(range(settings.steps), "align"):
        rate = settings.lr * min(1.0, (step + 1) / WARMUP_STEPS) * (1 - step / settings.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        index_B = torch.randint(len(target_ND), (settings.batch,), generator=generator)
        features = examples.frames(index_B.tolist()).to(device)
        directions = system.directions(features.x_BTA, features.mask_BT)
        if not directions:
            return 0.0, 0.0
        cosines = [functional.cosine_similarity(d_BD, target_ND[index_B.to(device)]).mean() for d_BD in directions]
        loss = -torch.stack(cosines).sum()
        torch.autograd.backward(loss)
        optimiser.step()
        system.zero_grad(set_to_none=True)
        curve.append(-float(loss.detach()) / len(directions))
    return curve[0], curve[-1]


@torch.no_grad()
def caption_targets(backbone: Backbone, examples: TrainingExamples) -> Tensor:
    """Return each clip's target t_ND, fp32, centred over the clips."""
    embedding = backbone.model.get_output_embeddings().weight
    rows = []
    for captions in examples.tokens:
        means = [embedding[torch.tensor(ids, device=embedding.device)].float().mean(dim=0) for ids in captions]
        rows.append(torch.stack(means).mean(dim=0))
    target_ND = torch.stack(rows)
    return target_ND - target_ND.mean(dim=0)
