"""Known numbers of the release, and what cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniavgen_core.geometry import ClipLength, check_size, fit_size


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
