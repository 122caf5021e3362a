"""What a command needs and a machine may lack."""

from __future__ import annotations

from importlib import import_module

# Of packages that pip knows by another name than Python
PIP = {"sklearn": "scikit-learn", "parselmouth": "praat-parselmouth"}


def need(what: str, *packages: str) -> None:
    """Raises ``ImportError`` with a sentence for the first package that is missing. what: for which it is needed"""
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(f"{what} needs {package}: pip install {PIP.get(package, package)} ({error})") from error
