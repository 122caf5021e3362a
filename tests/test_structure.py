"""The direction of the imports: root -> nodes -> uniavgen_core, and inside the core from the whole to the parts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "uniavgen_core"
HOST = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "folder_paths",
    "node_helpers",
    "nodes",
    "latent_preview",
    "server",
}

# each part of the core, and the parts it may import
LAYERS = {
    "config": set(),
    "types": {"config"},
    "geometry": {"config", "types"},
    "interruption": set(),
    "whole": set(),
    "files": set(),
    "lora": set(),
    "media": {"interruption"},
    "text": {"files", "geometry", "types", "config"},
    "audio": {"media", "geometry", "types", "config"},
    "video": {"interruption", "whole", "media", "geometry", "types", "config"},
    "model": {"geometry", "types", "config"},
    "sampling": {"model", "geometry", "types", "config"},
    "checkpoint": {"files", "interruption", "whole", "model", "geometry", "types", "config"},
    "convert": {"files", "checkpoint", "whole"},
    "vocoder": {"files", "checkpoint", "audio", "geometry", "types", "config"},
    "bundle": {"model", "sampling", "text", "types"},
    "tiny": {
        "interruption",
        "bundle",
        "sampling",
        "checkpoint",
        "model",
        "text",
        "audio",
        "video",
        "geometry",
        "types",
        "config",
    },
    "task": {"audio", "geometry", "types"},
    "windows": {"text", "geometry", "types"},
    "pipeline": {
        "task",
        "windows",
        "bundle",
        "sampling",
        "model",
        "text",
        "audio",
        "video",
        "geometry",
        "types",
        "config",
    },
    "parts": {"text"},
    "hub_errors": {"whole"},
    "hub": {"files", "parts", "hub_errors", "text"},
    "download": {"hub", "parts"},
    "options": {"geometry", "sampling", "text", "windows"},
    "__main__": {
        "options",
        "download",
        "pipeline",
        "windows",
        "tiny",
        "sampling",
        "text",
        "audio",
        "video",
        "geometry",
        "types",
        "config",
        "checkpoint",
        "convert",
    },
}


def part_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Absolute modules, and relative ones as parts of the core (``.x`` of a folder's own files is that folder)."""
    found = set()
    depth = len(path.relative_to(CORE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == depth:  # from the core's root
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {f"core:{name.partition('.')[0]}" for name in names}
    return found


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_imports_downwards(path: Path) -> None:
    imported = imports_of(path)
    assert not imported & HOST
    assert "uniavgen_core" not in imported  # the pack is loaded by path, so only relative imports resolve
    own = part_of(path)
    if own != "__init__":
        assert {name.removeprefix("core:") for name in imported if name.startswith("core:")} <= LAYERS[own] | {own}


@pytest.mark.case("Disk and network", "code that ruff's security rules or ComfyUI's registry object to")
def test_the_code_is_clean_by_the_security_rules() -> None:
    """Ruff's S with the exceptions of pyproject.toml, and what `comfy node validate` looks for (S102, S307, E702)."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "S,E702", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_reaches_for_nothing_beside_it(path: Path) -> None:
    levels = {node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    assert max(levels, default=0) <= len(path.relative_to(CORE).parts)


@pytest.mark.parametrize("path", sorted(ROOT.glob("nodes/*.py")), ids=lambda path: path.stem)
def test_nodes_load_the_measures_only_when_they_measure(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    imported = {node.module or "" for node in body if isinstance(node, ast.ImportFrom) and node.level == 2}
    assert not [name for name in imported if name.partition(".")[0] == "evaluation"]


def test_the_root_imports_the_host_only_inside_the_entry_point() -> None:
    body = ast.parse((ROOT / "__init__.py").read_text()).body
    assert not [node for node in body if isinstance(node, ast.Import)]
    assert {node.module for node in body if isinstance(node, ast.ImportFrom)} <= {"__future__"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("evaluation/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_measures_load_without_the_core_beside_them(path: Path) -> None:
    """In ComfyUI nothing is found by the names ``uniavgen_core`` and ``training``: commands alone import them, late."""
    body = ast.parse(path.read_text()).body
    absolute = {node.module.partition(".")[0] for node in body if isinstance(node, ast.ImportFrom) and not node.level}
    absolute |= {alias.name.partition(".")[0] for node in body if isinstance(node, ast.Import) for alias in node.names}
    assert not absolute & {"uniavgen_core", "training", "evaluation", *HOST}


@pytest.mark.case("Life", "global state after import and after a run")
def test_importing_and_running_the_core_changes_nothing_global(tmp_path: Path) -> None:
    """Random state, PyTorch's settings, threads, warnings, logging, signals, environment: as they were found, and as
    the libraries that are imported late leave them by themselves."""
    program = """
import sys
sys.path.insert(0, "tests/host")
from global_state import changed, state
before = state()
import uniavgen_core.pipeline, uniavgen_core.tiny, uniavgen_core.__main__
assert not changed(before), changed(before)
import jieba, pypinyin, scipy.signal, transformers.audio_utils
before = state()
from uniavgen_core.audio.sound import read_sound
from uniavgen_core.pipeline import Material, generate
from uniavgen_core.video.mux import write_mp4
from uniavgen_core.video.picture import read_picture
voice = read_sound("assets/speech.wav")
material = Material(picture=read_picture("assets/portrait.png"), voice=voice, transcript="Yes.")
clip = generate(
    uniavgen_core.tiny.load_tiny(), material, speech="Hi 好.", caption="", frames=5, steps=2, width=64, height=64
)
write_mp4(sys.argv[1], clip)
assert not changed(before), changed(before)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "clip.mp4")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
