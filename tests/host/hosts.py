"""Finds ComfyUI installations and runs one of them with this pack in it."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
API_WORKFLOW = ROOT / "workflows" / "api" / "joint.json"
PORTRAIT = next(ROOT.glob("*/portrait.png"))
SCRIPT = ROOT / "scripts" / "run_workflow.py"
STARTUP_SECONDS = 180


@dataclass(frozen=True)
class Host:
    """A ComfyUI folder and the Python that can run it."""

    path: Path
    python: str

    def __str__(self) -> str:
        version = re.search(r'"([^"]+)"', (self.path / "comfyui_version.py").read_text())
        return f"ComfyUI-{version[1] if version else self.path.name}"


def find_hosts() -> tuple[list[Host], list[str]]:
    """ComfyUI installations to test in, and why others cannot be used."""
    hosts, problems = [], []
    for path in workspaces():
        if not (path / "main.py").is_file() or not (path / "comfy").is_dir():
            problems.append(f"{path} is not a ComfyUI folder")
            continue
        python, missing = choose_python(path)
        if missing:
            shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more packages" if len(missing) > 3 else "")
            problems.append(f"{path}: {python} lacks {shown} (set COMFYUI_PYTHON to the Python that runs it)")
        else:
            hosts.append(Host(path, python))
    if not hosts and not problems:
        problems.append("no ComfyUI found (set COMFYUI_PATH, or comfy-cli's default: `comfy set-default FOLDER`)")
    return hosts, problems


def workspaces() -> list[Path]:
    """Folders in COMFYUI_PATH, else comfy-cli's default workspace."""
    named = os.environ.get("COMFYUI_PATH", "")
    if named:
        return [Path(path).expanduser() for path in named.split(os.pathsep) if path]
    folders = {"win32": "~/AppData/Local", "darwin": "~/Library/Application Support"}
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(Path(folders.get(sys.platform, "~/.config"), "comfy-cli", "config.ini").expanduser())
    default = settings["DEFAULT"].get("default_workspace")
    return [Path(default)] if default else []


def choose_python(path: Path) -> tuple[str, list[str]]:
    """The first Python that has what ComfyUI requires, or the first at all and what it lacks."""
    if os.environ.get("COMFYUI_PYTHON"):
        candidates = [os.environ["COMFYUI_PYTHON"]]
    else:
        inside = [path / venv / part for venv in (".venv", "venv") for part in ("bin/python", "Scripts/python.exe")]
        base = getattr(sys, "_base_executable", sys.executable)  # what this run's virtual environment was made from
        candidates = [*(str(python) for python in inside if python.exists()), sys.executable, base]
    lacking = {python: missing_packages(python, path) for python in candidates}
    return min(lacking.items(), key=lambda item: len(item[1]))


def missing_packages(python: str, path: Path) -> list[str]:
    """Packages in ComfyUI's requirements that a Python does not have."""
    lines = (path / "requirements.txt").read_text().splitlines()
    names = [found[0] for line in lines if ";" not in line and (found := re.match(r"[\w.-]+", line.strip()))]
    script = (
        "import sys, importlib.metadata as m\nfor name in sys.argv[1:]:\n"
        "    try: m.version(name)\n    except m.PackageNotFoundError: print(name)"
    )
    return subprocess.run([python, "-c", script, *names], capture_output=True, text=True, check=True).stdout.split()


def clean_environment() -> dict[str, str]:
    """Without the paths of the test run, so that the pack must find its own modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}


def run_inside(host: Host, folder: Path, script: str, *arguments: str) -> dict[str, Any]:
    """Runs a script of this folder with the host's Python, on the host and this pack: the JSON on its last line.

    folder: an empty one, where the pack is linked as the host expects it
    """
    pack = folder / "uniavgen"
    pack.symlink_to(ROOT, target_is_directory=True)
    command = [host.python, str(Path(__file__).with_name(script)), str(host.path), str(pack), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=clean_environment())
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


class Refused(Exception):
    """The host did not queue a workflow; the message holds the sentences of its nodes."""


class Failed(Exception):
    """A workflow broke while it ran, or was interrupted; the message is the host's."""


@dataclass(frozen=True)
class Server:
    """A running ComfyUI with this pack."""

    url: str
    base: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as response:
            return json.load(response)

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            content = response.read()
        return json.loads(content) if content else None

    def submit(self, workflow: dict[str, Any]) -> str:
        """Queues a workflow and returns its prompt id."""
        try:
            return self.post("/prompt", {"prompt": workflow})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from error

    def wait(self, prompt: str, seconds: float = 300) -> dict[str, Any]:
        """The outputs of a prompt when it is done."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            entry = self.get(f"/history/{prompt}").get(prompt)
            if entry is None:
                time.sleep(0.05)
                continue
            for kind, data in entry["status"]["messages"]:
                if kind == "execution_error":
                    raise Failed(data["exception_message"])
                if kind == "execution_interrupted":
                    raise Failed("interrupted")
            return entry["outputs"]
        raise TimeoutError(f"prompt {prompt} was not done in {seconds} seconds")

    def run(self, workflow: dict[str, Any]) -> dict[str, Any]:
        return self.wait(self.submit(workflow))

    def busy(self) -> bool:
        queue = self.get("/queue")
        return bool(queue["queue_running"] or queue["queue_pending"])


def run_script(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the joint workflow by the API client."""
    command = [sys.executable, str(SCRIPT), str(API_WORKFLOW), "--server", server.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def prepare_base(base: Path) -> Path:
    """A folder of models, inputs and outputs for the host, with this pack and the tests' own nodes in it."""
    for name in ("custom_nodes", "input", "output", "temp", "user", "models/uniavgen"):
        (base / name).mkdir(parents=True, exist_ok=True)
    (base / "custom_nodes" / "uniavgen").symlink_to(ROOT, target_is_directory=True)
    for name in ("fakes", "faults"):
        shutil.copy(Path(__file__).with_name(f"{name}.py"), base / "custom_nodes" / f"uniavgen_test_{name}.py")
    shutil.copy(PORTRAIT, base / "input" / "example.png")
    return base


@contextmanager
def serve(host: Host, base: Path) -> Iterator[Server]:
    """Starts the host on a free port of this machine and ends it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", prepare_base(base))
    options = {"--port": str(port), "--base-directory": str(base), "--preview-method": "latent2rgb"}
    options["--database-url"] = f"sqlite:///{base / 'user' / 'host.db'}"
    command = [
        host.python,
        "main.py",
        "--cpu",
        "--disable-auto-launch",
        *(part for pair in options.items() for part in pair),
    ]
    log = base / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=host.path, env=clean_environment(), stdout=output, stderr=output)
        try:
            wait_until_up(server, process, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(server: Server, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            server.get("/system_stats")
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"ComfyUI did not start:\n{log.read_text()[-4000:]}")
