"""TimeSformer: frames of a frozen video transformer that attends over time and space in turn.

G. Bertasius, H. Wang and L. Torresani, «Is Space-Time Attention All You Need for Video Understanding?», ICML 2021. Weights by
transformers' ``TimesformerModel``, from a folder in its layout or a repository in the hub's cache.

Shapes: T frames, W windows, F frames of a window, H and W pixels, N patches of a frame, A encoder width.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from fusion_core.errors import ConfigError, DataError, MissingAssetError
from fusion_core.files import sha256_file
from fusion_core.hub import local_folder
from fusion_core.images import ImagePreprocessing
from torch import Tensor

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.frames import VideoEncoder
from fusion_encoders.video import FRAME_CHOICE

REPOSITORY = "facebook/timesformer-base-finetuned-k400"
SOURCE_VARIABLE = "FUSION_TIMESFORMER"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_MEAN, _DEVIATION = (0.45,) * 3, (0.225,) * 3
"""Of Kinetics, as TimeSformer was trained."""


class TimesformerEncoder(VideoEncoder):
    """The mean over the patches of each frame, after the last block; 768 wide with the usual checkpoints.

    The model reads windows of as many frames as it was trained on (8, 16 or 96). A clip is read window by window; a last window
    that is not full begins earlier, so that no frame is made up, and a clip shorter than one window repeats its last frame.

    Args:
        source: a folder in transformers' layout or a repository in the hub's cache; by default what ``FUSION_TIMESFORMER`` names,
            or the hub's ``facebook/timesformer-base-finetuned-k400``.
        frame_rate: frames a second that are seen.

    Raises:
        ConfigError: ``frame_rate`` is not positive.
        DataError: the folder holds another model.
        MissingAssetError: the weights are not on this machine.
    """

    name = "timesformer"
    width = 768

    def __init__(self, source: str | None = None, frame_rate: float = 4.0) -> None:
        if frame_rate <= 0:
            raise ConfigError(f"encoder timesformer needs a frame_rate above 0, not {frame_rate}")
        self.frame_rate = frame_rate
        self._folder = find_weights(source)
        self._config = _read_config(self._folder)
        self.width = int(self._config.hidden_size)
        side = int(self._config.image_size)
        self._preprocessing = ImagePreprocessing(side, side, _MEAN, _DEVIATION, "bilinear")
        self.weights_sha256 = sha256_file(self._folder / WEIGHTS_FILE)
        self.preprocessing_sha256 = sha256_of_settings(
            {
                "side": side,
                "window": int(self._config.num_frames),
                "mean": _MEAN,
                "deviation": _DEVIATION,
                "patches": "mean",
                "frame_rate": frame_rate,
                "frames": FRAME_CHOICE,
            }
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind: another process loads its own."""
        return {name: value for name, value in vars(self).items() if name != "_model"}

    @cached_property
    def _model(self) -> Any:
        from transformers import TimesformerModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        model = TimesformerModel.from_pretrained(
            self._folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        return model.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, pixels_T3HW: Tensor, /) -> Tensor:
        """Return one frame x_A for each frame of the video."""
        x_T3HW = self._preprocessing.prepare(pixels_T3HW)
        count, window = len(x_T3HW), int(self._config.num_frames)
        if count < window:
            x_T3HW = torch.cat([x_T3HW, x_T3HW[-1:].expand(window - count, -1, -1, -1)])
        frames: list[Tensor] = []
        for start in range(0, count, window):
            first = min(start, len(x_T3HW) - window)
            frames.append(self._window(x_T3HW[first : first + window])[start - first :])
        return torch.cat(frames)[:count]

    def _window(self, x_F3HW: Tensor) -> Tensor:
        """Return the frames x_FA of one window."""
        states_SA = self._model(x_F3HW[None]).last_hidden_state[0]
        patches_NFA = states_SA[1:].reshape(-1, len(x_F3HW), self.width)  # the class token first, then patch by patch
        frames_FA: Tensor = patches_NFA.mean(dim=0)
        return frames_FA


def find_weights(source: str | None = None) -> Path:
    """Return the folder of the weights.

    Raises:
        MissingAssetError: they are not on this machine.
    """
    wanted = source or os.environ.get(SOURCE_VARIABLE) or REPOSITORY
    try:
        folder = local_folder(wanted, (CONFIG_FILE, WEIGHTS_FILE))
    except MissingAssetError:
        raise MissingAssetError(
            f"TimeSformer's weights are not on this machine: hf download {wanted}, or {SOURCE_VARIABLE}=FOLDER."
        ) from None
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise MissingAssetError(f"{folder} has no {name}; give TimeSformer's folder by {SOURCE_VARIABLE}.")
    return folder


def _read_config(folder: Path) -> Any:
    from transformers import TimesformerConfig

    config = TimesformerConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type != "timesformer" or "timesformer" not in (folder / CONFIG_FILE).read_text(encoding="utf-8"):
        raise DataError(f"{folder / CONFIG_FILE} is not TimeSformer's; give its folder by {SOURCE_VARIABLE}.")
    return config
