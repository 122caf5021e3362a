"""Which words are heard: pocketsphinx with its own English model, which knows nothing of espeak or of the tiny model.

``python -m training words`` tells how often it errs on original speech and on speech that the vocoder made of its mel.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd

import numpy as np
import torch
from scipy.signal import resample_poly
from tqdm import tqdm

from evaluation.packages import need
from uniavgen_core.audio.mel import log_mel, peak_normalize
from uniavgen_core.geometry import SAMPLE_RATE
from uniavgen_core.tiny.load import load_part
from uniavgen_core.tiny.vocoder import TinyVocoder

from .arguments import at_least
from .speech import RATES, VOICES, WORDS, Utterance, Voice, say

HEARD_RATE = 16_000  # Hz, of pocketsphinx's model
LOUDNESS = 20_000  # of 32767: the loudest sample
HISS = 5  # deviation of the noise, of 32767: the model was made for microphones
MARGIN = HEARD_RATE // 5  # samples before and after
# of the recogniser: a new word is improbable, silence between words is not
INSERTION, SILENCE = 1e-3, 0.1
UTTERANCES = 50  # of each voice


def heard(waveform: np.ndarray) -> list[str]:
    """Sound [samples] at 24 kHz -> the words of ``WORDS`` that are heard in it, perhaps none."""
    loudest = max(abs(waveform).max(initial=0), 1e-9)
    divisor = gcd(HEARD_RATE, SAMPLE_RATE)
    sound = resample_poly(waveform / loudest * LOUDNESS, HEARD_RATE // divisor, SAMPLE_RATE // divisor)
    sound = np.pad(sound, MARGIN)
    sound = sound + np.random.default_rng(0).normal(0, HISS, len(sound))
    decoder = _decoder()
    decoder.reinit_feat()  # forgets what it heard before
    decoder.start_utt()
    decoder.process_raw(sound.clip(-32768, 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr.split() if hypothesis else []


@lru_cache(maxsize=1)
def _decoder():
    """Listens for any sequence of ``WORDS``."""
    from pocketsphinx import Decoder

    decoder = Decoder(lm=None, loglevel="FATAL", wip=INSERTION, silprob=SILENCE)
    decoder.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <words> = ({' | '.join(WORDS)})+;")
    decoder.activate_search("words")
    return decoder


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Words left out, put in or mistaken, as a share of the words said. Texts one by one."""
    from jiwer import wer

    return wer(list(said), list(heard))


def utterances(voice: Voice, count: int, seed: int = 0) -> list[Utterance]:
    """Three to six random words each at a random rate, with pauses and without."""
    generator, made = np.random.default_rng((seed, VOICES.index(voice))), []
    for _ in range(count):
        words = [str(word) for word in generator.choice(WORDS, generator.integers(3, 7))]
        pauses = generator.uniform(0, 0.6, len(words) - 1) * (generator.random(len(words) - 1) < 0.7)
        rate, shift = int(generator.choice(RATES)), int(generator.integers(-8, 9))
        made.append(say(words, voice, rate, shift, [float(pause) for pause in pauses]))
    return made


def copy_synthesis() -> Callable[[np.ndarray], np.ndarray]:
    """Sound -> mel -> the tiny model's vocoder -> sound, as long but for less than a frame."""
    vocoder = load_part("vocoder", TinyVocoder)

    def copy(waveform: np.ndarray) -> np.ndarray:
        sound = peak_normalize(torch.from_numpy(waveform))
        noise = torch.randn(sound.shape, generator=torch.Generator().manual_seed(0)) * 1e-4
        with torch.inference_mode():
            return vocoder.decode(log_mel((sound + noise)[None]))[0, 0].numpy()

    return copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--utterances", type=at_least(1), default=UTTERANCES, help="of each voice")


def main(options: argparse.Namespace) -> None:
    need("telling words", "espeakng_loader", "pocketsphinx", "jiwer")
    copy = copy_synthesis()
    for voice in VOICES:
        spoken = utterances(voice, options.utterances)
        texts = [one.text for one in spoken]
        original = [" ".join(heard(one.waveform)) for one in tqdm(spoken, voice.name, leave=False)]
        copied = [" ".join(heard(copy(one.waveform))) for one in tqdm(spoken, voice.name, leave=False)]
        rates = word_error_rate(texts, original), word_error_rate(texts, copied)
        print(f"{voice.name:12} word error rate: original {rates[0]:.3f}, through the vocoder {rates[1]:.3f}")
