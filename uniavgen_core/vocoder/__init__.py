"""Log-mel -> sound: networks from files, decoded chunk by chunk."""

from .load import load_vocoder
from .neural import NeuralVocoder

__all__ = ["NeuralVocoder", "load_vocoder"]
