"""The whole way from a portrait and two texts to a clip.

caption, speech -> encode_text -> Text ----+
                                           v
picture -------------------------------> condition -> AVLatent, Conditions -> sample -> AVLatent -> decode -> Clip
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .audio.mel import denormalize
from .bundle import Bundle
from .geometry import SAMPLE_RATE, TRAINED_FRAMES, VIDEO_FPS, ClipLength, check_size, fit_size
from .sampling import Guidance, draw_noise, sample, timesteps
from .text.speech import empty_speech, speech_ids, tokenize
from .types import AVLatent, Clip, Conditions
from .video.mux import fit_sound
from .video.picture import check_picture, fit_picture

MAX_ASPECT = 4  # longer pictures would become clips of a size no one asked for
Callback = Callable[[int, int, AVLatent], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Text:
    """What is seen, encoded [1, N, text_dim], and what is said, as ids [1, M]."""

    caption: Tensor
    speech: Tensor


@torch.no_grad()
def joint(
    bundle: Bundle,
    *,
    picture: Tensor,
    speech: str,
    caption: str,
    language: str = "auto",
    frames: int = TRAINED_FRAMES,
    width: int | None = None,
    height: int | None = None,
    steps: int = 50,
    shift: float = 5.0,
    guidance: Guidance | None = None,
    seed: int = 0,
    callback: Callback | None = None,
) -> Clip:
    """The person of ``picture`` [1, H, W, 3] in [0, 1] says ``speech`` in the scene that ``caption`` describes.

    language: of the speech, "auto", "en" or "zh"
    frames: pictures at 16 fps, 4n + 1
    width, height: pixels, multiples of 32; without them the picture's own shape at the model's size
    guidance: None is the release's, for a model of this depth
    callback: called after each step with its index, the number of steps and the present guess of the latents

    Raises ``ValueError`` with a sentence, before anything is encoded, if an argument is unfit.
    """
    length = ClipLength(frames)
    height, width = clip_size(check_picture(picture), height, width, bundle.short_side)
    schedule = timesteps(steps, shift)
    guidance = guidance or Guidance.for_layers(bundle.model.config.num_layers)
    guidance.check_layers(bundle.model.config.num_layers)
    check_seed(seed)
    ids = known_speech(bundle, speech, language)

    positive_text = encode_text(bundle, caption, ids)
    negative_text = encode_text(bundle, "", empty_speech())
    latent, positive, negative = condition(
        bundle, fit_picture(picture, height, width), length, positive_text, negative_text
    )
    noise = draw_noise(latent, seed)
    result, _ = sample(bundle.model, latent, positive, negative, guidance, schedule, noise, callback)
    return decode(bundle, result.with_clean_from(latent), length)


def encode_text(bundle: Bundle, caption: str, ids: Tensor) -> Text:
    """Caption and speech ids [1, M] -> what the model reads."""
    return Text(bundle.caption_encoder.encode([caption]), ids)


def condition(
    bundle: Bundle, image: Tensor, length: ClipLength, positive: Text, negative: Text
) -> tuple[AVLatent, Conditions, Conditions]:
    """The joint task: the image [1, 3, 1, H, W] in [-1, 1] is the reference, and the clip's first frame is given."""
    config, device = bundle.model.config, next(bundle.model.parameters()).device
    reference = bundle.vae.encode(image).to(device, torch.float32)  # [1, 48, 1, H/16, W/16]
    rest = torch.zeros_like(reference).repeat(1, 1, length.latents - 1, 1, 1)
    video = torch.cat((reference, rest), dim=2)  # [1, 48, T, H/16, W/16]
    audio = torch.zeros(1, config.mel_bins, length.tokens, device=device)
    texts = (Conditions(text.caption.to(device), text.speech.to(device), reference) for text in (positive, negative))
    return AVLatent(video, audio, clean_video=1), *texts


def decode(bundle: Bundle, latent: AVLatent, length: ClipLength) -> Clip:
    """Latents -> pictures and sound of the same length. Raises ``ValueError`` rather than give a broken clip."""
    check_finite("sampling", latent.video, latent.audio)
    pixels = bundle.vae.decode(latent.video)  # [1, 3, F, H, W] in [-1, 1]
    sound = bundle.vocoder.decode(denormalize(latent.audio))  # [1, 1, L * 240]
    check_finite("decoding", pixels, sound)
    frames = (pixels[0].movedim(0, -1).float() + 1) / 2  # [F, H, W, 3]
    waveform = fit_sound(sound[0].float(), length.samples)  # [1, samples]
    return Clip(frames.clamp(0, 1).cpu(), waveform.clamp(-1, 1).cpu(), VIDEO_FPS, SAMPLE_RATE)


def clip_size(picture: tuple[int, int], height: int | None, width: int | None, short_side: int) -> tuple[int, int]:
    """``(height, width)`` of the clip in pixels: the size asked for, or that of the picture scaled to the model."""
    if height is not None and width is not None:
        check_size(width, height)
        return height, width
    if height is not None or width is not None:
        raise ValueError("give both width and height, or neither to keep the picture's shape")
    if max(picture) > MAX_ASPECT * min(picture):
        raise ValueError(
            f"the picture is {picture[1]} x {picture[0]}, more than {MAX_ASPECT} times as long as wide: crop it, "
            "or give width and height"
        )
    return fit_size(*picture, short_side)


def known_speech(bundle: Bundle, speech: str, language: str) -> Tensor:
    """Speech ids [1, M]. What the vocabulary lacks is spoken as a pause, which is logged by name."""
    vocabulary, known = bundle.vocabulary, bundle.model.config.speech_vocab
    if len(vocabulary) != known:
        raise ValueError(
            f"the speech vocabulary has {len(vocabulary)} entries, the model needs {known}: "
            "use the vocabulary that belongs to the model"
        )
    ids = speech_ids(speech, language, vocabulary)
    unknown = vocabulary.unknown(tokenize(speech, language))
    if unknown:
        log.warning("not in the model's vocabulary, so not spoken: %s", ", ".join(map(repr, unknown)))
    return ids


def check_seed(seed: int) -> int:
    """Returns the seed if the random generator takes it, else raises ``ValueError``."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"the seed must be at least 0 and below 2**64, not {seed}")
    return seed


def check_finite(stage: str, *tensors: Tensor) -> None:
    """Raises ``ValueError`` if a stage gave numbers that are no numbers."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise ValueError(
            f"{stage} gave numbers that are NaN or infinite, so there is no clip: lower the guidance scales, "
            "or compute in float32"
        )
