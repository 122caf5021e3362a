"""A vocoder from files under the host's memory management."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..uniavgen_core.vocoder import NeuralVocoder

# Bytes that decoding needs beside the weights, however long the sound. The widest layers of the released BigVGAN hold
# 5760 numbers a frame, of which some 16 copies live at once, in float32, for 600 frames and 37 on each side: 250 MB;
# twice that for the convolutions' own work space.
WORKING_MEMORY = 500 * 1024**2


class HostVocoder:
    """A network that waits in main memory, and that the host moves to its device and away again (a Vocoder)."""

    def __init__(self, vocoder: NeuralVocoder):
        self.vocoder = vocoder
        device, offload = comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
        # plain layers, without the host's operations: loaded as a whole, never dynamically
        self.patcher = ModelPatcher(vocoder.to(offload), load_device=device, offload_device=offload)

    def decode(self, log_mel: Tensor) -> Tensor:
        """[B, 80, L] -> [B, 1, L * 240] on the CPU. Shows its progress, and ends when the run is cancelled."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=WORKING_MEMORY, force_full_load=True)
        bar = comfy.utils.ProgressBar(1)

        def progress(done: int, total: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(done, total)

        return self.vocoder.decode(log_mel, progress)
