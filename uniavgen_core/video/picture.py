"""A picture file -> pixels -> the size and range the video autoencoder takes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..geometry import MAX_SIDE

MAX_PIXELS = MAX_SIDE**2  # a clip cannot show more
TOO_LARGE = f"has more than {MAX_PIXELS // 10**6} million pixels, which no clip can show: make it smaller"
# Named, so that a file is never handed to a decoder that runs programs (EPS) or follows references.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey, which Pillow would cut off at 255


def read_picture(path: str | Path) -> Tensor:
    """Picture file -> [1, H, W, 3] in [0, 1], upright, transparent parts white.

    The first picture of an animation. Raises ``ValueError`` or ``FileNotFoundError`` with a sentence.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a picture file")
    if not path.exists():
        raise FileNotFoundError(f"there is no picture {path}")
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit comes right after
            opened = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
        with opened as image:
            if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                raise ValueError("it has 32-bit pixels; save it with 8 or 16 bits")
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height}")
            pixels = np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except Image.DecompressionBombError as error:  # ours, or Pillow's own
        raise ValueError(f"the picture {path} {TOO_LARGE} ({error})") from error
    except PermissionError as error:
        raise ValueError(f"the picture {path} may not be read: change its permissions") from error
    except Exception as error:  # decoders of damaged files raise anything
        raise ValueError(
            f"{path} cannot be read as a picture; give a whole {', '.join(FORMATS[:2])} or {FORMATS[3]} file ({error})"
        ) from error
    return torch.from_numpy(pixels)[None].float() / 255


def fit_picture(picture: Tensor, height: int, width: int) -> Tensor:
    """Picture [1, H, W, 3] in [0, 1] -> [1, 3, 1, height, width] in [-1, 1], one frame of a clip.

    Resized on 8-bit pixels, bilinear with antialiasing, to exactly this size (released behaviour).
    Raises ``ValueError`` for another shape, for too many pixels, or for numbers that are not finite.
    """
    check_picture(picture)
    pixels = resize(to_bytes(picture[0]), height, width)
    fitted = torch.from_numpy(pixels).float() / 255 * 2 - 1  # [height, width, 3]
    return fitted.permute(2, 0, 1)[None, :, None].to(picture.device)


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels uint8 [H, W, 3] -> [height, width, 3], bilinear with antialiasing (released behaviour)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def check_picture(picture: Tensor) -> tuple[int, int]:
    """Returns ``(height, width)`` in pixels of one RGB picture [1, H, W, 3], else raises ``ValueError``."""
    if picture.ndim != 4 or picture.shape[0] != 1 or picture.shape[-1] != 3 or 0 in picture.shape:
        raise ValueError(f"a picture must be [1, height, width, 3], not {list(picture.shape)}: give one RGB picture")
    if picture.shape[1] * picture.shape[2] > MAX_PIXELS:
        raise ValueError(f"the picture {TOO_LARGE} ({picture.shape[2]} x {picture.shape[1]})")
    if not torch.isfinite(picture).all():
        raise ValueError("the picture holds numbers that are NaN or infinite")
    return picture.shape[1], picture.shape[2]


def to_bytes(pixels: Tensor) -> np.ndarray:
    """Pixels in [0, 1], any shape -> uint8, rounded, values outside the range cut off."""
    return pixels.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
