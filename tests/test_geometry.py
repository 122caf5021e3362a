"""Known numbers of the release, and what cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniavgen_core.geometry import MAX_FRAMES, MAX_SIDE, ClipLength, check_frames, check_size, cover_frames, fit_size
from uniavgen_core.video.footage import fit_frames
from uniavgen_core.windows import TOKENS_PER_LATENT


def test_the_trained_length() -> None:
    length = ClipLength()
    assert (length.frames, length.latents, length.tokens, length.samples) == (81, 21, 506, 121_500)
    assert length.seconds == 5.0625


@given(st.integers(1, 2000))
def test_latents_and_frames_are_inverse(latents: int) -> None:
    length = ClipLength.from_latents(latents)
    assert length.latents == latents
    assert 0 <= length.samples - 240 * length.tokens < 240


@pytest.mark.parametrize("frames, offer", [(80, "77 and 81"), (82, "81 and 85"), (0, "1 and 5"), (-7, "1 and 5")])
def test_a_frame_count_that_is_not_4n_plus_1(frames: int, offer: str) -> None:
    with pytest.raises(ValueError, match=rf"must be 4n \+ 1. The next ones are {offer}"):
        ClipLength(frames)


@pytest.mark.parametrize("size, sentence", [((100, 64), "width 100 .* 96 and 128"), ((64, 0), "height 0 .* 32 and 64")])
def test_a_size_off_the_grid(size: tuple[int, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_size(*size)


@given(st.integers(300, 3000), st.integers(300, 3000), st.sampled_from([128, 256, 720]))
def test_fitted_sizes_are_on_the_grid(height: int, width: int, short_side: int) -> None:
    """The release divides in float64, so the shorter side is rounded up one step too far for some sizes."""
    fitted = fit_size(height, width, short_side)
    check_size(*fitted)
    target = -(-short_side // 32) * 32
    assert min(fitted) in (target, target + 32)
    assert fit_size(width, height, short_side) == fitted[::-1]


LENGTHS = pytest.mark.case("Media", "seconds, frames, latents and tokens of clips of any length")


@LENGTHS
@given(st.integers(1, (MAX_FRAMES - 1) // 4))
def test_every_length_in_every_unit(latents: int) -> None:
    """A token is 10 ms, a frame 62.5 ms: the last token may be one that does not quite fill the last frame."""
    length = ClipLength.from_latents(latents)
    assert check_frames(length.frames) == length.frames == 4 * latents - 3
    assert ClipLength(length.frames).latents == latents
    assert length.seconds * 16 == length.frames and length.samples == 1500 * length.frames
    assert length.tokens == length.samples // 240 == 25 * latents - 19  # 6.25 a frame, rounded down
    assert 0 <= length.seconds - length.tokens / 100 < 0.01
    assert ClipLength.from_latents(latents + 1).tokens - length.tokens == TOKENS_PER_LATENT


@LENGTHS
@given(st.integers(-10, MAX_FRAMES + 10))
def test_any_number_of_frames_is_a_length_or_refused_with_the_next_ones(frames: int) -> None:
    try:
        assert check_frames(frames) == frames and frames % 4 == 1
    except ValueError as error:
        assert f"cannot have {frames} frames" in str(error)
        if frames <= MAX_FRAMES:
            below, above = (int(word.strip(".")) for word in str(error).split("ones are ")[1].split(" and "))
            assert above == below + 4 and (below < frames < above or frames < 1 == below)
            assert check_frames(below) == below
    else:
        assert cover_frames(frames) == fit_frames(frames) == frames
    if 1 <= frames <= MAX_FRAMES - 4:
        assert fit_frames(frames) <= frames <= cover_frames(frames) < fit_frames(frames) + 5
        assert {check_frames(fit_frames(frames)) % 4, check_frames(cover_frames(frames)) % 4} == {1}


@LENGTHS
@given(st.integers(-100, MAX_SIDE + 100), st.integers(-100, MAX_SIDE + 100))
def test_any_size_is_on_the_grid_or_refused(width: int, height: int) -> None:
    fits = all(32 <= side <= MAX_SIDE and side % 32 == 0 for side in (width, height))
    try:
        assert check_size(width, height) == (width, height) and fits
    except ValueError as error:
        assert not fits and ("must be a multiple of 32" in str(error) or "is too large" in str(error))
