"""Downloads from a Hub on this machine: what is fetched and checked, what goes on, and what each failure says."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import COMMIT, Hub, fake_hub

from uniavgen_core import download
from uniavgen_core.__main__ import main
from uniavgen_core.hub import STAGING, checksum_of, in_bytes, is_here
from uniavgen_core.parts import BUNDLE, INDEX, PARTS
from uniavgen_core.text import vocabulary
from uniavgen_core.text.vocabulary import Vocabulary

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


def test_what_is_fetched_without_more_words(fetched, hub: Hub, models: Path) -> None:
    """Model, vocoder and vocabulary, whole, under the names the nodes look for, and nothing else: no pickle."""
    code, said = fetched()
    assert code == 0
    bundle = hub.files[BUNDLE]
    wanted = [name for name in bundle if name.startswith(("diffusion", "code2wav"))]
    expected = {f"uniavgen/{name}": bundle[name] for name in wanted} | {"uniavgen/vocab.txt": WORDS}
    assert contents(models) == expected
    assert not list(models.rglob(STAGING))
    size = sum(len(bundle[name]) for name in wanted if name.startswith("diffusion"))
    assert f"MCG-NJU/UniAVGen, licence apache-2.0: 3 files, {in_bytes(size)} to fetch" in said
    assert "fetched and verified: 6 files, 17." in said
    assert hub.tokens == {f"Bearer {TOKEN}"}
    paths = [path for path, _ in hub.asked]
    assert paths.index(INDEX) > max(paths.index(name) for name in wanted if SHARD[:12] in name and name != INDEX)
    assert all(is_here(part, models / part.folder) == part.usual for part in PARTS)


def test_what_is_there_is_not_fetched_again(fetched, hub: Hub, models: Path) -> None:
    assert fetched()[0] == 0
    hub.asked.clear()
    code, said = fetched(yes=False)  # nothing to ask about
    assert code == 0
    assert said.count("nothing to fetch") == 3
    assert not hub.asked
    (models / "uniavgen" / "vocab.txt").write_bytes(WORDS.replace(b"\n", b"\r\n"))  # the same words
    assert fetched()[0] == 0
    assert not hub.asked


def test_a_file_of_another_size_is_replaced_and_a_changed_one_is_found_by_verify(fetched, hub, models: Path) -> None:
    assert fetched()[0] == 0
    shard, vocoder = models / "uniavgen" / SHARD, models / "uniavgen" / VOCODER
    shard.write_bytes(b"short")
    vocoder.write_bytes(vocoder.read_bytes()[:-1] + b"\0")
    code, said = fetched()
    assert code == 0
    assert f"{shard} is not the published file and will be replaced" in said
    assert shard.read_bytes() == hub.files[BUNDLE][SHARD]
    assert vocoder.read_bytes() != hub.files[BUNDLE][VOCODER]  # its size is right
    code, said = fetched("--verify")
    assert code == 0
    assert f"{vocoder} is not the published file and will be replaced" in said
    assert vocoder.read_bytes() == hub.files[BUNDLE][VOCODER]


def test_parts_by_name(fetched, hub: Hub, models: Path) -> None:
    assert fetched("vocabulary")[0] == 0
    assert set(contents(models)) == {"uniavgen/vocab.txt"}
    assert fetched("vocabulary", "--vae", "--text-encoder")[0] == 0
    hosts = {"text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors", "vae/wan2.2_vae.safetensors"}
    assert set(contents(models)) == {"uniavgen/vocab.txt", *hosts}
    assert fetched("--all")[0] == 0
    assert {"uniavgen/Wan2.2_VAE.pth", "uniavgen/google/umt5-xxl/tokenizer.json"} < set(contents(models))
    assert len(contents(models)) == 11
    assert all(is_here(part, models / part.folder) for part in PARTS)


@pytest.mark.parametrize(("answer", "count"), [("y\n", 1), ("Yes\n", 1), ("\n", 0), ("no\n", 0), ("", 0)])
def test_the_user_is_asked(fetched, models: Path, monkeypatch, tmp_path: Path, answer: str, count: int) -> None:
    (tmp_path / "typed").write_text(answer)
    with (tmp_path / "typed").open() as typed:
        monkeypatch.setattr("sys.stdin", typed)
        monkeypatch.setattr(download, "can_ask", lambda: True)
        code, said = fetched("vocabulary", yes=False)
    assert code == 0
    assert "Fetch 1 file, 6 bytes? [y/N]" in said
    assert models.exists() == bool(count)


def test_nothing_is_fetched_where_nobody_can_be_asked(fetched, hub: Hub, models: Path, monkeypatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        code, said = fetched(yes=False)
    assert code == 2
    assert "error: nothing was fetched, as there is nobody to ask: say --yes" in said
    assert not hub.asked
    assert not models.exists()


# how the Hub answers while it is asked for a list: status, X-Error-Code, body -> what is said
LISTING = [
    (401, "", b"", "refuses MCG-NJU/UniAVGen (401): log in with `hf auth login`, or set HF_TOKEN"),
    (401, "RepoNotFound", b"", "shows no repository MCG-NJU/UniAVGen (401): it was moved, or is private"),
    (404, "RepoNotFound", b"", "shows no repository MCG-NJU/UniAVGen (404): it was moved, or is private"),
    (403, "", b"", "refuses MCG-NJU/UniAVGen (403): log in"),
    (403, "GatedRepo", b"", "MCG-NJU/UniAVGen wants its terms accepted first: do so on its page"),
    (404, "", b"", "does not find MCG-NJU/UniAVGen (404)"),
    (429, "", b"", "wants fewer requests (429): wait some minutes"),
    (418, "", b"", "refuses MCG-NJU/UniAVGen (418)"),
    (500, "", b"", "is out of order (500): ask again later"),
    (502, "", b"", "is out of order (502): ask again later"),
    (503, "", b"", "is out of order (503): ask again later"),
    (200, "", b"<html>Welcome to our hotel</html>", "something else than the Hugging Face Hub answered"),
]


@pytest.mark.parametrize(("status", "code", "body", "sentence"), LISTING)
def test_answers_instead_of_a_list(fetched, hub: Hub, models: Path, status, code, body, sentence: str) -> None:
    hub.answers[BUNDLE] = (status, code, body)
    exit_code, said = fetched()
    assert exit_code == 2
    assert said.count("error: ") == 1
    assert sentence in said
    assert not models.exists()


# the same for a file
FILE = [
    (401, "", b"", "refuses MCG-NJU/UniAVGen (401): log in"),
    (403, "GatedRepo", b"", "wants its terms accepted first"),
    (404, "EntryNotFound", b"", f"MCG-NJU/UniAVGen does not hold the file for {{models}}/uniavgen/{SHARD} any more"),
    (404, "", b"", f"does not find {{models}}/uniavgen/{SHARD} (404)"),
    (429, "", b"", "wants fewer requests (429)"),
    (503, "", b"", "is out of order (503): ask again later; what has arrived is kept"),
    (200, "", b"<html>Welcome to our hotel</html>", f"{SHARD} of MCG-NJU/UniAVGen came with another length"),
]


@pytest.mark.parametrize(("status", "code", "body", "sentence"), FILE)
def test_answers_instead_of_a_file(fetched, hub: Hub, models: Path, status, code, body, sentence: str) -> None:
    hub.answers[SHARD] = (status, code, body)
    exit_code, said = fetched("model")
    assert exit_code == 2
    assert said.count("error: ") == 1
    assert sentence.format(models=models) in said
    assert not [path for path in models.rglob("*") if path.is_file() and path.parent.name != STAGING]
    hub.answers.clear()
    assert fetched("model")[0] == 0
    assert (models / "uniavgen" / SHARD).read_bytes() == hub.files[BUNDLE][SHARD]
    assert not list(models.rglob(STAGING))


def test_the_revision(fetched, hub: Hub, models: Path) -> None:
    code, said = fetched("--revision", "v9")
    assert code == 2
    assert "MCG-NJU/UniAVGen has no revision 'v9'" in said
    assert fetched("--revision", COMMIT)[0] == 0


def test_no_connection(fetched, hub: Hub, models: Path, monkeypatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    code, said = fetched()
    assert code == 2
    assert "error: there is no connection to the Hugging Face Hub for MCG-NJU/UniAVGen" in said
    assert "check the network" in said
    assert not models.exists()


def test_a_token_that_cannot_be_sent_is_not_shown(fetched, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\N{SNOWMAN}")
    code, said = fetched()
    assert code == 2
    assert "error: the token of HF_TOKEN or `hf auth login` holds characters that no token has" in said


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


def test_offline_by_choice(hub: Hub, models: Path) -> None:
    process = start(hub, models, "--yes", HF_HUB_OFFLINE="1")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == "error: MCG-NJU/UniAVGen cannot be reached because HF_HUB_OFFLINE is set: unset it to download\n"


def test_a_broken_connection_goes_on_where_it_broke(fetched, hub: Hub, models: Path) -> None:
    data = hub.files[BUNDLE][SHARD]
    hub.cut[SHARD] = 7_300
    code, said = fetched("model")
    assert code == 2
    assert said.count("error: ") == 1
    kept = staged(models, data)
    assert kept.read_bytes() == data[: kept.stat().st_size]
    assert kept.stat().st_size >= 7_000  # of the pieces that came whole
    assert set(contents(models)) == {str(kept.relative_to(models))}
    had = kept.stat().st_size
    hub.cut.clear()
    hub.asked.clear()
    assert fetched("model")[0] == 0
    assert hub.ranges_of(SHARD) == [f"bytes={had}-"]
    assert (models / "uniavgen" / SHARD).read_bytes() == data
    assert not list(models.rglob(STAGING))


def test_large_files_come_from_elsewhere_which_does_not_see_the_token(fetched, hub: Hub, models: Path) -> None:
    data = hub.files[BUNDLE][SHARD]
    kept = staged(models, data)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(data[:5_000])
    hub.cdn = hub.url.replace("127.0.0.1", "localhost")
    assert fetched("model")[0] == 0
    assert (models / "uniavgen" / SHARD).read_bytes() == data
    assert hub.ranges_of(SHARD) == ["bytes=5000-"]
    assert hub.cdn_tokens == {None}


def test_a_server_that_cannot_go_on_begins_anew(fetched, hub: Hub, models: Path) -> None:
    data = hub.files[BUNDLE][SHARD]
    kept = staged(models, data)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(data[:5_000])
    hub.ranges = False
    codes = [fetched("model")[0] for _ in range(2)]
    assert codes[-1] == 0  # older versions of huggingface_hub need two attempts
    assert (models / "uniavgen" / SHARD).read_bytes() == data


def test_a_damaged_file_is_removed(fetched, hub: Hub, models: Path) -> None:
    data = hub.files[BUNDLE][SHARD]
    hub.sent[SHARD] = data[:-1] + bytes([data[-1] ^ 1])
    code, said = fetched("model")
    assert code == 2
    assert f"error: {SHARD} of MCG-NJU/UniAVGen arrived damaged (its checksum is wrong): ask again" in said
    assert contents(models) == {}
    hub.sent.clear()
    assert fetched("model")[0] == 0


def test_another_vocabulary_is_refused(fetched, hub: Hub, models: Path) -> None:
    hub.files["SWivid/F5-TTS"][VOCAB] = b" \nb\na\n"
    code, said = fetched("vocabulary")
    assert code == 2
    assert f"{VOCAB} of SWivid/F5-TTS is another text than the one the published weights need" in said
    assert contents(models) == {}
    hub.files["SWivid/F5-TTS"][VOCAB] = WORDS.replace(b"\n", b"\r\n")
    assert fetched("vocabulary")[0] == 0


def test_a_disk_that_is_too_small_is_told_beforehand(fetched, hub: Hub, models: Path) -> None:
    hub.sizes[SHARD] = 10**18
    code, said = fetched("model")
    assert code == 2
    assert f"the disk of {models.parent} is too small: 1000000000 GB are needed and " in said
    assert not hub.asked
    assert not models.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is a Linux device")
def test_a_disk_that_is_full_after_all(fetched, hub: Hub, models: Path) -> None:
    kept = staged(models, hub.files[BUNDLE][SHARD])
    kept.parent.mkdir(parents=True)
    kept.symlink_to("/dev/full")
    code, said = fetched("model")
    assert code == 2
    assert f"error: the disk of {models / 'uniavgen' / SHARD} is full: free some space and ask again" in said
    assert contents(models) == {}
    assert fetched("model")[0] == 0
    assert (models / "uniavgen" / SHARD).read_bytes() == hub.files[BUNDLE][SHARD]


@pytest.mark.skipif(sys.platform == "win32", reason="its sentence is of another system")
def test_a_folder_that_cannot_be_written(fetched, models: Path) -> None:
    models.write_text("a file where the folder should be")
    code, said = fetched()
    assert code == 2
    assert f"error: nothing can be written to {models / 'uniavgen'} (Not a directory): check its rights" in said


def test_a_layout_that_changed(fetched, hub: Hub, models: Path) -> None:
    del hub.files[BUNDLE][VOCODER]
    code, said = fetched()
    assert code == 2
    assert "MCG-NJU/UniAVGen holds no code2wav_bigvgan_model/*.safetensors: look there what took its place" in said
    hub.files[BUNDLE]["code2wav_bigvgan_model/../../../evil.safetensors"] = b"x"
    code, said = fetched()
    assert code == 2
    assert "would leave its folder, so it is refused" in said
    assert not models.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_second_download_of_the_same_file(hub: Hub, models: Path, sent: signal.Signals) -> None:
    """The first is in the middle of a file: the second is refused, the first interrupted, the third goes on."""
    size = 10 * 2**20  # the real size of the pieces
    data = hub.files[BUNDLE][SHARD] = noise(2 * size + 5_000)
    hub.stall[SHARD] = size + 5_000
    first = start(hub, models, "model", "--yes")
    assert hub.stalled.wait(60)
    kept = staged(models, data)
    while not (kept.exists() and kept.stat().st_size):
        assert first.poll() is None, first.communicate()
    second = start(hub, models, "model", "--yes")
    _, said = second.communicate(timeout=60)
    assert second.returncode == 2, said
    assert said.endswith(f"{models / 'uniavgen' / SHARD} is being fetched by another program: wait until it is done\n")
    first.send_signal(sent)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert said.endswith("interrupted: what has arrived is kept; the same command goes on from there\n")
    assert "Traceback" not in said
    assert set(contents(models)) == {str(kept.relative_to(models))}
    had = kept.stat().st_size
    assert kept.read_bytes() == data[:had]
    hub.go.set()
    hub.asked.clear()
    third = start(hub, models, "model", "--yes", TQDM_POSITION="-1")  # bars without a terminal
    _, said = third.communicate(timeout=60)
    assert third.returncode == 0, said
    assert "100%" in said  # a progress bar
    assert hub.ranges_of(SHARD) == [f"bytes={had}-"]
    assert (models / "uniavgen" / SHARD).read_bytes() == data
    assert not list(models.rglob(STAGING))


def test_a_shard_that_went_missing_makes_the_part_incomplete(fetched, models: Path) -> None:
    model = PARTS[0]
    folder = models / model.folder
    assert fetched("model")[0] == 0
    assert is_here(model, folder)
    (folder / SHARD).unlink()
    assert not is_here(model, folder)
    (folder / INDEX).write_text("{}")
    assert not is_here(model, folder)


def test_checksums(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    assert checksum_of(path, 40) == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert checksum_of(path, 64) == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"  # sha256sum


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (11_255, "11.26 kB"), (14.58e9, "14.58 GB"), (3e11, "300 GB")],
)
def test_sizes_in_words(size: float, text: str) -> None:
    assert in_bytes(size) == text


def test_the_released_vocabulary_is_known_by_its_checksum(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(WORDS)
    with pytest.raises(ValueError, match=r"vocab.txt is not the vocabulary of the published weights"):
        Vocabulary.released(path)
    monkeypatch.setattr(vocabulary, "RELEASED_SHA256", hashlib.sha256(WORDS).hexdigest())
    assert Vocabulary.released(path).entries == (" ", "a", "b")
    path.write_bytes(WORDS.replace(b"\n", b"\r\n"))
    assert Vocabulary.released(path).entries == (" ", "a", "b")


def test_the_tables_keys() -> None:
    """A sign is one of the files of its part, and no usual part brings a pickle."""
    from fnmatch import fnmatchcase

    for part in PARTS:
        assert any(fnmatchcase(part.strip + part.sign, pattern) for pattern in part.patterns)
        if part.usual:
            assert all(pattern.endswith((".safetensors", ".json", ".txt")) for pattern in part.patterns)
