"""Load UniAVGen Vocoder: a folder or a hub id -> vocoder."""

from __future__ import annotations

from comfy_api.latest import io

from ..uniavgen_core.vocoder import load_vocoder
from .adapter_vocoder import HostVocoder
from .files import vocoder_choices, vocoder_path
from .load import VocoderSocket


class LoadUniAVGenVocoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        choices = vocoder_choices()
        return io.Schema(
            node_id="UniAVGenVocoderLoad",
            display_name="Load UniAVGen Vocoder",
            category="UniAVGen",
            description="Loads what turns the mel into sound: the BigVGAN of the release, or a Vocos.",
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=choices,
                    default=choices[0],
                    tooltip="A folder in models/uniavgen or models/vocoders: code2wav_bigvgan_model of the release, or "
                    "a Vocos with its config.yaml (needs `pip install vocos`).",
                ),
                io.String.Input(
                    "hub_id",
                    default="",
                    tooltip="Instead of a folder: owner/name, or owner/name/folder, of a Hugging Face repository, such "
                    "as charactr/vocos-mel-24khz. Read from the cache on this machine.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    tooltip="Fetch the hub_id if the cache lacks it. Off: nothing is asked of the network.",
                ),
            ],
            outputs=[VocoderSocket.Output(display_name="vocoder", tooltip="For 'UniAVGen Vocos Decode'.")],
        )

    @classmethod
    def execute(cls, folder: str, hub_id: str, download: bool) -> io.NodeOutput:
        return io.NodeOutput(HostVocoder(load_vocoder(hub_id.strip() or vocoder_path(folder), allow_download=download)))
