"""Whose voice it is, and how high: measured from sound alone.

pitch: praat's autocorrelation, by parselmouth
voice: the nearest of ``VOICES`` (Mahalanobis) in pitch and in the form of the spectrum, known from other utterances

``python -m training.voices`` tells how often that is right on unseen speech and on speech that the vocoder made.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from uniavgen_core.audio.mel import log_mel, peak_normalize
from uniavgen_core.geometry import SAMPLE_RATE

from .speech import VOICES
from .words import copy_synthesis, utterances

LOWEST, HIGHEST = 50.0, 500.0  # Hz
QUIET = 4.0  # log units below the loudest frame: no speech
CEPSTRA = 13  # the form of the spectrum: its lowest cosine functions but the first, which is loudness
KNOWN = 40  # utterances of each voice that it is known from
SEEN, UNSEEN = 1, 2  # seeds


def pitch(waveform: np.ndarray) -> float:
    """Median over the voiced moments of a sound [samples] at 24 kHz, in Hz; NaN if none is voiced."""
    import parselmouth

    sound = parselmouth.Sound(waveform.astype(np.float64), SAMPLE_RATE)
    if sound.duration < 3 / LOWEST:  # praat needs three periods
        return float("nan")
    frequency = sound.to_pitch(pitch_floor=LOWEST, pitch_ceiling=HIGHEST).selected_array["frequency"]
    return float(np.median(frequency[frequency > 0])) if frequency.any() else float("nan")


def features(waveform: np.ndarray) -> np.ndarray:
    """Log of the pitch (of 150 Hz, if none is heard), and the mean spectral form of the loud frames: [1 + 12]."""
    from scipy.fft import dct

    mel = log_mel(peak_normalize(torch.from_numpy(waveform).float())[None])[0].numpy()  # [80, L]
    level = np.logaddexp.reduce(mel, axis=0)
    cepstra = dct(mel[:, level > level.max() - QUIET], axis=0, norm="ortho")[1:CEPSTRA].mean(axis=1)
    height = pitch(waveform)
    return np.concatenate(([np.log(150.0 if np.isnan(height) else height)], cepstra))


def which_voice(waveform: np.ndarray) -> int:
    """Sound [samples] at 24 kHz -> index of the nearest of ``VOICES``."""
    centres, precision = _known()
    away = features(waveform) - centres  # [voices, n]
    return int(np.einsum("vi,ij,vj->v", away, precision, away).argmin())


@lru_cache(maxsize=1)
def _known() -> tuple[np.ndarray, np.ndarray]:
    """Mean [voices, n] of the features of each voice, and the inverse of their covariance within a voice [n, n]."""
    known = np.array([[features(one.waveform) for one in utterances(voice, KNOWN, SEEN)] for voice in VOICES])
    centres = known.mean(axis=1)
    within = (known - centres[:, None]).reshape(-1, known.shape[-1])
    return centres, np.linalg.inv(np.cov(within.T))


def main() -> None:
    copy = copy_synthesis()
    for index, voice in enumerate(VOICES):
        spoken = [one.waveform for one in utterances(voice, 50, UNSEEN)]
        for name, sounds in (("original", spoken), ("through the vocoder", [copy(sound) for sound in spoken])):
            right = np.mean([which_voice(sound) == index for sound in sounds])
            print(f"{voice.name:12} {name:20} right {right:.0%}, pitch {np.median([*map(pitch, sounds)]):.1f} Hz")


if __name__ == "__main__":
    main()
