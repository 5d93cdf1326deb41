"""Reading and writing of images.

Shapes: H, W an image's sides in pixels.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from fusion_core.errors import DataError
from fusion_core.files import write_atomic
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
BORDER = (122, 116, 104)
"""What fills an image up to a square: CLIP's mean colour, as LLaVA-1.5 does it."""


def load_image(path: Path, size: int | None = None) -> Tensor:
    """Return an image as pixels_3HW in uint8, RGB; turned as its EXIF data say, made a square by a border where it is none.

    Args:
        path: a file in any format that Pillow reads.
        size: H and W in pixels; None keeps the longer side.

    Raises:
        DataError: the file is absent, no image, cut off or far too large.
    """
    try:
        with Image.open(path) as file:
            image = _square(_upright(file).convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give the folder that holds the images.") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}); replace it or leave its question out.") from None
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def save_image(path: Path, pixels_HWC: NDArray[np.uint8]) -> None:
    """Write an RGB image as PNG, atomically; equal pixels give equal bytes under one version of Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _square(image: Image.Image) -> Image.Image:
    """Return the image in the middle of a square."""
    side = max(image.size)
    if image.size == (side, side):
        return image
    square = Image.new("RGB", (side, side), BORDER)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
