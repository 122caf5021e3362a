"""Long and continued clips, made by the functions that users call: time runs on without a jump, to the sample."""

from __future__ import annotations

import pytest
import torch
from clock import MOST_FRAMES, MOST_SAMPLES, clock_bundle

from uniavgen_core.geometry import ClipLength
from uniavgen_core.pipeline import Material, generate, join
from uniavgen_core.sampling import Guidance
from uniavgen_core.types import Clip
from uniavgen_core.windows import plan_windows, texts

SPEECH = "ab cd ef gh ij. ba dc fe hg ji. aa bb cc dd ee. ff gg hh ii jj."
CONDITIONAL = Guidance(scale_video=1.0, scale_audio=1.0, skip_layers=())


def make(frames: int, window: int, overlap: int, speech: str = SPEECH, **material) -> tuple[Clip, list[list[int]]]:
    bundle = clock_bundle()
    material = Material(**({"picture": torch.zeros(1, 32, 32, 3)} | material))
    clip = generate(
        bundle,
        material,
        speech=speech,
        caption="",
        frames=frames,
        steps=1,
        guidance=CONDITIONAL,
        window=window,
        overlap=overlap,
    )
    return clip, bundle.model.told


def frame_numbers(clip: Clip) -> list[float]:
    return (clip.frames[:, 0, 0, 0] * MOST_FRAMES).tolist()


def sample_numbers(clip: Clip) -> torch.Tensor:
    return clip.waveform[0].double() * MOST_SAMPLES


@pytest.mark.parametrize(
    ("frames", "window", "overlap"), [(81, 81, 6), (145, 81, 6), (161, 81, 6), (205, 81, 15), (57, 9, 1), (241, 49, 3)]
)
def test_time_runs_on_over_windows(frames: int, window: int, overlap: int) -> None:
    clip, told = make(frames, window, overlap)
    assert frame_numbers(clip) == list(range(frames))
    sounding = ClipLength(frames).tokens * 240
    torch.testing.assert_close(
        sample_numbers(clip)[:sounding], torch.arange(sounding, dtype=torch.float64), atol=0.4, rtol=0
    )
    assert not clip.waveform[:, sounding:].any()  # less than a token
    letters = " abcdefghij"
    said = ["".join(letters[i] if letters[i:] else "" for i in ids if i >= 0).strip() for ids in told]
    expected = texts(SPEECH, plan_windows(ClipLength(frames), window, overlap))
    assert said == [text.replace(".", " ").strip() for text in expected]


@pytest.mark.parametrize("overlap", [1, 3, 6])
def test_time_runs_on_from_a_clip_to_what_continues_it(overlap: int) -> None:
    first, _ = make(33, 81, 6, "ab")
    whole = join(first, after(first, overlap), overlap)
    frames = 33 + 33 - ClipLength.from_latents(overlap).frames
    assert frame_numbers(whole) == list(range(frames))
    sounding = 1500 * frames - 60
    torch.testing.assert_close(
        sample_numbers(whole)[:sounding], torch.arange(sounding, dtype=torch.float64), atol=0.4, rtol=0
    )


def after(first: Clip, overlap: int) -> Clip:
    """33 frames that begin with the last latents of the first clip, as the clock model makes them."""
    start = 33 - ClipLength.from_latents(overlap).frames
    frames = (torch.arange(start, start + 33) / MOST_FRAMES)[:, None, None, None].expand(-1, 32, 32, 3)
    samples = torch.arange(1500 * start, 1500 * (start + 33)).double() / MOST_SAMPLES
    samples[-60:] = 0  # less than a token
    return Clip(frames, samples.float()[None], 16, 24_000)
