"""What each failure of a download says, and what it leaves."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import pytest
from downloads import SHARD, TOKEN, VOCAB, VOCODER, WORDS, contents, noise, staged, start
from fake_hub import COMMIT, Hub

from uniavgen_core.hub import STAGING
from uniavgen_core.parts import BUNDLE, INDEX

pytest_plugins = ("downloads",)


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


@pytest.mark.case("Disk and network", "401, 403 and 404 from the Hub")
@pytest.mark.case("Disk and network", "429 and 5xx from the Hub")
@pytest.mark.case("Disk and network", "a login page in place of the Hub")
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


@pytest.mark.case("Disk and network", "401, 403 and 404 from the Hub")
@pytest.mark.case("Disk and network", "429 and 5xx from the Hub")
@pytest.mark.case("Disk and network", "a login page in place of the Hub")
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


@pytest.mark.case("Disk and network", "no connection")
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


@pytest.mark.case("Disk and network", "offline by choice (HF_HUB_OFFLINE)")
def test_offline_by_choice(hub: Hub, models: Path) -> None:
    process = start(hub, models, "--yes", HF_HUB_OFFLINE="1")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == "error: MCG-NJU/UniAVGen cannot be reached because HF_HUB_OFFLINE is set: unset it to download\n"


@pytest.mark.case("Disk and network", "wrong checksum")
@pytest.mark.parametrize("name", [SHARD, INDEX])  # of which the Hub tells SHA-256 and git's SHA-1
def test_a_damaged_file_is_removed(fetched, hub: Hub, models: Path, name: str) -> None:
    data = hub.files[BUNDLE][name]
    hub.sent[name] = data[:-1] + bytes([data[-1] ^ 1])
    code, said = fetched("model")
    assert code == 2
    assert f"error: {name} of MCG-NJU/UniAVGen arrived damaged (its checksum is wrong): ask again" in said
    assert f"uniavgen/{name}" not in contents(models)
    assert not list(models.rglob(STAGING))
    hub.sent.clear()
    assert fetched("model")[0] == 0


@pytest.mark.case("Disk and network", "wrong checksum")
def test_another_vocabulary_is_refused(fetched, hub: Hub, models: Path) -> None:
    hub.files["SWivid/F5-TTS"][VOCAB] = b" \nb\na\n"
    code, said = fetched("vocabulary")
    assert code == 2
    assert f"{VOCAB} of SWivid/F5-TTS is another text than the one the published weights need" in said
    assert contents(models) == {}
    hub.files["SWivid/F5-TTS"][VOCAB] = WORDS.replace(b"\n", b"\r\n")
    assert fetched("vocabulary")[0] == 0


@pytest.mark.case("Disk and network", "full disk while the published files are fetched")
def test_a_disk_that_is_too_small_is_told_beforehand(fetched, hub: Hub, models: Path) -> None:
    hub.sizes[SHARD] = 10**18
    code, said = fetched("model")
    assert code == 2
    assert f"the disk of {models.parent} is too small: 1000000000 GB are needed and " in said
    assert not hub.asked
    assert not models.exists()


@pytest.mark.case("Disk and network", "full disk while the published files are fetched")
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


@pytest.mark.case("Disk and network", "full disk while the published files are fetched")
def test_a_disk_that_becomes_full_in_the_middle(fetched, hub: Hub, models: Path, monkeypatch) -> None:
    """What has arrived is kept, under no final name; with room again it goes on from there."""
    data, room = hub.files[BUNDLE][SHARD], 4_321

    class FileOnFullDisk(io.FileIO):
        def write(self, piece: bytes) -> int:
            left = room - self.tell()
            if left <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(piece[:left])

    with monkeypatch.context() as patch:
        patch.setattr("uniavgen_core.hub.io.FileIO", FileOnFullDisk)
        code, said = fetched("model")
    assert code == 2
    sentence = f"error: the disk of {models / 'uniavgen' / SHARD} is full: free some space and ask again"
    assert said.count("error: ") == said.count(sentence) == 1
    assert contents(models) == {str(staged(models, data).relative_to(models)): data[:room]}
    hub.asked.clear()
    assert fetched("model")[0] == 0
    assert hub.ranges_of(SHARD) == [f"bytes={room}-"]
    assert (models / "uniavgen" / SHARD).read_bytes() == data
    assert not list(models.rglob(STAGING))


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of other systems")
@pytest.mark.case("Disk and network", "kill -9 while the published files are fetched")
def test_kill_9_in_the_middle_of_a_file(hub: Hub, models: Path) -> None:
    """Half a file is left, under a hidden name: that is the harm. The same command again makes a whole one of it."""
    size = 10 * 2**20  # the real size of the pieces
    data = hub.files[BUNDLE][SHARD] = noise(size + 5_000)
    hub.stall[SHARD] = size + 1_000
    first = start(hub, models, "model", "--yes")
    assert hub.stalled.wait(60)
    kept = staged(models, data)
    while not (kept.exists() and kept.stat().st_size):
        assert first.poll() is None, first.communicate()
    first.kill()
    first.communicate()
    lock = kept.with_suffix(".lock")
    assert set(contents(models)) == {str(path.relative_to(models)) for path in (kept, lock)}
    had = kept.stat().st_size
    assert kept.read_bytes() == data[:had] and had < len(data)

    hub.go.set()
    hub.asked.clear()
    again = start(hub, models, "model", "--yes")
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert hub.ranges_of(SHARD) == [f"bytes={had}-"]
    assert (models / "uniavgen" / SHARD).read_bytes() == data
    assert not list(models.rglob(STAGING))


@pytest.mark.case("Disk and network", "a link where a file is to be written")
def test_a_link_is_replaced_and_not_written_through(fetched, models: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes(b"mine")
    (models / "uniavgen").mkdir(parents=True)
    (models / "uniavgen" / "vocab.txt").symlink_to(other)
    assert fetched("vocabulary")[0] == 0
    assert not (models / "uniavgen" / "vocab.txt").is_symlink()
    assert (models / "uniavgen" / "vocab.txt").read_bytes() == WORDS
    assert other.read_bytes() == b"mine"


@pytest.mark.case("Files", "read-only output")
@pytest.mark.skipif(sys.platform == "win32", reason="its sentence is of another system")
def test_a_folder_that_cannot_be_written(fetched, models: Path) -> None:
    models.write_text("a file where the folder should be")
    code, said = fetched()
    assert code == 2
    assert f"error: nothing can be written to {models / 'uniavgen'} (Not a directory): check its rights" in said


@pytest.mark.case("Files", "`../` or absolute paths in an index")
def test_a_layout_that_changed(fetched, hub: Hub, models: Path) -> None:
    del hub.files[BUNDLE][VOCODER]
    code, said = fetched()
    assert code == 2
    assert "MCG-NJU/UniAVGen holds no code2wav_bigvgan_model/*.safetensors: look there what took its place" in said
    assert not models.exists()


@pytest.mark.case("Disk and network", "names of the Hub's files that lead elsewhere")
@pytest.mark.parametrize(
    "name", ["../../../evil", "/evil", "..\\evil", "C:evil", "./evil", "a//evil", "evil\0", "evil\x1b[2J"]
)
def test_names_that_would_leave_the_folder(fetched, hub: Hub, tmp_path: Path, name: str) -> None:
    hub.files[BUNDLE][f"code2wav_bigvgan_model/{name}.safetensors"] = b"x"
    code, said = fetched()
    assert code == 2
    assert "would leave its folder, so it is refused" in said
    assert "\x1b" not in said
    assert not list(tmp_path.iterdir())
