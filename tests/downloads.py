"""What tests of downloads share: a Hub on this machine with all parts, and the command that asks it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import Hub, fake_hub

from uniavgen_core import download
from uniavgen_core.__main__ import main
from uniavgen_core.hub import STAGING
from uniavgen_core.parts import BUNDLE, INDEX, PARTS

ROOT = Path(__file__).resolve().parents[1]
SHARD = "diffusion_pytorch_model-00001-of-00002.safetensors"
VOCODER = "code2wav_bigvgan_model/model.safetensors"
VOCAB = "F5TTS_v1_Base/vocab.txt"
WORDS = b" \na\nb\n"
TOKEN = "hf_secretsecret"
CHUNK = 1000


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with all parts, small; huggingface_hub asks it, in small pieces, and does not wait before it asks again."""
    import huggingface_hub.file_download

    with fake_hub() as running:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.url)
        template = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for module in (huggingface_hub.constants, huggingface_hub.file_download):  # by version
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        monkeypatch.setattr("logging.raiseExceptions", False)  # its handler keeps the stream of the first test
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        digest = hashlib.sha256(WORDS).hexdigest()
        parts = tuple(replace(part, text_sha256=digest) if part.text_sha256 else part for part in PARTS)
        monkeypatch.setattr(download, "PARTS", parts)
        running.files = {
            BUNDLE: {
                ".gitattributes": b"x",
                INDEX: b'{"weight_map": {"a": "%s"}}' % SHARD.encode(),
                SHARD: noise(10_500, 1),
                SHARD.replace("00001", "00002", 1): noise(4_000, 2),
                "code2wav_bigvgan_model/config.json": b"{}",
                VOCODER: noise(3_000, 3),
                "models_t5_umt5-xxl-enc-bf16.pth": noise(2_000, 4),
                "Wan2.2_VAE.pth": noise(2_000, 5),
                "google/umt5-xxl/tokenizer.json": b"{}",
            },
            "SWivid/F5-TTS": {VOCAB: WORDS, "F5TTS_v1_Base/model_1250000.safetensors": noise(2_000, 6)},
        }
        for part in PARTS:
            if part.repository not in running.files:
                running.files[part.repository] = {part.patterns[0]: noise(2_500, 7), "README.md": b"x"}
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def fetched(hub: Hub, models: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command; returns its exit code and all it said, and makes sure that the token is not in it."""

    def run(*arguments: str, yes: bool = True) -> tuple[int, str]:
        code = main(["download", "--to", str(models), *arguments, *(["--yes"] if yes else [])])
        said = "".join(capfd.readouterr())
        assert TOKEN not in said
        assert "Traceback" not in said
        return code, said

    return run


def contents(models: Path) -> dict[str, bytes]:
    """All files of the folder, the hidden ones too."""
    return {str(path.relative_to(models)): path.read_bytes() for path in models.rglob("*") if path.is_file()}


def staged(models: Path, data: bytes) -> Path:
    return models / "uniavgen" / STAGING / f"{hashlib.sha256(data).hexdigest()}.part"


def start(hub: Hub, models: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "uniavgen_core", "download", "--to", str(models), *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": hub.url, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
