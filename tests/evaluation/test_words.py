"""Word error rate on known words, by recognisers that are told what to hear, and by a Whisper of no training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from media import grey, tone, write_video

from evaluation import words
from evaluation.__main__ import main
from evaluation.clips import Clip
from evaluation.recording import Unmeasurable


def write_clip(path: Path, sound: np.ndarray | None = None) -> Path:
    """A second of pictures with a sound [samples] at 24 kHz."""
    sound = tone(1, 24_000)[0] if sound is None else sound
    return write_video(path, [grey(index) for index in range(16)], sound=sound[None])


PLAIN = (words.plain_text, "plain")


def measured(tmp_path: Path, speech: str, heard: str, **options: str) -> dict:
    clip = Clip("one", write_clip(tmp_path / "one.mp4"), speech, options.pop("language", ""))
    return words.Words(lambda sound, language: heard, "told", PLAIN, **options).of(clip)


def test_errors_are_counted_per_word_that_was_to_be_said(tmp_path: Path) -> None:
    values = measured(tmp_path, "Hello, doctor. Coffee please!", "hello doctor tea please now")
    assert (values["errors"], values["words"], values["wer"]) == (2, 4, 0.5)
    assert values["heard"] == "hello doctor tea please now"


def test_noise_in_which_nothing_is_heard_is_all_wrong(tmp_path: Path) -> None:
    assert measured(tmp_path, "one two", "")["wer"] == 1


@pytest.mark.parametrize("sound", [np.zeros((1, 24_000), np.float32), None])
def test_of_a_mute_clip_all_words_are_left_out(tmp_path: Path, sound: np.ndarray | None) -> None:
    path = write_video(tmp_path / "mute.mp4", [grey(index) for index in range(16)], sound=sound)
    clip = Clip("mute", path, "one two")
    values = words.Words(lambda *_: "one two", "told", PLAIN).of(clip)
    assert (values["wer"], values["errors"], values["words"], values["heard"]) == (1, 2, 2, "")
    with pytest.raises(Unmeasurable, match="no sound" if sound is None else "silent"):
        words.Words(lambda *_: "one two", "told", PLAIN, words.GRID).of(clip)


def test_chinese_counts_characters(tmp_path: Path) -> None:
    values = measured(tmp_path, "你好，世界。", "你好世间", language="auto")
    assert (values["words"], values["errors"]) == (4, 1)


def test_the_grid_convention_divides_by_what_was_heard(tmp_path: Path) -> None:
    values = measured(tmp_path, "bin blue at f 2 now", "bin blue at f two now please", convention=words.GRID)
    assert values["said"] == "bin blue at f  two now".replace("  ", " ")
    assert values["wer"] == pytest.approx(1 / 7)
    with pytest.raises(Unmeasurable, match="nothing was heard"):
        measured(tmp_path, "bin blue", "", convention=words.GRID)


def test_rates_of_clips_are_weighed_by_their_words() -> None:
    assert words.Words(None, "", PLAIN).columns[0].weight == "words"
    assert words.Words(None, "", PLAIN, words.GRID).columns[0].weight == ""


@pytest.mark.parametrize("speech", ["", "?!"])
def test_a_clip_without_words_has_no_rate(tmp_path: Path, speech: str) -> None:
    with pytest.raises(Unmeasurable):
        measured(tmp_path, speech, "one")


def test_pocketsphinx_hears_the_tiny_models_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from training.speech import VOICES, say
    from training.words import heard

    utterance = say(["water", "doctor", "tomorrow"], VOICES[0], 140, 0, [0.3, 0.3])
    assert heard(utterance.waveform) == ["water", "doctor", "tomorrow"]  # else the clip below proves nothing
    write_clip(tmp_path / "water.mp4", utterance.waveform)
    (tmp_path / "rows.csv").write_text("data_id,speech_content\nwater,Water doctor banana.\n")
    wanted = ["words", str(tmp_path), "--rows", str(tmp_path / "rows.csv"), "--recogniser", "pocketsphinx"]
    assert main(wanted) == 0
    assert "33.33 %" in capsys.readouterr().out
    saved = json.loads((tmp_path / "measured" / "words.json").read_text())
    assert saved["scores"]["wer"]["mean"] == pytest.approx(1 / 3)
    assert saved["settings"]["recogniser"] == "pocketsphinx"


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained Whisper of the smallest size, in the files of the published ones."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    folder = tmp_path_factory.mktemp("whisper")
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    special += [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    names = [*sorted(ByteLevel.alphabet()), *special]
    ids = {name: index for index, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(names), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_target_positions=64,
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"], bos_token_id=ids["<|endoftext|>"], suppress_tokens=None,
        begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.save_pretrained(folder)
    generation = {
        "is_multilingual": True,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "lang_to_id": {name: ids[name] for name in ("<|en|>", "<|zh|>")},
        "task_to_id": {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "max_length": 40,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation))
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("seconds", [1, 31])
def test_a_whisper_in_a_folder_transcribes_sound_of_any_length(whisper: Path, seconds: int) -> None:
    hear, (normalise, named) = words.load_whisper(str(whisper), fetch=False, device="cpu")
    sound = np.random.default_rng(0).normal(0, 0.1, seconds * words.HEARD_RATE).astype(np.float32)
    heard = hear(sound, "en")
    assert isinstance(heard, str) and heard == hear(sound, "en")
    assert normalise("It's Colour!") == "it is colour"
    assert "without" in named  # this one has no table of spellings


@pytest.mark.case("Disk and network", "a connection without the user's word")
def test_nothing_is_fetched_without_the_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "a.mp4")
    assert main(["words", str(tmp_path), "--recogniser", "openai/whisper-large-v3"]) == 2
    assert "--fetch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "told"),
    [
        ("jiwer", "WER needs jiwer: pip install jiwer ("),
        ("transformers", "WER needs transformers: pip install transformers ("),
        ("pocketsphinx", "this recogniser needs pocketsphinx: pip install pocketsphinx ("),
    ],
)
def test_without_a_package_it_is_said_before_any_clip_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str, told: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "a.mp4").touch()
    assert main(["words", str(tmp_path), "--recogniser", "pocketsphinx"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")  # nothing of a bar
    assert not (tmp_path / "measured").exists()
