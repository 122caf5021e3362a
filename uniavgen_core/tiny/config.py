"""Sizes of the built-in tiny model and of its small parts: the one place that defines them."""

from __future__ import annotations

from dataclasses import replace

from ..config import BranchConfig, ModelConfig, Prediction
from ..sampling import Guidance

NAME = "tiny"
SHORT_SIDE = 128  # pixels
VOCABULARY_SIZE = 102  # lines of vocabulary.txt

TINY = ModelConfig(
    video=BranchConfig(dim=192, ffn_dim=320, num_heads=4),
    audio=BranchConfig(dim=160, ffn_dim=384, num_heads=5),
    num_layers=6,
    freq_dim=64,
    text_len=256,
    text_dim=64,
    speech_vocab=VOCABULARY_SIZE,
    speech_dim=96,
    speech_layers=2,
    speech_stretch=8.0,
    video_prediction=Prediction.CLEAN,
)

# What measured best (see MODEL_CARD.md)
GUIDANCE = replace(Guidance.paper(), scale_video=2.0, scale_audio=2.0)

# Caption encoder: the 256 bytes of UTF-8 and the mark that ends every caption
CAPTION_SYMBOLS = 257
CAPTION_KERNEL = 5  # symbols the convolution sees
CAPTION_HIDDEN = 128

# VAE: numbers a latent pixel stands for, and the decoder
FIRST_PATCH = 3 * 16 * 16  # colour, row, column of the first frame
REST_PATCH = 3 * 4 * 16 * 16  # colour, frame, row, column of four later frames
VAE_STRIDE = 4  # pixels between places of the decoder
VAE_CHANNELS = 32
VAE_BLOCKS = 3

# Vocoder: a small Vocos; its windows and hop are the mel's
VOCODER_DIM = 160
VOCODER_HIDDEN = 384
VOCODER_LAYERS = 6
