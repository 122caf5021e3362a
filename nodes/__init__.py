"""The ComfyUI side: thin nodes around uniavgen_core."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import ComfyExtension, io

from ..uniavgen_core.interruption import ask_before_going_on
from .condition import UniAVGenConditions
from .decode import UniAVGenVocosDecode
from .encode import UniAVGenTextEncode
from .files import register_folders
from .judge import UniAVGenJudge
from .lip_sync import UniAVGenLipSyncScore
from .load import LoadUniAVGen
from .long import UniAVGenLongSampler
from .lora import UniAVGenLora
from .mux import UniAVGenMux
from .preview import UniAVGenFaceMaskOverlay, UniAVGenMelPicture
from .replaced import register_replaced
from .sample import UniAVGenGuider, UniAVGenJointSampler, UniAVGenSchedule
from .switches import register_switches
from .vocoder import LoadUniAVGenVocoder


class UniAVGenExtension(ComfyExtension):
    """The nodes, in the order of the way of the data."""

    async def on_load(self) -> None:
        await register_replaced()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        register_folders()
        ask_before_going_on(comfy.model_management.throw_exception_if_processing_interrupted)
        nodes = [
            LoadUniAVGen,
            UniAVGenLora,
            LoadUniAVGenVocoder,
            UniAVGenTextEncode,
            UniAVGenConditions,
            UniAVGenSchedule,
            UniAVGenGuider,
            UniAVGenJointSampler,
            UniAVGenLongSampler,
            UniAVGenVocosDecode,
            UniAVGenMux,
            UniAVGenFaceMaskOverlay,
            UniAVGenMelPicture,
            UniAVGenLipSyncScore,
            UniAVGenJudge,
        ]
        register_switches(nodes)
        return nodes
