"""Clips as the model sees them, made once and kept in files.

make_clip -> VAE latents, audio tokens, texts -> FOLDER/81-0000.safetensors ... -> Dataset -> Batch
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from operator import itemgetter
from pathlib import Path
from threading import Thread

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from uniavgen_core.audio.sound import Sound, driving_tokens, voice_tokens
from uniavgen_core.geometry import SAMPLE_RATE
from uniavgen_core.tiny.vae import TinyVAE

from .clips import make_clip

# Frames of the clips, and how many of each are made; and of clips without pictures
LENGTHS = {33: 4000, 57: 1000, 81: 3000}
SOUNDS, FIRST_SOUND = {33: 8000, 57: 2000, 81: 4000}, 100_000
SHARD = 50
NO_PICTURES = (48, 1, 2, 2)  # the smallest video latent that the model takes
TEXTS = ("text", "caption", "reference_text", "word_times")  # kept as JSON


@dataclass(frozen=True)
class Batch:
    """N clips of one length.

    video: [N, 48, T, 8, 8], or [N, 48, 1, 2, 2] of zeros where there are no pictures; audio: [N, 80, L]
    mask: [N, 4, 4], share of each token's picture that is face
    voice: [N, 80, R], another utterance of each speaker, shorter ones followed by silence
    text, caption, reference_text: what is said, what is seen, what the voice says
    word_times: start and end in seconds of each word of the text
    """

    video: Tensor
    audio: Tensor
    mask: Tensor
    voice: Tensor
    text: list[str]
    caption: list[str]
    reference_text: list[str]
    word_times: list[list[tuple[float, float]]]


@dataclass(frozen=True)
class Wanted:
    """Clips of the training split that are wanted in a folder.

    vae: encodes their pictures; None makes sounds alone
    lengths: frames of the clips, and how many of each; first: seed of the first of each length
    """

    folder: Path
    vae: TinyVAE | None
    lengths: Mapping[int, int]
    first: int = 0

    def missing(self) -> list[tuple[int, range, Path]]:
        """Frames, seeds and file of each shard that is not there, all lengths in turn."""
        shards = [
            (frames, range(self.first + start, self.first + min(start + SHARD, count)), start // SHARD)
            for start in range(0, max(self.lengths.values()), SHARD)
            for frames, count in self.lengths.items()
            if start < count
        ]
        paths = [self.folder / f"{frames}-{number:04d}.safetensors" for frames, _, number in shards]
        return [(*shard[:2], path) for shard, path in zip(shards, paths, strict=True) if not path.exists()]


@contextmanager
def making(all_wanted: Sequence[Wanted], workers: int = 1) -> Iterator[list[Future]]:
    """Writes the shards that are missing while the block runs, those of all folders side by side.

    What has not begun when the block ends is left out.
    """
    turns = []
    for wanted in all_wanted:
        wanted.folder.mkdir(parents=True, exist_ok=True)
        missing = wanted.missing()
        turns += [(place / len(missing), (wanted.vae, *shard)) for place, shard in enumerate(missing)]
    turns.sort(key=itemgetter(0))
    with ProcessPoolExecutor(workers, get_context("spawn"), _follow) as pool:
        shards = [pool.submit(_make_shard, *shard) for _, shard in turns]
        try:
            yield shards
        finally:
            pool.shutdown(cancel_futures=True)
        for shard in shards:
            if not shard.cancelled():
                shard.result()


def _follow() -> None:
    """Lets this process end with its parent, however that ends, and leaves interruptions to it."""

    def follow(parent: BaseProcess) -> None:
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=follow, args=(parent_process(),), daemon=True).start()


def make(all_wanted: Sequence[Wanted], workers: int = 1) -> None:
    """Writes all shards that are missing."""
    with making(all_wanted, workers) as shards:
        for shard in tqdm(as_completed(shards), desc="clips", unit="shard", total=len(shards)):
            shard.result()


def _make_shard(vae: TinyVAE | None, frames: int, seeds: range, path: Path) -> None:
    torch.set_num_threads(1)
    clips = [make_clip(frames * 1_000_000 + seed, frames, drawn=vae is not None) for seed in seeds]
    voices = [voice_tokens(sound(clip.reference_waveform)) for clip in clips]
    longest = max(voice.shape[2] for voice in voices)
    if vae is None:
        video = torch.zeros(len(clips), *NO_PICTURES)
    else:
        video = torch.cat([encode(vae, torch.from_numpy(clip.frames)) for clip in clips])
    tensors = {
        "video": video.half().contiguous(),
        "audio": torch.cat([driving_tokens(sound(clip.waveform)) for clip in clips]).half(),
        "mask": torch.stack([torch.from_numpy(clip.mask) for clip in clips]),
        "voice": torch.cat([lengthen(voice, longest) for voice in voices]).half(),
        "voice_tokens": torch.tensor([voice.shape[2] for voice in voices]),
    }
    texts = {name: json.dumps([getattr(clip, name) for clip in clips]) for name in TEXTS}
    unfinished = path.with_suffix(".unfinished")
    save_file(tensors, unfinished, texts)
    os.replace(unfinished, path)


def sound(waveform) -> Sound:
    """A clip's waveform, float32 [samples] at 24 kHz."""
    return Sound(torch.from_numpy(waveform)[None], SAMPLE_RATE)


@torch.inference_mode()
def encode(vae: TinyVAE, frames: Tensor) -> Tensor:
    """uint8 [F, H, W, 3] -> latents [1, 48, T, H/16, W/16]."""
    return vae.encode(frames.movedim(-1, 0)[None].float() / 127.5 - 1)


def lengthen(voice: Tensor, tokens: int) -> Tensor:
    """[1, 80, R] -> [1, 80, tokens]: the silence at the voice's end goes on."""
    more = tokens - voice.shape[2]
    return torch.cat((voice, voice[:, :, -1:].expand(-1, -1, more)), dim=2)


class Dataset:
    """All shards of a folder, in the device's memory (200 KB a clip of 81 frames)."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu"):
        self.folder, self.device, self._read = folder, device, set()
        self.parts: dict[int, dict[str, Tensor]] = {}
        self.texts: dict[int, dict[str, list]] = {}
        self.grow()
        if not self.parts:
            raise ValueError(f"there are no clips in {folder}: make them with `python -m training tiny`")

    def grow(self) -> None:
        """Takes in the shards that have come into the folder since."""
        new: dict[int, list[Path]] = {}
        for path in sorted(set(self.folder.glob("*-*.safetensors")) - self._read):
            new.setdefault(int(path.stem.split("-")[0]), []).append(path)
            self._read.add(path)
        for frames, paths in new.items():
            tensors, texts = zip(*map(_read_shard, paths), strict=True)
            tensors = [{name: part.to(self.device) for name, part in one.items()} for one in tensors]
            if frames in self.parts:
                tensors, texts = [self.parts[frames], *tensors], [self.texts[frames], *texts]
            longest = max(part["voice"].shape[2] for part in tensors)
            for part in tensors:
                part["voice"] = lengthen(part["voice"], longest)
            self.parts[frames] = {name: torch.cat([part[name] for part in tensors]) for name in tensors[0]}
            self.texts[frames] = {name: list(chain(*(part[name] for part in texts))) for name in TEXTS}

    def sample(self, frames: int, count: int, generator: torch.Generator) -> Batch:
        """Random clips of that many frames, float32, on the device; ``generator`` is of the CPU."""
        parts, texts = self.parts[frames], self.texts[frames]
        chosen = torch.randint(len(parts["video"]), (count,), generator=generator)
        rows = chosen.to(parts["video"].device)
        longest = int(parts["voice_tokens"][rows].max())
        return Batch(
            *(parts[name][rows].float() for name in ("video", "audio", "mask")),
            parts["voice"][rows, :, :longest].float(),
            **{name: [texts[name][row] for row in chosen.tolist()] for name in TEXTS},
        )


def _read_shard(path: Path) -> tuple[dict[str, Tensor], dict[str, list]]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, {name: json.loads(text) for name, text in file.metadata().items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and it is made anew") from error
