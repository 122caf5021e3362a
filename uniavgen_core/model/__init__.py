"""The joint model: two DiT branches and what passes between them."""

from .joint import JointModel

__all__ = ["JointModel"]
