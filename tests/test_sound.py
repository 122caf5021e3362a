"""Sound files of any kind -> samples in their places -> tokens as the release makes them, or one sentence."""

from __future__ import annotations

import math
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from media import cut_off, grey, tone, write_playlist, write_sound, write_video
from safetensors.torch import load_file

import uniavgen_core.audio.sound as sound_module
from uniavgen_core import media
from uniavgen_core.audio.mel import denormalize, log_mel, normalize, peak_normalize
from uniavgen_core.audio.sound import Sound, driving_tokens, read_sound, to_model_sound, voice_tokens, writable
from uniavgen_core.geometry import SAMPLE_RATE

GOLDEN = load_file(Path(__file__).parent / "data" / "mel.safetensors")
RATES = (8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000)


# files

LOSSLESS = [("a.wav", "pcm_s16le", "s16"), ("b.wav", "pcm_f32le", "flt"), ("c.wav", "pcm_s24le", "s32"),
            ("d.wav", "pcm_u8", "u8"), ("e.wav", "pcm_f64le", "dbl"), ("a.flac", "flac", "s16"),
            ("a.aiff", "pcm_s16be", "s16"), ("a.mkv", "pcm_s16le", "s16"), ("a.mov", "pcm_s16le", "s16"),
            ("a.m4a", "alac", "s16p")]  # fmt: skip
LOSSY = [("a.mp3", "libmp3lame", "fltp"), ("b.m4a", "aac", "fltp"), ("a.opus", "libopus", "s16"),
         ("a.webm", "libopus", "s16"), ("a.ts", "aac", "fltp"), ("a.aac", "aac", "fltp")]  # fmt: skip


@pytest.mark.case("Media", "three and more channels")
@pytest.mark.parametrize(
    ("name", "codec", "sample_format", "channels"),
    # FFmpeg's ALAC writes 5.1 in another order of channels
    [(*kind, channels) for kind in LOSSLESS for channels in (1, 2, 6) if (kind[1], channels) != ("alac", 6)],
)
def test_lossless_sound_comes_as_it_is(tmp_path: Path, name, codec, sample_format, channels: int) -> None:
    waveform = tone(0.5, 44_100) * np.linspace(0.2, 1, channels, dtype=np.float32)[:, None]
    sound = read_sound(write_sound(tmp_path / name, waveform, 44_100, codec=codec, sample_format=sample_format))
    assert sound.sample_rate == 44_100
    assert sound.waveform.dtype == torch.float32
    assert sound.seconds == 0.5
    step = 1 / 128 if sample_format == "u8" else 1e-4
    np.testing.assert_allclose(sound.waveform.numpy(), waveform, atol=step)


@pytest.mark.parametrize(("name", "codec", "sample_format"), LOSSY)
def test_lossy_sound_comes_without_delay(tmp_path: Path, name, codec, sample_format) -> None:
    waveform = tone(1, 48_000)
    sound = read_sound(write_sound(tmp_path / name, waveform, 48_000, codec=codec, sample_format=sample_format))
    delay = 1024 if name in ("a.ts", "a.aac") else 0  # these containers cannot say that an encoder starts earlier
    found = sound.waveform[0, delay:].numpy()
    assert 48_000 <= found.shape[0] < 48_000 + 1536
    middle = slice(4800, 43_200)
    np.testing.assert_allclose(found[middle], waveform[0, middle], atol=0.02)


def test_an_mp4_s_sound_ends_where_its_edit_list_ends(tmp_path: Path) -> None:
    sound = read_sound(write_sound(tmp_path / "a.m4a", tone(0.53, 24_000), 24_000, codec="aac"))
    assert abs(sound.waveform.shape[1] - 0.53 * 24_000) <= 24  # the list counts in milliseconds


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("late", [Fraction(0), Fraction(1, 2), Fraction(1, 100)])
def test_time_zero_is_the_first_picture(tmp_path: Path, name: str, late: Fraction) -> None:
    click = np.zeros((1, 24_000), np.float32)
    click[0, 6000:6100] = 0.9
    sound = read_sound(write_video(tmp_path / name, map(grey, range(16)), sound=click, sound_start=late))
    assert abs(int((sound.waveform[0].abs() > 0.4).nonzero()[0]) - (6000 + late * 24_000)) < 60
    assert not sound.waveform[0, : int(late * 24_000)].any()


def test_sound_before_the_first_picture_is_cut_off(tmp_path: Path) -> None:
    click = np.zeros((1, 24_000), np.float32)
    click[0, 12_000:12_100] = 0.9
    times = [Fraction(1, 4) + Fraction(i, 16) for i in range(12)]
    path = write_video(tmp_path / "a.mkv", map(grey, range(12)), times=times, sound=click)
    sound = read_sound(path)
    assert sound.waveform.shape == (1, 18_000)
    assert int((sound.waveform[0] > 0.4).nonzero()[0]) == 6000


@pytest.mark.case("Media", "text playlist named .mp4")
@pytest.mark.case("Media", "HLS")
@pytest.mark.parametrize("kind", ["ffconcat", "m3u8", "m3u"])
@pytest.mark.parametrize("name", ["list.wav", "list.mp4", "list.txt"])
def test_playlists_are_not_followed(tmp_path: Path, kind: str, name: str) -> None:
    target = write_sound(tmp_path / "secret.wav", tone(1, 24_000), 24_000, codec="pcm_s16le", sample_format="s16")
    with pytest.raises(ValueError, match=f"{name} cannot be read as sound.*not a playlist"):
        read_sound(write_playlist(tmp_path / name, kind, target))


def test_a_file_name_is_never_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sound = write_sound(tmp_path / "a.wav", tone(0.1, 8000), 8000, codec="pcm_s16le", sample_format="s16")
    sound.rename("concat:a.wav")
    assert read_sound("concat:a.wav").waveform.shape == (1, 800)
    with pytest.raises(FileNotFoundError, match="no sound file"):
        read_sound("http://localhost/a.wav")


@pytest.mark.case("Media", "no audio track where one is needed")
@pytest.mark.case("Media", "a file with zero samples")
def test_unfit_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("no sound " * 500)
    write_sound(tmp_path / "none.wav", np.zeros((1, 0), np.float32), 8000, codec="pcm_s16le", sample_format="s16")
    write_video(tmp_path / "silent.mp4", [grey(0)])
    for name, sentence in {
        "missing.wav": "there is no sound file",
        ".": "is a folder",
        "empty.wav": "is empty",
        "text.mp3": "cannot be read as sound",
        "none.wav": "has not a single sample",
        "silent.mp4": "has no sound",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            read_sound(tmp_path / name)


@pytest.mark.case("Media", "truncated sound file")
@pytest.mark.parametrize(("name", "codec", "sample_format"), [("a.wav", "pcm_s16le", "s16"), ("a.flac", "flac", "s16")])
def test_a_cut_off_file_is_refused_with_both_lengths(tmp_path: Path, name, codec, sample_format) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 48_000)).astype(np.float32)
    path = write_sound(tmp_path / name, noise, 24_000, codec=codec, sample_format=sample_format)
    with pytest.raises(ValueError, match=r"declares 2.00 s of sound but holds 1\.\d\d s"):
        read_sound(cut_off(path, 0.6))


def test_a_wav_from_a_pipe_does_not_know_its_length(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1, 8000), 8000, codec="pcm_s16le", sample_format="s16")
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read_sound(path).waveform.shape == (1, 8000)


@pytest.mark.case("Media", "damaged places in a sound file")
def test_damage_is_silent_and_does_not_shift_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 96_000)).astype(np.float32)
    noise[0, 72_000:72_100] = 0.99
    path = write_sound(tmp_path / "a.m4a", noise, 24_000, codec="aac")
    data = bytearray(path.read_bytes())
    data[20_000:21_500] = bytes([255]) * 1500
    path.write_bytes(data)
    found = read_sound(path).waveform
    assert found.shape[1] == pytest.approx(96_000, abs=1100)
    assert 71_990 < int(found[0].unfold(0, 60, 1).mean(1).argmax()) < 72_060
    assert "damaged" in caplog.text


def test_foreign_letters_in_a_title_do_no_harm(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(0.1, 8000), 8000, codec="pcm_s16le", sample_format="s16")
    data = path.read_bytes()
    title = b"LIST" + (16).to_bytes(4, "little") + b"INFOINAM" + (4).to_bytes(4, "little") + b"\xe9\xff\xfe\x00"
    place = data.index(b"data")
    data = data[:place] + title + data[place:]
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    assert read_sound(path).waveform.shape == (1, 800)


# to the model's form


@pytest.mark.case("Media", "odd sample rates")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [1, 2, 777, 10_001])
def test_the_length_is_exact(rate: int, samples: int) -> None:
    found = to_model_sound(torch.ones(1, samples), rate)
    assert found.shape == (1, max(1, round(Fraction(samples * SAMPLE_RATE, rate))))
    assert found.dtype == torch.float32


@pytest.mark.case("Media", "odd sample rates")
@pytest.mark.parametrize("rate", [*RATES, 23_999])
def test_tones_pass_unchanged_and_undelayed(rate: int) -> None:
    """Up to 92 % of the band that both rates have: amplitude within 0.0005 dB, everything else below -100 dB."""
    seconds, edge = 0.5, 2400
    moments = np.arange(round(seconds * rate)) / rate
    for share in (0.01, 0.1, 0.3, 0.6, 0.9, 0.92):
        hertz = share * min(rate, SAMPLE_RATE) / 2
        found = to_model_sound(torch.from_numpy(np.sin(2 * np.pi * hertz * moments))[None], rate)[0].numpy()
        wanted = np.arange(found.size) / SAMPLE_RATE
        error = (found - np.sin(2 * np.pi * hertz * wanted))[edge:-edge]
        assert np.sqrt(2 * np.mean(error**2)) < 1e-5


@pytest.mark.parametrize("rate", [32_000, 44_100, 48_000, 96_000])
def test_what_24_khz_cannot_hold_is_gone(rate: int) -> None:
    for hertz in (12_050, 13_000, 15_900):
        found = to_model_sound(torch.from_numpy(tone(0.5, rate, hertz)), rate)[0, 2400:-2400]
        assert found.square().mean().sqrt() < 1e-5 * 0.35  # -100 dB


@pytest.mark.case("Media", "three and more channels")
def test_mono_is_the_mean_of_the_channels() -> None:
    left, right = torch.rand(2, 500)
    torch.testing.assert_close(to_model_sound(torch.stack((left, right)), SAMPLE_RATE)[0], (left + right) / 2)
    assert not to_model_sound(torch.stack((left, -left)), SAMPLE_RATE).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_real_numbers_keep_their_value(dtype: torch.dtype) -> None:
    assert to_model_sound(torch.tensor([[0.5, -1.0, 2.0]], dtype=dtype), SAMPLE_RATE).tolist() == [[0.5, -1.0, 2.0]]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8])
def test_whole_numbers_are_scaled_by_their_range(dtype: torch.dtype) -> None:
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    middle = 128 if dtype == torch.uint8 else 0
    found = to_model_sound(torch.tensor([[low, middle, high]], dtype=dtype), SAMPLE_RATE)[0]
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0]), atol=0.01, rtol=0)
    assert found[1] == 0


@pytest.mark.parametrize(
    ("waveform", "rate", "sentence"),
    [
        (torch.zeros(0, 5), 24_000, "with samples"),
        pytest.param(torch.zeros(2, 0), 24_000, "with samples", marks=pytest.mark.case("Media", "zero samples")),
        (torch.zeros(5), 24_000, "with samples"),
        pytest.param(
            torch.tensor([[0.0, math.nan]]),
            24_000,
            "NaN or infinite",
            marks=pytest.mark.case("Media", "numbers that are NaN"),
        ),
        (torch.tensor([[0.0, -math.inf]]), 48_000, "NaN or infinite"),
        (torch.tensor([[math.inf], [-math.inf]]), 48_000, "NaN or infinite"),
        (torch.tensor([[1e300]], dtype=torch.float64), 24_000, "NaN or infinite"),
        pytest.param(torch.zeros(1, 5), 0, "0 Hz is not usable", marks=pytest.mark.case("Media", "odd sample rates")),
        pytest.param(
            torch.zeros(1, 5), 1_000_000, "is not usable", marks=pytest.mark.case("Media", "odd sample rates")
        ),
        pytest.param(torch.zeros(1, 5), 1, "1 Hz is not usable", marks=pytest.mark.case("Media", "odd sample rates")),
        (torch.zeros(1, 5), 44_100.5, "is not usable"),
        (torch.zeros(1, 5, dtype=torch.bool), 24_000, "bool numbers"),
        (torch.zeros(1, 5, dtype=torch.complex64), 24_000, "complex64 numbers"),
    ],
)
def test_unfit_sound_is_refused(waveform: torch.Tensor, rate: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        to_model_sound(waveform, rate)


# tokens


@pytest.mark.case("Media", "sound beyond full scale (clipping)")
def test_driving_tokens_are_the_release_s() -> None:
    chirp = GOLDEN["chirp.waveform"]
    loudest = chirp.abs().max()
    for level in (0.999146, 0.01, 5.0):  # loudness is the model's own, so clipped or quiet sound gives the same
        tokens = driving_tokens(Sound((chirp / loudest * level)[None], SAMPLE_RATE))
        expected = log_mel((chirp / loudest * 0.999146)[None])
        torch.testing.assert_close(denormalize(tokens), expected, atol=1e-4, rtol=0)
    silence = driving_tokens(Sound(GOLDEN["silence.waveform"][None], SAMPLE_RATE))
    torch.testing.assert_close(denormalize(silence)[0], GOLDEN["silence.log_mel"], atol=1e-4, rtol=0)


def test_golden_log_mel_through_a_file(tmp_path: Path) -> None:
    chirp = GOLDEN["chirp.waveform"][None]
    path = write_sound(tmp_path / "a.wav", chirp.numpy(), SAMPLE_RATE, codec="pcm_f32le", sample_format="flt")
    sound = read_sound(path)
    found = log_mel(to_model_sound(sound.waveform, sound.sample_rate))[0]
    torch.testing.assert_close(found, GOLDEN["chirp.log_mel"], atol=1e-4, rtol=0)


def test_a_voice_is_followed_by_0_3_seconds_of_silence() -> None:
    sound = Sound(torch.from_numpy(tone(1, 24_000)), 24_000)
    tokens = voice_tokens(sound)
    assert tokens.shape == (1, 80, 130)
    by_hand = torch.nn.functional.pad(peak_normalize(sound.waveform), (0, 7200))
    torch.testing.assert_close(tokens, normalize(log_mel(by_hand)))
    assert tokens[0, :, 104:].std() < 1e-5


@pytest.mark.case("Media", "silence stays silence")
def test_silence_and_a_single_sample() -> None:
    for rate in RATES:
        for samples in (1, rate):
            tokens = driving_tokens(Sound(torch.zeros(2, samples), rate))
            assert tokens.shape == (1, 80, max(1, samples // rate * 100))
            assert tokens.std() < 1e-5
    assert driving_tokens(Sound(torch.ones(1, 1), 48_000)).isfinite().all()
    assert voice_tokens(Sound(torch.ones(1, 1), 48_000)).shape == (1, 80, 30)


def test_another_rate_gives_nearly_the_same_tokens() -> None:
    moments = torch.arange(96_000, dtype=torch.float64) / 48_000
    speech = sum(torch.sin(2 * math.pi * hertz * moments) / hertz for hertz in range(150, 7000, 150))[None]
    twice, once = driving_tokens(Sound(speech, 48_000)), driving_tokens(Sound(speech[:, ::2], 24_000))
    torch.testing.assert_close(twice[..., 5:-5], once[..., 5:-5], atol=1e-2, rtol=0)


@pytest.mark.case("Media", "three and more channels")
@pytest.mark.case("Media", "odd sample rates")
def test_a_sound_that_a_file_cannot_hold_becomes_one_it_can() -> None:
    sound = Sound(torch.rand(2, 441), 44_100)
    assert writable(sound, (44_100, 48_000)) is sound
    odd = writable(Sound(torch.full((3, 3780), 0.25), 37_800), (44_100, 48_000))
    assert (odd.sample_rate, odd.waveform.shape) == (48_000, (1, 4800))
    torch.testing.assert_close(odd.waveform[:, 500:-500], torch.full((1, 3800), 0.25), atol=1e-4, rtol=0)


@pytest.mark.case("Media", "odd sample rates")
def test_a_file_of_one_sample_a_second_is_refused_unread(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "slow.wav"), "wb") as file:
        file.setparams((1, 2, 1, 0, "NONE", ""))
        file.writeframes(bytes(200))
    with pytest.raises(ValueError, match=r"a sample rate of 1 Hz in .*slow\.wav is not usable"):
        read_sound(tmp_path / "slow.wav")


@pytest.mark.case("Media", "over-long sound")
def test_a_file_that_lasts_hours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it declares; where it declares nothing, as soon as so much is read."""
    monkeypatch.setattr(media, "MAX_SECONDS", 2)
    write_sound(tmp_path / "long.wav", tone(2.5, 8000), 8000, codec="pcm_s16le", sample_format="s16")
    with pytest.raises(ValueError, match=r"long\.wav has 0\.0 hours of sound, 0 at most .* cut out what is needed"):
        read_sound(tmp_path / "long.wav")
    monkeypatch.setattr(sound_module, "declared_seconds", lambda *_: None)
    with pytest.raises(ValueError, match=r"long\.wav has"):
        read_sound(tmp_path / "long.wav")
