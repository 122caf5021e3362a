"""Load UniAVGen Vocoder: a folder or a hub id -> vocoder."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..uniavgen_core.hub import in_bytes
from ..uniavgen_core.parts import VOCODER_FOLDER
from ..uniavgen_core.vocoder import load_vocoder
from ..uniavgen_core.vocoder.load import check_hub_id, from_hub
from .adapter_vocoder import HostVocoder
from .checks import verdict
from .download import VOCODER, released_vocoder
from .files import find_vocoder, fingerprint, vocoder_choices, vocoder_path
from .load import VocoderSocket
from .notices import says_what_it_notices
from .search import searched_as


class LoadUniAVGenVocoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenVocoderLoad",
            display_name="Load UniAVGen Vocoder",
            category="UniAVGen",
            description="Loads what turns the mel into sound: the BigVGAN of the release, or a Vocos.",
            **searched_as("BigVGAN, Vocos, load vocoder, 声码器"),
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=vocoder_choices(),
                    default=VOCODER_FOLDER,
                    tooltip=f"A folder in models/uniavgen or models/vocoders: {VOCODER_FOLDER} of the release, or "
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
                    tooltip=f"Fetch the hub_id if the cache lacks it; without one, {VOCODER_FOLDER} of the release if "
                    f"it is missing ({in_bytes(VOCODER.about)}, {VOCODER.licence}). Off: nothing is asked of the "
                    "network.",
                ),
            ],
            outputs=[VocoderSocket.Output(display_name="vocoder", tooltip="For 'UniAVGen Vocos Decode'.")],
        )

    @classmethod
    def validate_inputs(
        cls, folder: str | None = None, hub_id: str | None = None, download: bool | None = None
    ) -> bool | str:
        if hub_id and hub_id.strip():
            return verdict(check_hub_id, hub_id.strip())
        if hub_id is None or (folder == VOCODER_FOLDER and download is not False):
            return True
        return verdict(vocoder_path, folder)

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, hub_id: str | None = None, **_: Any) -> str | None:
        return None if folder is None or (hub_id or "").strip() else fingerprint(find_vocoder(folder))

    @classmethod
    @says_what_it_notices
    def execute(cls, folder: str, hub_id: str, download: bool) -> io.NodeOutput:
        if hub_id.strip():
            check_hub_id(hub_id.strip())
            source = from_hub(hub_id.strip(), download)
        else:
            source = released_vocoder() if download and folder == VOCODER_FOLDER else vocoder_path(folder)
        return io.NodeOutput(HostVocoder(load_vocoder(source, allow_download=download)))
