"""Load UniAVGen: file -> MODEL, and all other parts for the built-in tiny model."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..uniavgen_core.parts import INDEX
from ..uniavgen_core.tiny import load_tiny
from .adapter_model import load_patcher
from .adapter_tiny import TinyClip, TinyVae, preview_colours
from .adapter_weights import read_file
from .download import LICENCES, USUAL_SIZE, published_model
from .files import PUBLISHED, TINY, fingerprint, model_choices, model_file, model_path
from .notices import says_what_it_notices
from .search import searched_as

VocoderSocket = io.Custom("UNIAVGEN_VOCODER")

WEIGHT_DTYPES = {"default": None, "fp32": torch.float32, "bf16": torch.bfloat16, "fp8_e4m3fn": torch.float8_e4m3fn}
ELSEWHERE = {
    "CLIP": "use the host's 'Load CLIP' node with umt5_xxl and type 'wan'",
    "VAE": "use the host's 'Load VAE' node with wan2.2_vae",
    "vocoder": "use 'Load UniAVGen Vocoder' with code2wav_bigvgan_model of the release",
}


class LoadUniAVGen(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenLoad",
            display_name="Load UniAVGen",
            category="UniAVGen",
            description="Loads the joint video and audio model. The built-in tiny model brings all other parts along.",
            **searched_as("talking head, talking avatar, joint audio video, load checkpoint, 数字人, 音视频生成"),
            inputs=[
                io.Combo.Input(
                    "file",
                    options=model_choices(),
                    default=TINY,
                    tooltip="Weights in models/uniavgen or models/diffusion_models, the published ones among them; or "
                    "the built-in tiny model, which needs no download and shows that everything runs.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="Number format of the weights in memory. default lets ComfyUI choose; fp32 takes twice "
                    "the memory of bf16; fp8 takes half of it and costs some accuracy.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    optional=True,
                    tooltip=f"With '{PUBLISHED}': fetches what is missing of model, vocoder and vocabulary from "
                    f"Hugging Face, {USUAL_SIZE} in all (licences: {LICENCES}). Cancelling keeps what has arrived.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="MODEL", tooltip="The joint model, for a sampler, a guider or a LoRA loader."
                ),
                io.Clip.Output(
                    display_name="CLIP", tooltip="Caption encoder of the tiny model; other files bring none."
                ),
                io.Vae.Output(
                    display_name="VAE", tooltip="Video autoencoder of the tiny model; other files bring none."
                ),
                VocoderSocket.Output(
                    display_name="vocoder", tooltip="Vocoder of the tiny model; other files bring none."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_: Any) -> str | None:
        return None if file in (None, TINY) else fingerprint(model_file(INDEX if file == PUBLISHED else file))

    @classmethod
    @says_what_it_notices
    async def execute(cls, file: str, weight_dtype: str, download: bool = False) -> io.NodeOutput:
        # async, though nothing is awaited: of the nodes that can run, the host runs such a one first. So what this
        # fetches is there for the nodes that speak by it, and what is missing is said before anything else is done.
        dtype = WEIGHT_DTYPES[weight_dtype]
        if file == TINY:
            tiny = load_tiny()
            model = load_patcher(lambda: (tiny.model.state_dict(), tiny.model.config), dtype)
            model.model.latent_format.set_colours(*preview_colours(tiny.vae))
            return io.NodeOutput(model, TinyClip(tiny), TinyVae(tiny), tiny.vocoder)
        path = published_model(download) if file == PUBLISHED else model_path(file)
        model = load_patcher(partial(read_file, path, dtype), dtype, path.name)
        absent = (ExecutionBlocker(f"{file} holds no {part}: {how}") for part, how in ELSEWHERE.items())
        return io.NodeOutput(model, *absent)
