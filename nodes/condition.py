"""UniAVGen Conditions: texts and given material -> what the sampler is told, and the clip to fill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..uniavgen_core.config import RELEASE
from ..uniavgen_core.geometry import (
    MAX_FRAMES,
    RELEASE_SHORT_SIDE,
    SPATIAL_STRIDE,
    TRAINED_FRAMES,
    VIDEO_FPS,
    ClipLength,
    check_frames,
)
from ..uniavgen_core.pipeline import Earlier, Material, check_continued, clip_length, clip_size, encode_given
from ..uniavgen_core.task import plan
from ..uniavgen_core.text.script import check_voice
from ..uniavgen_core.types import AVLatent
from ..uniavgen_core.video.picture import check_picture
from ..uniavgen_core.windows import OVERLAP, plan_windows
from . import remarks
from .adapter_conditioning import IMAGE, INTERACTION, VOICE, script_of, with_values
from .adapter_latent import GAIN, parts, to_host
from .adapter_video import HostVae, Source, opaque, open_video, sound_of
from .checks import verdict
from .notices import says_what_it_notices
from .search import searched_as


class UniAVGenConditions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenConditions",
            display_name="UniAVGen Conditions",
            category="UniAVGen",
            description="Puts what is given beside the texts and makes the latent of video and sound to fill. What is "
            "connected decides the task: a picture alone (joint), a voice, driving audio, a video to dub, or an "
            "earlier clip to continue.",
            **searched_as(
                "lip sync, talking head, talking photo, audio driven, A2V, dub, dubbing, V2A, "
                "video to audio, voice clone, voice cloning, extend video, 对口型, 数字人, 配音, 声音克隆"
            ),
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="Caption and speech, from 'UniAVGen Text Encode'; what is given is added."
                ),
                io.Conditioning.Input(
                    "negative", tooltip="The empty texts, from 'UniAVGen Text Encode'; what is given is added."
                ),
                io.Vae.Input(
                    "vae", tooltip="Turns given pictures into latents: wan2.2_vae, or the tiny model's own VAE."
                ),
                io.Image.Input(
                    "reference_image",
                    optional=True,
                    tooltip="The person; the clip's first frame looks like it. Of several pictures the first is used. "
                    "May stay open if a video to dub or an earlier clip shows the person.",
                ),
                io.Int.Input(
                    "frames",
                    default=TRAINED_FRAMES,
                    min=1,
                    max=MAX_FRAMES,
                    step=4,
                    tooltip="Frames at 16 a second, 4n + 1. The model was trained on 81 (5 seconds); longer clips "
                    "are for 'UniAVGen Long Sampler'. Of a continuation, with the part that is continued.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=8192,
                    step=32,
                    tooltip="Width of the clip, a multiple of 32. 0 for both sizes: as large as the model expects, in "
                    "the picture's proportions.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=32,
                    tooltip="Height of the clip, a multiple of 32. 0 for both sizes: as large as the model expects, in "
                    "the picture's proportions.",
                ),
                io.Audio.Input(
                    "reference_voice",
                    optional=True,
                    tooltip="How the person sounds: a few seconds of speech. Write what is said in it into "
                    "'transcript' of 'UniAVGen Text Encode'.",
                ),
                io.Audio.Input(
                    "driving_audio", optional=True, tooltip="All that is heard in the clip; the lips follow it."
                ),
                io.Video.Input(
                    "video", optional=True, tooltip="Footage to dub: it stays as it is and gets a voice. Any rate."
                ),
                io.Video.Input(
                    "earlier_video", optional=True, tooltip="A clip with sound: the new one goes on from its end."
                ),
                io.Latent.Input(
                    "earlier_latent", optional=True, tooltip="The AV LATENT of an earlier clip to go on from, instead."
                ),
                io.Int.Input(
                    "continued_latents",
                    default=OVERLAP,
                    min=1,
                    max=20,
                    optional=True,
                    tooltip="How much of the earlier clip's end the new one begins with: n latents are 4n - 3 frames.",
                ),
                io.Boolean.Input(
                    "as_long_as_given",
                    default=False,
                    optional=True,
                    tooltip="Makes the clip as long as the driving audio or the video to dub needs; frames then only "
                    "counts without these.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler or the guider."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler or the guider."),
                io.Latent.Output(display_name="AV LATENT", tooltip="Video and sound, with masks over what is given."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, frames: int | None = None, width: int | None = None, height: int | None = None
    ) -> bool | str:
        length = verdict(check_frames, frames)
        return verdict(check_wish, width, height) if length is True else length

    @classmethod
    @says_what_it_notices
    def execute(
        cls,
        positive,
        negative,
        vae,
        frames: int,
        width: int,
        height: int,
        reference_image: Tensor | None = None,
        reference_voice: dict[str, Any] | None = None,
        driving_audio: dict[str, Any] | None = None,
        video=None,
        earlier_video=None,
        earlier_latent: dict[str, Any] | None = None,
        continued_latents: int = OVERLAP,
        as_long_as_given: bool = False,
    ) -> io.NodeOutput:
        check_vae(vae)
        script = script_of(positive)
        script_of(negative)
        if earlier_video is not None and earlier_latent is not None:
            raise ValueError("an earlier clip cannot be given twice: connect earlier_video or earlier_latent, not both")
        earlier = earlier_video if earlier_latent is None else earlier_latent
        wired = Material(reference_image, reference_voice, script.transcript, driving_audio, video, earlier)
        check_continued(continued_latents)
        wired.check()  # what is there and what is not, before anything is read
        remarks.on_first_only("reference_image", 0 if reference_image is None else len(reference_image))
        for name, sound in (("reference_voice", reference_voice), ("driving_audio", driving_audio)):
            remarks.on_first_only(name, 0 if sound is None else len(sound["waveform"]))
        if driving_audio is None:
            script.check()

        shown = None if video is None and earlier_video is None else open_video(video or earlier_video)
        size = clip_shape(vae, reference_image, shown, earlier_latent, width, height)
        if earlier_video is not None:
            earlier = last_frames(shown, *size, continued_latents)
        elif earlier_latent is not None:
            earlier = AVLatent(*parts(earlier_latent))
        material = replace(
            wired,
            picture=None if reference_image is None else opaque(reference_image[:1]),
            voice=None if reference_voice is None else sound_of(reference_voice),
            sound=None if driving_audio is None else sound_of(driving_audio),
            footage=None if video is None else shown.frames(*size),
            earlier=earlier,
        )
        if material.voice is not None:
            check_voice(script.transcript, material.voice.seconds)
        long = as_long_as_given and (video is not None or driving_audio is not None)
        length = clip_length(material, None if long else frames)
        (clip,) = plan_windows(length, length.frames, given=0 if earlier is None else continued_latents)
        clip.check_text(script.text)
        remark(material, script.text, shown, size, length, clip.given_seconds)

        given = encode_given(HostVae(vae), material, *size, length, continued_latents)
        gain = given.gain * (1.0 if earlier_latent is None else earlier_latent.get(GAIN, 1.0))
        planned = plan(given, length)
        told = {IMAGE: given.image} | ({} if given.voice is None else {VOICE: given.voice})
        return io.NodeOutput(
            with_values(positive, **told, **{INTERACTION: planned.interaction}),
            with_values(negative, **told, **{INTERACTION: planned.negative_interaction}),
            {**to_host(planned.latent), GAIN: gain},
        )


def remark(
    material: Material, text: str, shown: Source | None, size: tuple[int, int], length: ClipLength, before: float
) -> None:
    """Warnings about what of the given things is not used as it is. before: seconds that an earlier clip has made."""
    if material.picture is not None:
        remarks.on_size("the reference image", check_picture(material.picture), size)
    if shown is not None:
        remarks.on_size("the video", shown.size, size)
    if material.sound is not None:
        remarks.on_shorter("the driving audio", material.sound.seconds, length.seconds, "the rest is silent")
    else:
        remarks.on_pace(text, length.seconds - before)
    if material.footage is not None:
        seconds = len(material.footage) / VIDEO_FPS
        remarks.on_shorter("the video", seconds, length.seconds, "its last picture stands still to the end")


def clip_shape(
    vae: Any, picture: Tensor | None, shown: Source | None, latent: dict[str, Any] | None, width: int, height: int
) -> tuple[int, int]:
    """``(height, width)`` of the clip: as asked for, or of what stays as it is, else of the picture.

    Raises ``ValueError`` for a size that is none, or another than that of a latent to go on from.
    """
    short_side = getattr(vae, "uniavgen_short_side", RELEASE_SHORT_SIDE)
    if latent is not None:
        found = tuple(side * SPATIAL_STRIDE for side in parts(latent)[0].shape[-2:])
        if (width or height) and (height, width) != found:
            raise ValueError(
                f"the earlier latent is of {found[1]} x {found[0]} pixels, so the clip cannot be {width} x {height}: "
                "set width and height to 0"
            )
        return found
    original = check_picture(opaque(picture[:1])) if shown is None else shown.size
    return clip_size(original, height or None, width or None, short_side)


def last_frames(source: Source, height: int, width: int, latents: int) -> Earlier:
    """The end of a video that so many latents need, or all of it if it is shorter."""
    start = max(0, source.count - ClipLength.from_latents(latents).frames)
    return Earlier.of(source.frames(height, width)[start:], source.sound(), source.count)


def check_vae(vae: Any) -> None:
    """Raises ``ValueError`` for a VAE of another family."""
    channels = getattr(vae, "latent_channels", None)
    if channels != RELEASE.video_channels:
        raise ValueError(
            f"this VAE makes latents of {channels} channels, UniAVGen needs {RELEASE.video_channels}: use wan2.2_vae, "
            "or the tiny model's own VAE"
        )


def check_wish(width: int, height: int) -> None:
    """Raises ``ValueError`` unless width and height are a size, or 0 x 0."""
    if width or height:
        clip_size((1, 1), height or None, width or None, RELEASE_SHORT_SIDE)
