"""The built-in tiny model: everything needed to run without a download."""

from .load import load_tiny

__all__ = ["load_tiny"]
