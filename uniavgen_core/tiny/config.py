"""Sizes of the built-in tiny model and of its small parts: the one place that defines them."""

from __future__ import annotations

from ..config import BranchConfig, ModelConfig

NAME = "tiny"
SHORT_SIDE = 128  # pixels
VOCABULARY_SIZE = 102  # lines of vocabulary.txt

TINY = ModelConfig(
    video=BranchConfig(dim=128, ffn_dim=256, num_heads=4),
    audio=BranchConfig(dim=64, ffn_dim=128, num_heads=2),
    num_layers=4,
    freq_dim=64,
    text_len=256,
    text_dim=64,
    speech_vocab=VOCABULARY_SIZE,
    speech_dim=64,
    speech_layers=2,
)

# Caption encoder: the 256 bytes of UTF-8 and the mark that ends every caption
CAPTION_SYMBOLS = 257
CAPTION_KERNEL = 5  # symbols the convolution sees
CAPTION_HIDDEN = 128

# VAE: numbers a latent pixel stands for
FIRST_PATCH = 3 * 16 * 16  # colour, row, column of the first frame
REST_PATCH = 3 * 4 * 16 * 16  # colour, frame, row, column of four later frames

# Vocoder: a short-time spectrum of windows as long as the mel's
FFT = 1024
FFT_BINS = FFT // 2 + 1
NOISE_FRAMES = 256  # mel frames after which the stored noise repeats (2.56 s)
