"""Runs inside the host's Python: what the nodes for measuring load, refuse and fetch, as JSON on the last line.

python in_process_measuring.py COMFYUI_FOLDER PACK_FOLDER FOLDER

FOLDER: an empty one for models
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from in_process import load_host

PACKAGES = ("dlib", "python_speech_features")
CHOICE = {"weights": "syncnet_v2.model", "download": False}


def loaded(pack: str) -> list[str]:
    """Modules that belong to measuring."""
    return [name for name in sys.modules if name in PACKAGES or name.startswith((f"{pack}.evaluation", "evaluation"))]


def refusal(run: Any) -> str:
    try:
        return str(run())
    except (ValueError, OSError) as error:
        return str(error)


def without_packages(score: Any, pack: str) -> dict[str, Any]:
    """For each package that is missing what the node says when it is queued and when it runs."""
    told = {}
    for package in PACKAGES:
        sys.modules[package] = None  # as Python marks what cannot be imported
        told[f"queued without {package}"] = score.validate_inputs(**CHOICE)
        told[f"run without {package}"] = refusal(lambda: score.execute(None, **CHOICE))
        del sys.modules[package]
    return {**told, "loaded by refusals": loaded(pack)}


def fetching(score: Any, pack: str, folder: Path) -> dict[str, Any]:
    """A file from this machine in place of the published one, cancelled first."""
    import comfy.model_management
    import folder_paths

    folder_paths.folder_names_and_paths["syncnet"] = ([str(folder / "syncnet")], set())
    told = {
        "missing": score.validate_inputs(**CHOICE),
        "to be fetched": score.validate_inputs("syncnet_v2.model", True),
    }
    network = importlib.import_module(f"{pack}.evaluation.sync.network")
    download = sys.modules[f"{pack}.nodes.download"]
    source = folder / "source"
    source.write_bytes(b"published")
    network.URL, network.SHA256 = source.as_uri(), hashlib.sha256(b"published").hexdigest()
    comfy.model_management.interrupt_current_processing()
    try:
        download.published_syncnet()
    except comfy.model_management.InterruptProcessingException:
        told["cancelled leaves"] = [path.name for path in (folder / "syncnet").iterdir()]
    told["fetched"] = download.published_syncnet().read_bytes().decode()
    source.unlink()
    told["fetched once"] = download.published_syncnet() == folder / "syncnet" / "syncnet_v2.model"
    return told


def main(host: str, pack_folder: str, folder: str) -> None:
    nodes, pack = load_host(host, pack_folder)
    score = nodes["UniAVGenLipSyncScore"]
    measured = {"loaded at start": loaded(pack), **without_packages(score, pack)}
    tiny = asyncio.run(nodes["UniAVGenLoad"].execute(file="tiny (built in)", weight_dtype="default"))
    measured["others work"] = len(tiny.args) == 4
    measured["loaded by others"] = loaded(pack)
    measured |= fetching(score, pack, Path(folder))
    judge, ours = importlib.import_module(f"{pack}.evaluation.judge"), sys.modules[f"{pack}.nodes.judge"]
    forms = [[module.FILE, module.APART, module.FRAMES] for module in (judge, ours)]
    measured["same choices"] = list(judge.SERVICES) == list(ours.SERVICES) and forms[0] == forms[1]
    network = sys.modules[f"{pack}.evaluation.sync.network"]
    measured["same file"] = network.NAME == sys.modules[f"{pack}.nodes.files"].SYNCNET
    measured["beside the pack"] = [name for name in sys.modules if name.startswith(("evaluation", "uniavgen_core"))]
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
