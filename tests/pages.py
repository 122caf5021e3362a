"""Runs what stands on the pages of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HEADLESS = Path(__file__).parents[1] / "docs" / "headless.md"
RUNNERS = {"python": sys.executable, "bash": "bash"}


def run_block(
    page: Path, language: str, folder: Path, server: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs the page's only block in a language, in a folder and on a server."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    script = folder / f"block.{language}"
    script.write_text(block, "utf-8")
    command = [RUNNERS[language], str(script), *arguments]
    environment = {**os.environ, "COMFYUI": server}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
