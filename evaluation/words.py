"""Word error rate: what a speech recogniser hears, against what was to be said (paper, tables 1 and 2).

--recogniser: a Whisper for transformers, as a folder or, with --fetch, by its name on the Hub (the paper used
openai/whisper-large-v3); or "pocketsphinx", which needs no download and listens for the tiny model's words alone.

The rate is that of all clips together: words left out, put in or mistaken, per word that was to be said. In Chinese
each character counts as a word. In a clip that is silent or has no sound nothing is heard. --convention grid is that of
a script published for GRID, to compare with its numbers: errors per word heard (reference and hypothesis are swapped),
averaged over clips, clips in which nothing is heard left out; its own normaliser (no punctuation, digits spelled out).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from . import measure
from .clips import Clip
from .packages import need
from .recording import Unmeasurable
from .report import Column, Value

HEARD_RATE = 16_000  # Hz, of Whisper
POCKETSPHINX = "pocketsphinx"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CHINESE = re.compile("[\u3400-\u9fff]")
CORRECT, GRID = "correct", "grid"

Recogniser = Callable[[np.ndarray, str], str]  # sound [samples] at 16 kHz, language -> words
Normaliser = Callable[[str], str]


class Words:
    """The measure (see `measure.Measure`). hear: what recognises; named: what it is, for the tables"""

    name = "words"

    def __init__(self, hear: Recogniser, named: str, normalisers: tuple[Normaliser, str], convention: str = CORRECT):
        self.hear, self.convention = hear, convention
        self.normalise, normaliser = (grid_text, "as the GRID script") if convention == GRID else normalisers
        title = "WER" if convention == CORRECT else "WER (GRID script)"
        self.columns = (Column("wer", title, "lower", 2, weight="" if convention == GRID else "words", percent=True),)
        self.settings: dict[str, Value] = {"recogniser": named, "normaliser": normaliser, "convention": convention}

    def of(self, clip: Clip) -> dict[str, Value]:
        if not clip.speech:
            raise Unmeasurable("it is not known what was to be said: give --rows, or a column speech_content")
        chinese = clip.language == "zh" or (clip.language != "en" and bool(CHINESE.search(clip.speech)))
        normalise = characters if chinese else self.normalise
        said = normalise(clip.speech).split()
        if not said:
            raise Unmeasurable(f"nothing is left of {clip.speech!r} once it is normalised")
        recording = clip.read()
        if self.convention == GRID or recording.sound.any():
            heard = normalise(self.hear(recording.sound_at(HEARD_RATE), "zh" if chinese else "en")).split()
        else:
            heard = []
        if self.convention == GRID and not heard:
            raise Unmeasurable("nothing was heard: the GRID script leaves such clips out")
        errors, rate = compare(heard, said) if self.convention == GRID else compare(said, heard)
        return {"wer": rate, "errors": errors, "words": len(said), "said": " ".join(said), "heard": " ".join(heard)}


def compare(reference: list[str], hypothesis: list[str]) -> tuple[int, float]:
    """Words left out, put in or mistaken: how many, and per word of the reference, of which there is one at least."""
    from jiwer import process_words

    found = process_words(" ".join(reference), " ".join(hypothesis))
    errors = found.substitutions + found.deletions + found.insertions
    return errors, errors / len(reference)


def characters(text: str) -> str:
    """Chinese text with each character as a word, without punctuation."""
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    return BasicTextNormalizer(split_letters=True)(text)


def plain_text(text: str) -> str:
    """Lower case without punctuation."""
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    return BasicTextNormalizer()(text)


def grid_text(text: str) -> str:
    """As the GRID script has it: no punctuation, digits spelled one by one, lower case."""
    bare = re.sub(r"[^\w\s]", "", text)
    return re.sub("[0-9]", lambda digit: f" {DIGITS[int(digit[0])]}", bare).lower()


def pocketsphinx(sound: np.ndarray, _: str) -> str:
    """The tiny model's words that are heard."""
    from scipy.signal import resample_poly

    from training.words import heard
    from uniavgen_core.geometry import SAMPLE_RATE

    return " ".join(heard(resample_poly(sound, SAMPLE_RATE, HEARD_RATE)))


def load_whisper(place: str, fetch: bool, device: str) -> tuple[Recogniser, tuple[Normaliser, str]]:
    """place: a folder, or the name of a repository on the Hub, of which nothing is fetched without the word for it.

    Raises ``ValueError`` or ``OSError`` with a sentence for what is neither.
    """
    if not fetch and not Path(place).is_dir():
        raise ValueError(f"there is no folder {place}: give one with a Whisper, or --fetch to take it from the Hub")
    from transformers import WhisperForConditionalGeneration, WhisperProcessor
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    processor = WhisperProcessor.from_pretrained(place, local_files_only=not fetch)
    model = WhisperForConditionalGeneration.from_pretrained(place, local_files_only=not fetch, use_safetensors=True)
    model = model.to(device).eval()
    spelling = getattr(processor.tokenizer, "english_spelling_normalizer", None)
    normaliser = "Whisper's English" + ("" if spelling else " without its table of spellings")
    hear = partial(transcribe, model, processor)
    return hear, (EnglishTextNormalizer(spelling or {}), normaliser)


def transcribe(model, processor, sound: np.ndarray, language: str) -> str:
    """Sound [samples] at 16 kHz of any length -> text."""
    import torch

    asked = {"sampling_rate": HEARD_RATE, "return_tensors": "pt", "return_attention_mask": True}
    if len(sound) > processor.feature_extractor.n_samples:  # more than its window of 30 s
        asked |= {"truncation": False, "padding": "longest"}
    inputs = processor(sound, **asked)
    many = getattr(model.generation_config, "is_multilingual", False)
    told = {"language": language, "task": "transcribe"} if many else {}
    with torch.inference_mode():
        ids = model.generate(**inputs.to(model.device, model.dtype), return_timestamps=True, **told)
    return processor.batch_decode(ids, skip_special_tokens=True)[0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measure.add_arguments(parser)
    parser.add_argument("--recogniser", required=True, help=f"a Whisper's folder or name, or {POCKETSPHINX}")
    parser.add_argument("--fetch", action="store_true", help="take the Whisper of that name from the Hub")
    parser.add_argument("--device", default="cpu", help="where Whisper runs: cpu, cuda")
    parser.add_argument("--convention", choices=(CORRECT, GRID), default=CORRECT)


def main(options: argparse.Namespace) -> int:
    need("WER", "jiwer", "transformers")  # normalisers of transformers serve any recogniser
    if options.recogniser == POCKETSPHINX:
        need("this recogniser", "pocketsphinx")
        hear, normalisers = pocketsphinx, (plain_text, "lower case, no punctuation")
    else:
        hear, normalisers = load_whisper(options.recogniser, options.fetch, options.device)
    return measure.run(Words(hear, options.recogniser, normalisers, options.convention), options)
