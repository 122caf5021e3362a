"""How much of the public Vocos' mel the bridge loses, on recordings of speech: python benchmarks/mel_bridge.py FILE...

Needs the vocos package, whose own mel is what the bridged one is compared with.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from torch import Tensor
from vocos.feature_extractors import MelSpectrogramFeatures

sys.path.insert(0, str(Path(__file__).parents[1]))

from uniavgen_core.audio.mel import log_mel, peak_normalize
from uniavgen_core.audio.sound import read_sound, to_model_sound
from uniavgen_core.geometry import SAMPLE_RATE
from uniavgen_core.vocoder.bridge import to_public_mel

SECONDS = 12
GRID = 3840  # samples after which frames of 240 and of 256 begin together
KNOWN = 87  # bins below 8 kHz
DECIBEL = 20 / math.log(10)
HEARD = 40  # dB below the loudest frame


def differences(waveform: Tensor) -> dict[str, float]:
    """Mean absolute differences in dB for a waveform [1, samples] at 24 kHz."""
    mel_of = MelSpectrogramFeatures()
    narrow = to_model_sound(to_model_sound(waveform, SAMPLE_RATE, 16_000), 16_000)[:, : waveform.shape[1]]
    true, band_limited = mel_of(waveform)[0], mel_of((narrow * 2**15).round() / 2**15)[0]
    moved = mel_of(waveform.roll(SAMPLE_RATE // 400, 1))[0]
    bridged = to_public_mel(log_mel(waveform))[0, :, : true.shape[1]]
    loudness = true.exp().sum(0).log() * DECIBEL
    heard = loudness > loudness.max() - HEARD

    def difference(a: Tensor, b: Tensor, first: int, last: int) -> float:
        return float((a - b)[first:last, heard].abs().mean() * DECIBEL)

    return {
        "0-19": difference(bridged, true, 0, 20),
        "20-86": difference(bridged, true, 20, KNOWN),
        "0-86": difference(bridged, true, 0, KNOWN),
        "87-99": difference(bridged, true, KNOWN, 100),
        "0-99 from the sound below 8 kHz": difference(bridged, band_limited, 0, 100),
        "0-86, the sound moved by 2.5 ms": difference(moved, true, 0, KNOWN),
    }


def main() -> None:
    rows = []
    for path in sys.argv[1:]:
        sound = read_sound(path)
        waveform = peak_normalize(to_model_sound(sound.waveform, sound.sample_rate))[:, : SECONDS * SAMPLE_RATE]
        rows.append(differences(waveform[:, : waveform.shape[1] // GRID * GRID]))
        print(path, *(f"{value:.2f}" for value in rows[-1].values()))
    for name in rows[0]:
        print(f"{name}: {sum(row[name] for row in rows) / len(rows):.2f} dB")


if __name__ == "__main__":
    main()
