"""The tiny vision-language model that comes with the package: trained on procedural images and questions, for tests and trials.

``fusion backbone build tiny-vlm`` trains it again; its card lies beside the weights.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fusion_core.backbone import Backbone
from fusion_core.pretrained import TINY_VLM, load_folder

TINY_VLM_FOLDER = Path(__file__).parent / "weights" / TINY_VLM


def load_tiny_vlm(dtype: torch.dtype) -> Backbone:
    """Load the model, in transformers' layout like any other."""
    return load_folder(TINY_VLM_FOLDER, TINY_VLM, dtype)
