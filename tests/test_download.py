"""Downloads from a Hub on this machine: what is fetched and checked, what goes on, and what each failure says."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from downloads import SHARD, TOKEN, VOCODER, WORDS, contents, noise, staged, start
from fake_hub import Hub

from uniavgen_core import download
from uniavgen_core.hub import STAGING, checksum_of, fetch, in_bytes, is_here, list_parts
from uniavgen_core.parts import BUNDLE, INDEX, PARTS
from uniavgen_core.text import vocabulary
from uniavgen_core.text.vocabulary import Vocabulary

pytest_plugins = ("downloads",)


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


@pytest.mark.case("Disk and network", "a connection without the user's word")
def test_nothing_is_fetched_where_nobody_can_be_asked(fetched, hub: Hub, models: Path, monkeypatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        code, said = fetched(yes=False)
    assert code == 2
    assert "error: nothing was fetched, as there is nobody to ask: say --yes" in said
    assert not hub.asked
    assert not models.exists()


@pytest.mark.case("Disk and network", "a connection that breaks")
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


@pytest.mark.case("Concurrency", "two downloads of one file at once")
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


@pytest.mark.case("Concurrency", "two downloads of one file at once")
def test_downloads_that_start_together(hub: Hub, models: Path) -> None:
    """In one process: each is done or told to wait, and the files are whole."""
    model = next(part for part in PARTS if part.sign == INDEX)
    (listing,) = list_parts([model], lambda name: models / name, {})
    together = threading.Barrier(4, timeout=60)

    def attempt(_: int) -> str:
        together.wait()
        try:
            fetch(listing.files)
        except ValueError as refusal:
            return str(refusal)
        return ""

    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            said = set(pool.map(attempt, range(4)))
        assert "" in said
        assert all(told.endswith("is being fetched by another program: wait until it is done") for told in said - {""})
        bundle = {name: data for name, data in hub.files[BUNDLE].items() if name.startswith("diffusion")}
        assert contents(models) == {f"uniavgen/{name}": data for name, data in bundle.items()}
        assert not list(models.rglob(STAGING))
        shutil.rmtree(models)


@pytest.mark.case("Files", "missing shard")
def test_a_shard_that_went_missing_makes_the_part_incomplete(fetched, models: Path) -> None:
    model = PARTS[0]
    folder = models / model.folder
    assert fetched("model")[0] == 0
    assert is_here(model, folder)
    (folder / SHARD).unlink()
    assert not is_here(model, folder)
    for index in ("{}", '{"weight_map": {"a": 5}}', '{"weight_map": {"a": ["b"]}}', '{"weight_map": {"a": "\\u0000"}}'):
        (folder / INDEX).write_text(index)
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
