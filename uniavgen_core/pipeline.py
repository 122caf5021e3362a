"""The whole way from what is given and two texts to a clip.

picture, voice, sound, footage, earlier -> encode_given -> plan -+-> window by window: cut, sample, paste -> decode
caption, speech -> scripts_of -> conditions ---------------------+
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .audio.mel import denormalize, peak_gain, peak_normalize
from .audio.sound import Sound, driving_tokens, part_tokens, to_model_sound, voice_tokens, writable
from .bundle import Bundle
from .geometry import (
    HOP_LENGTH,
    MAX_FRAMES,
    SAMPLE_RATE,
    TRAINED_FRAMES,
    VIDEO_FPS,
    ClipLength,
    check_size,
    cover_frames,
    fit_size,
)
from .sampling import Guidance, check_seed, draw_noise, sample, timesteps
from .task import Given, interactions, plan
from .text.script import Script, check_fits, check_voice
from .text.speech import check_written
from .types import AVLatent, Clip, Conditions, Frames, VideoAutoencoder
from .video.encode import encode_frames
from .video.mux import AAC_RATES, fit_sound, sound_samples
from .video.picture import check_picture
from .windows import OVERLAP, Window, cut, first_frame, last_latents, paste, plan_windows, texts

MAX_ASPECT = 4  # longer pictures would become clips of a size no one asked for
Callback = Callable[[int, int, AVLatent], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """The end of a clip, as the model goes on from it.

    frames: [F, H, W, 3] in [0, 1] at 16 fps
    sound: of these frames, mono, as loud as the model knows it; gain: how many times louder than in the clip
    """

    frames: Tensor
    sound: Sound
    gain: float = 1.0

    @classmethod
    def of(cls, frames: Tensor, sound: Sound, count: int) -> Earlier:
        """frames: the last of the clip's ``count`` at 16 fps; sound: all of it, which decides how loud it is."""
        rate = sound.sample_rate
        mono = to_model_sound(sound.waveform, rate, rate)
        start, end = (sound_samples(n, VIDEO_FPS, rate) for n in (count - len(frames), count))
        return cls(frames, Sound(fit_sound(peak_normalize(mono), end)[:, start:], rate), peak_gain(mono))

    def last(self, latents: int) -> Earlier:
        """So many latents of it. Raises ``ValueError`` if it is shorter."""
        needed = ClipLength.from_latents(latents).frames
        if len(self.frames) < needed:
            raise ValueError(
                f"the earlier clip has {len(self.frames)} frames at {VIDEO_FPS} fps: to go on from {latents} latents "
                f"it needs at least {needed}; give a longer clip, or go on from fewer latents"
            )
        start = sound_samples(len(self.frames) - needed, VIDEO_FPS, self.sound.sample_rate)
        sound = replace(self.sound, waveform=self.sound.waveform[:, start:])
        return replace(self, frames=self.frames[-needed:], sound=sound)


@dataclass(frozen=True)
class Material:
    """What is given besides the texts. What is there decides the task (see `task`).

    picture: [1, H, W, 3] in [0, 1], the person; may be missing where footage or an earlier clip shows it
    voice, transcript: how the person should sound, and what is said there
    sound: all that is heard (audio-driven)
    footage: all that is seen (dubbing)
    earlier: the end of a clip to go on from, or a clip's latent (continuation)
    """

    picture: Tensor | None = None
    voice: Sound | None = None
    transcript: str = ""
    sound: Sound | None = None
    footage: Frames | None = None
    earlier: Earlier | AVLatent | None = None

    def check(self) -> None:
        """Raises ``ValueError`` for combinations that make no sense."""
        if self.picture is None and self.footage is None and self.earlier is None:
            raise ValueError("there is no one to see: give a picture of the person")
        given = [
            name
            for name, value in (("sound", self.sound), ("footage", self.footage), ("an earlier clip", self.earlier))
            if value is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} cannot be given together: each says how the clip goes")
        if self.voice is not None and self.sound is not None:
            raise ValueError("a reference voice is of no use where all sound is given: leave one of the two out")
        if self.voice is not None and not self.transcript.strip():
            raise ValueError(
                "the reference voice needs its transcript, what is said in it word for word: without one the model "
                "takes the voice for the beginning of the speech, and words get lost or are said twice"
            )
        if self.voice is None and self.transcript.strip():
            raise ValueError("there is a transcript but no reference voice it belongs to: give both or neither")

    @property
    def stage(self) -> Tensor:
        """A picture of the clip's shape: [1, H, W, 3]. What stays as it is counts before the portrait."""
        if self.footage is not None:
            return self.footage[:1]
        return self.person if self.earlier is None else self.earlier.frames[:1]

    @property
    def person(self) -> Tensor:
        """The picture of the person: [1, H, W, 3]."""
        if self.picture is not None:
            return self.picture
        return (self.earlier.frames if self.footage is None else self.footage)[:1]


@torch.no_grad()
def generate(
    bundle: Bundle,
    material: Material,
    *,
    speech: str,
    caption: str,
    language: str = "auto",
    frames: int | None = None,
    width: int | None = None,
    height: int | None = None,
    steps: int = 50,
    shift: float = 5.0,
    guidance: Guidance | None = None,
    seed: int = 0,
    window: int = TRAINED_FRAMES,
    overlap: int = OVERLAP,
    callback: Callback | None = None,
) -> Clip:
    """The person says ``speech`` in the scene that ``caption`` describes; what is given stays as it is.

    language: of the speech, "auto", "en" or "zh"
    frames: pictures at 16 fps, 4n + 1; None is as many as sound or footage need, else 81. Of a continuation, the
        frames of one window: the last ``overlap`` latents of the earlier clip, and what comes after them
    width, height: pixels, multiples of 32; without them the picture's own shape at the model's size
    guidance: None is the release's, for a model of this depth
    window, overlap: clips longer than ``window`` frames are made window by window, each going on from the last
        ``overlap`` latents
    callback: called after each step with its index, the number of steps in all and the present guess of the latents

    Raises ``ValueError`` with a sentence, before anything is encoded, if an argument is unfit.
    """
    material.check()
    if material.earlier is not None:
        check_continued(overlap)
    length = clip_length(material, frames)
    windows = plan_windows(length, window, overlap, 0 if material.earlier is None else overlap)
    height, width = clip_size(check_picture(material.stage), height, width, bundle.short_side)
    schedule = timesteps(steps, shift)
    guidance = guidance or bundle.guidance
    guidance.check_layers(bundle.model.config.num_layers)
    check_seed(seed)
    check_written("caption", caption)
    scripts = scripts_of(bundle, material, speech, language, length, windows)

    device = next(bundle.model.parameters()).device
    given = encode_given(bundle.vae, material, height, width, length, overlap, device)
    whole = plan(given, length, bundle.model.config.mel_bins).latent
    for index, part_window in enumerate(windows):
        part = cut(whole, part_window, first_frame(bundle.vae, whole, part_window))
        positive, negative = conditions(bundle, part, given, caption, scripts[index])
        result, _ = sample(
            bundle.model,
            part,
            positive,
            negative,
            guidance,
            schedule,
            draw_noise(part, (seed + index) % 2**64),
            callback and (lambda i, n, guess, index=index: callback(index * n + i, n * len(windows), guess)),
        )
        whole = paste(whole, part_window, result.with_clean_from(part))
    return decode(bundle, whole, length, given.gain)


def scripts_of(
    bundle: Bundle, material: Material, speech: str, language: str, length: ClipLength, windows: list[Window]
) -> list[Script]:
    """What is said in each window. What the vocabulary lacks is spoken as a pause, which is logged by name."""
    vocabulary, known = bundle.vocabulary, bundle.model.config.speech_vocab
    if len(vocabulary) != known:
        raise ValueError(
            f"the speech vocabulary has {len(vocabulary)} entries, the model needs {known}: "
            "use the vocabulary that belongs to the model"
        )
    script = Script(speech, vocabulary, language, material.transcript.strip())
    if material.sound is None:
        script.check()
    check_fits(speech, length.seconds, windows[0].given_seconds)
    script.tell_unknown()
    if material.voice is not None:
        check_voice(script.transcript, material.voice.seconds)
    said = texts(speech, windows)
    for text, window in zip(said, windows, strict=True):
        window.check_text(text)
    return [script.saying(text) for text in said]


def encode_given(
    vae: VideoAutoencoder,
    material: Material,
    height: int,
    width: int,
    length: ClipLength,
    overlap: int,
    device: torch.device | str = "cpu",
) -> Given:
    """Pictures and sounds -> latents and tokens on ``device``. height, width: of the clip, in pixels."""

    def encode(frames: Frames, latents: int | None = None) -> Tensor:
        return encode_frames(vae, frames, height, width, latents).to(device, torch.float32)

    # what can be refused comes before what takes time
    voice = None if material.voice is None else voice_tokens(material.voice)
    sound = None if material.sound is None else driving_tokens(material.sound)
    latent = material.earlier if isinstance(material.earlier, AVLatent) else None
    tail = material.earlier.last(overlap) if isinstance(material.earlier, Earlier) else None
    shown = latent is not None and material.picture is None
    image = latent.video[:, :, :1] if shown else encode(material.person)
    video = audio = None
    gain = 1.0
    if sound is not None:
        audio = sound[..., : length.tokens]
        silence = driving_tokens(Sound(torch.zeros(1, SAMPLE_RATE), SAMPLE_RATE))[..., :1]
        audio = torch.cat((audio, silence.expand(-1, -1, length.tokens - audio.shape[2])), dim=2)
    if material.footage is not None:
        video = encode(material.footage, length.latents)
    if latent is not None:
        video, audio = last_latents(vae, latent, overlap)
    elif tail is not None:
        video, audio, gain = encode(tail.frames), part_tokens(tail.sound), tail.gain
        audio = audio[..., : ClipLength.from_latents(overlap).tokens]
    given = (None if value is None else value.to(device) for value in (image, video, audio, voice))
    return Given(*given, gain)


def join(earlier: Clip, later: Clip, overlap: int) -> Clip:
    """A clip, and after it what goes on from its last ``overlap`` latents. Both at 16 fps, with pictures of one size.

    The sound keeps the earlier clip's channels and its rate, unless MP4 cannot hold them. It changes over where the
    given tokens end, less than one token before the pictures do.
    """
    length = ClipLength.from_latents(overlap)
    own = writable(Sound(earlier.waveform, earlier.sample_rate), AAC_RATES)
    rate = own.sample_rate
    rest = round((length.samples - length.tokens * HOP_LENGTH) * rate / SAMPLE_RATE)
    before = fit_sound(own.waveform, sound_samples(len(earlier.frames), VIDEO_FPS, rate) - rest)
    new = sound_samples(length.frames, VIDEO_FPS, rate) - rest
    after = to_model_sound(later.waveform, later.sample_rate, rate)[:, new:]
    return Clip(
        torch.cat((earlier.frames, later.frames[length.frames :])),
        torch.cat((before, after.expand(len(before), -1)), dim=1),
        VIDEO_FPS,
        rate,
    )


def conditions(
    bundle: Bundle, part: AVLatent, given: Given, caption: str, script: Script
) -> tuple[Conditions, Conditions]:
    """What the conditional and the unconditional pass of a window are told."""
    device = part.video.device
    told = ((caption, script.ids()), ("", script.negative_ids()))
    return tuple(
        Conditions(bundle.caption_encoder.encode([seen]).to(device), ids.to(device), given.image, given.voice, way)
        for (seen, ids), way in zip(told, interactions(part, given.voice is not None), strict=True)
    )


def clip_length(material: Material, frames: int | None) -> ClipLength:
    """How long the clip is. Raises ``ValueError`` if what is given does not fit it."""
    if material.footage is not None:
        needed, what = len(material.footage), "footage"
    elif material.sound is not None:
        needed, what = math.ceil(material.sound.seconds * VIDEO_FPS), "sound"
    else:
        return ClipLength(TRAINED_FRAMES if frames is None else frames)
    if needed > MAX_FRAMES:
        raise ValueError(
            f"the {what} lasts {needed / VIDEO_FPS:.0f} s, a clip can last {MAX_FRAMES // VIDEO_FPS} s at most: "
            "cut it into parts"
        )
    length = ClipLength(cover_frames(max(needed, 2)) if frames is None else frames)  # one frame would be the picture
    if length.frames < needed:
        raise ValueError(
            f"the {what} lasts {needed / VIDEO_FPS:.2f} s, the clip of {length.frames} frames {length.seconds:.2f} s: "
            f"ask for {cover_frames(needed)} frames, or for a clip as long as the {what}"
        )
    return length


def decode(bundle: Bundle, latent: AVLatent, length: ClipLength, gain: float = 1.0) -> Clip:
    """Latents -> pictures and sound of the same length, the sound ``gain`` times less loud than in the latents.

    Raises ``ValueError`` rather than give a broken clip.
    """
    check_finite("sampling", latent.video, latent.audio)
    pixels = bundle.vae.decode(latent.video)  # [1, 3, F, H, W] in [-1, 1]
    sound = bundle.vocoder.decode(denormalize(latent.audio))  # [1, 1, L * 240]
    check_finite("decoding", pixels, sound)
    frames = (pixels[0].movedim(0, -1).float() + 1) / 2  # [F, H, W, 3]
    waveform = fit_sound(sound[0].float() / gain, length.samples)  # [1, samples]
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


def check_continued(latents: int) -> None:
    """Raises ``ValueError`` if a clip cannot go on from so few latents of an earlier one."""
    if latents < 1:
        raise ValueError(f"a clip goes on from at least 1 latent of the earlier one, not {latents}")


def check_finite(stage: str, *tensors: Tensor) -> None:
    """Raises ``ValueError`` if a stage gave numbers that are no numbers."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise ValueError(
            f"{stage} gave numbers that are NaN or infinite, so there is no clip: lower the guidance scales, "
            "or compute in float32"
        )
