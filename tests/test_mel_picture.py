"""The picture of a mel: loud is bright, pitch goes upwards, time to the right, whatever the length."""

from __future__ import annotations

import math

import pytest
import torch

from uniavgen_core.audio.mel import log_mel
from uniavgen_core.audio.picture import BOTTOM, LEFT, RIGHT, TOP, WIDEST, mel_picture


def brightness(picture):
    return picture[TOP:-BOTTOM, LEFT:-RIGHT].astype(float).sum(axis=-1)


def test_a_tone_is_a_bright_line_where_its_pitch_is() -> None:
    moments = torch.arange(24_000) / 24_000
    rows = []
    for hertz in (500.0, 2000.0, 8000.0):
        mel = log_mel(0.9 * torch.sin(2 * math.pi * hertz * moments)[None])
        rows.append(int(brightness(mel_picture(mel[0])).sum(axis=1).argmax()))
    assert rows[0] > rows[1] > rows[2]
    # Slaney's scale: 500 Hz is 7.5 of 45.2, 2000 Hz 25.1
    assert rows[0] == pytest.approx(320 * (1 - 7.5 / 45.2), abs=8)
    assert rows[1] == pytest.approx(320 * (1 - 25.1 / 45.2), abs=8)


def test_silence_is_dark_and_sound_after_it_is_to_the_right() -> None:
    mel = torch.full((80, 100), math.log(1e-5))
    mel[:, 50:] = 0.0
    shades = brightness(mel_picture(mel))
    half = shades.shape[1] // 2
    assert shades[:, :half].max() < shades[:, half:].min()


@pytest.mark.parametrize("tokens", [1, 506, 30_000])
def test_any_length(tokens: int) -> None:
    picture = mel_picture(torch.zeros(80, tokens))
    assert picture.shape[0] == TOP + 320 + BOTTOM
    assert picture.shape[1] <= LEFT + WIDEST + RIGHT


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        mel_picture(torch.zeros(80, 0))
