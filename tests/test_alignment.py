"""Which tokens of one branch see which of the other: for clips of every length, what is seen is of the same time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniavgen_core.geometry import ClipLength
from uniavgen_core.model.alignment import (
    MARGIN_FRAMES,
    FrameContexts,
    audio_windows,
    context_order,
    frame_contexts,
    latent_frames,
    nearest_contexts,
    own_windows,
)

LATENTS = st.integers(1, 80)
ALIGNED = pytest.mark.case("Media", "pictures and sound of clips of any length are aligned")


@st.composite
def clips(draw) -> tuple[int, int]:
    """Latents and tokens: those of a clip, or some tokens more or less, as other callers may give."""
    latents = draw(LATENTS)
    tokens = ClipLength.from_latents(latents).tokens
    return latents, draw(st.one_of(st.just(tokens), st.integers(max(1, tokens - 6), tokens + 6)))


@ALIGNED
@given(LATENTS)
def test_latents_share_out_the_frames(latents: int) -> None:
    spans = latent_frames(latents)
    assert len(spans) == latents
    assert [frame for span in spans for frame in range(*span)] == list(range(ClipLength.from_latents(latents).frames))


@ALIGNED
@given(clips())
def test_a_latent_hears_its_own_time_and_little_more(clip: tuple[int, int]) -> None:
    """All tokens that begin in its frames, none farther away than the margin and one token's rounding on each side."""
    latents, tokens = clip
    windows, rate = audio_windows(latents, tokens), tokens / ClipLength.from_latents(latents).frames
    assert windows.shape[0] == latents
    assert windows.min() >= 0 and windows.max() < tokens
    assert (windows.diff(dim=1) >= 0).all() and (windows.diff(dim=0) >= 0).all()  # time never runs back
    for (start, stop), seen in zip(latent_frames(latents)[1:], windows[1:].tolist(), strict=True):
        assert set(range(round(start * rate), min(tokens, round(stop * rate)))) <= set(seen)
        assert seen[0] >= min(tokens - 1, (start - MARGIN_FRAMES) * rate - 3)
        assert seen[-1] <= (stop + MARGIN_FRAMES) * rate + 3
    assert 0 in windows[0].tolist()
    assert windows[0, -1] <= windows.shape[1] and (latents == 1 or windows[-1, -1] == tokens - 1)


@ALIGNED
@given(clips())
def test_windows_without_a_margin_share_out_the_sound(clip: tuple[int, int]) -> None:
    latents, tokens = clip
    windows, rate = own_windows(latents, tokens), tokens / ClipLength.from_latents(latents).frames
    assert sorted(set(windows.flatten().tolist())) == list(range(tokens))  # none is lost
    for (start, stop), seen in zip(latent_frames(latents), windows.tolist(), strict=True):
        assert start * rate - 1 < seen[0] <= seen[-1] < stop * rate + 1


def latents_seen(contexts: list[FrameContexts], tokens: int) -> dict[int, tuple[int, float]]:
    """Of each token: the latent that it sees, and how much of the one after it."""
    seen = {}
    for group in contexts:
        for place, row in enumerate(group.tokens.tolist()):
            weights = [0.0] * len(row) if group.weights is None else group.weights[place].tolist()
            for token, weight in zip(row, weights, strict=True):
                assert seen.get(token, (group.latent + place, weight)) == (group.latent + place, weight)
                seen[token] = (group.latent + place, weight)
    return seen


@ALIGNED
@given(clips(), st.data())
def test_every_token_sees_the_pictures_of_its_time(clip: tuple[int, int], data) -> None:
    """The latent of its moment, mixed with the next one only in the last frame before that; from ``first`` on, once."""
    latents, tokens = clip
    first = data.draw(st.integers(0, tokens - 1))
    frames = ClipLength.from_latents(latents).frames
    spans = latent_frames(latents)
    for build in (frame_contexts, nearest_contexts):
        contexts = build(latents, tokens, first)
        seen = latents_seen(contexts, tokens)
        assert sorted(seen) == list(range(first, tokens))
        for token, (latent, weight) in seen.items():
            moment = token * frames / tokens  # in frames
            assert 0 <= weight < 1
            start, stop = spans[min(latent, latents - 1)]  # T stands for the last latent, doubled
            assert start - 1e-3 <= moment < stop + 1e-3
            if weight > 1e-3:
                assert weight == pytest.approx(moment - (stop - 1), abs=1e-3)
        order = context_order(contexts, tokens)
        row = torch.cat([group.tokens.flatten() for group in contexts])
        assert row[order[first:]].tolist() == list(range(first, tokens))


@ALIGNED
@given(clips(), st.integers(1, 30))
def test_parts_of_contexts_are_the_contexts(clip: tuple[int, int], places: int) -> None:
    contexts = frame_contexts(*clip)
    parts = [part for group in contexts for part in group.split(places)]
    assert max(len(part.tokens) for part in parts) <= places
    assert latents_seen(parts, clip[1]) == latents_seen(contexts, clip[1])
