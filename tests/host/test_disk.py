"""Full disks, kill -9, prefixes that lead elsewhere and shut sockets, in a real ComfyUI."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest
from host.hosts import ROOT, Failed, Host, clean_environment, run_inside

SCRIPT = Path(__file__).with_name("in_process_disk.py")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="kill -9, and a disk that is always full, are of Linux")
@pytest.mark.case("Disk and network", "kill -9 while ComfyUI saves a clip")
@pytest.mark.case("Disk and network", "full disk while ComfyUI saves a clip")
@pytest.mark.case("Disk and network", "a connection without the user's word")
def test_killed_then_on_a_full_disk_then_well_with_sockets_shut(host: Host, tmp_path) -> None:
    """From loading to the saved MP4: half a clip is never there under the name of a clip, and nobody connects."""
    output = tmp_path / "output"
    output.mkdir()
    command = [host.python, str(SCRIPT), str(host.path), str(ROOT), str(output), "killed"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=600, env=clean_environment())
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr[-4000:]
    (left,) = (path for path in output.rglob("*") if path.is_file())
    assert left.name.endswith(".unfinished")  # the harm

    folder = tmp_path / "packs"
    folder.mkdir()
    told = run_inside(host, folder, SCRIPT.name, str(output))
    clip = output / "video" / "UniAVGen_00001_.mp4"
    assert told["before"] == [str(left.relative_to(output))]
    assert told["full"] == f"the disk of {clip} is full: make room, or choose another folder; nothing was written"
    assert told["done"] == "execution_success"
    assert told["after"] == ["video/UniAVGen_00001_.mp4"]
    assert told["tried"] == []
    with av.open(str(clip)) as container:
        assert container.streams.audio
        assert sum(1 for _ in container.decode(video=0)) == 5


@pytest.mark.case("Disk and network", "prefixes of saved clips that lead elsewhere")
@pytest.mark.parametrize("prefix", ["../evil", "video/../../evil", "/evil", "..\\evil"])
def test_a_clip_is_saved_in_the_output_folder_alone(server, workflow, prefix: str) -> None:
    """The host keeps to its output folder; our nodes name no file themselves."""
    output = server.base / "output"
    around = set(server.base.iterdir())
    try:
        (item,) = server.run(workflow({"save.filename_prefix": prefix, "sampler.steps": 1}))["save"]["images"]
    except Failed as refused:
        assert "outside the output folder" in str(refused)
    else:
        assert (output / item["subfolder"] / item["filename"]).resolve().is_relative_to(output.resolve())
    assert set(server.base.iterdir()) == around and not list(Path("/").glob("evil*"))
    for left in output.glob("..*"):  # its own name
        left.unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.case("Disk and network", "a link where a file is to be written")
def test_a_link_in_the_output_folder_is_not_written_through(server, workflow, tmp_path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(b"mine")
    folder = server.base / "output" / "links"
    folder.mkdir()
    (folder / "clip_00001_.mp4").symlink_to(other)
    (folder / "clip_00002_.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (item,) = server.run(workflow({"save.filename_prefix": "links/clip", "sampler.steps": 1}))["save"]["images"]
    assert not (folder / item["filename"]).is_symlink()
    assert other.read_bytes() == b"mine"
    assert not (tmp_path / "nowhere.mp4").exists()
