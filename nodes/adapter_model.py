"""The joint model as a host MODEL: a flow-type BaseModel behind a ModelPatcher."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ..uniavgen_core.checkpoint import CONFIG_KEY, check_held
from ..uniavgen_core.config import ModelConfig
from ..uniavgen_core.model.joint import JointModel
from ..uniavgen_core.model.memory import Estimate, Run
from ..uniavgen_core.model.prepared import Prepared
from ..uniavgen_core.types import JOINT, AVLatent, Conditions, Interaction
from .adapter_conditioning import (
    CLEAN,
    FACE_MASKS,
    IMAGE,
    INTERACTION,
    KEPT,
    SKIP_LAYERS,
    SPEECH,
    VOICE,
    Kept,
    check,
    kept_during_a_run,
)
from .adapter_latent import Pack, UniAVGenLatentFormat
from .adapter_lora import patch_the_rest
from .adapter_weights import check_loaded

SIGMA_ROUNDING = 1e-3
PACK_BYTES = 16 * 4  # float32 copies of the packed latent: noise, mask, steps and velocities of a sampler
DTYPES = [torch.bfloat16, torch.float16, torch.float32]


class HostModel(JointModel):
    """The joint model, called as the host calls its diffusion models. Parameter names stay those of the release."""

    def __init__(self, model_config: ModelConfig, dtype: torch.dtype, device: Any = None, operations: Any = None):
        super().__init__(model_config, device=device, dtype=dtype, operations=operations)
        self.dtype = dtype

    def forward(
        self,
        x: list[Tensor],
        timestep: Tensor,
        context: Tensor,
        control: Any,
        transformer_options: dict[str, Any],
        **conditions: Any,
    ) -> list[Tensor]:
        """[video, mel], timesteps [B] in [0, 1000] and caption -> velocities [video, mel].

        Wrappers such as EasyCache see one packed float32 copy, because they add to it in place.
        """
        packed, shapes = comfy.utils.pack_latents(x)
        compute_what_is_not_cached(transformer_options)
        velocity = WrapperExecutor.new_class_executor(
            partial(self.predict, shapes, x[0].dtype),
            self,
            get_all_wrappers(WrappersMP.DIFFUSION_MODEL, transformer_options),
        ).execute(packed.float(), timestep, context, transformer_options, **conditions)
        return comfy.utils.unpack_latents(velocity, shapes)

    def predict(
        self,
        shapes: list[torch.Size],
        dtype: torch.dtype,
        packed: Tensor,
        timestep: Tensor,
        context: Tensor,
        transformer_options: dict[str, Any],
        **conditions: Any,
    ) -> Tensor:
        """The core's forward on a packed latent [B, 1, N] -> packed velocity [B, 1, N]."""
        video, audio = comfy.utils.unpack_latents(packed.to(dtype), shapes)
        latent = AVLatent(video, audio, *conditions[CLEAN])
        told = Conditions(
            context, conditions[SPEECH], conditions[IMAGE], conditions.get(VOICE), conditions[INTERACTION]
        )
        how = {
            "skip_layers": conditions[SKIP_LAYERS],
            "attention": partial(optimized_attention, transformer_options=transformer_options),
        }
        prepared = self.prepared(conditions.get(KEPT), latent, told, how)
        velocity = super().forward(latent, timestep, told, prepared=prepared, **how)
        if conditions.get(FACE_MASKS) is not None:
            conditions[FACE_MASKS].masks = velocity.face_masks
        return comfy.utils.pack_latents([velocity.video, velocity.audio])[0]

    def prepared(
        self, kept: Kept | None, latent: AVLatent, conditions: Conditions, how: dict[str, Any]
    ) -> Prepared | None:
        """What the steps of a run share, made now if this is the first; None if nothing can be kept."""
        if kept is None:
            return None
        size = latent.video.shape[0]
        if size not in kept.prepared:
            # a pass without an interaction may be the first of one whose next steps have it
            joint = replace(conditions, interaction=JOINT)
            kept.prepared[size] = self.prepare(latent, joint, keep_on=keep_on(), **how)
        prepared = kept.prepared[size]
        # the copy of the model on another GPU goes without
        return prepared if prepared.video_rotary.cos.device == latent.video.device else None


def compute_what_is_not_cached(transformer_options: dict[str, Any]) -> None:
    """Keeps EasyCache before 0.33 from skipping a pass of which it has no earlier result.

    That is the case in the step at which another kind of unconditional pass begins, and fails there.
    """
    cache = transformer_options.get("easycache")
    cached = getattr(cache, "uuid_cache_diffs", None)  # LazyCache, which has the same place, has none
    if cached is not None and not all(uuid in cached for uuid in transformer_options["uuids"]):
        cache.skip_current_step = False


def keep_on() -> str | None:
    """Where keys and values wait between the steps: beside the weights that do not fit, if there are some."""
    scarce = (comfy.model_management.VRAMState.LOW_VRAM, comfy.model_management.VRAMState.NO_VRAM)
    return "cpu" if comfy.model_management.vram_state in scarce else None


class UniAVGenModel(comfy.model_base.BaseModel):
    """What the host's samplers, memory management and patches work on."""

    def __init__(self, model_config: UniAVGenModelConfig, device: Any = None):
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=HostModel)
        self.run: Run | None = None  # the latest one; set by `before_sampling`

    @property
    def config(self) -> ModelConfig:
        return self.model_config.unet_config["model_config"]

    def extra_conds(self, **kwargs: Any) -> dict[str, comfy.conds.CONDRegular]:
        """One entry of a conditioning -> the arguments of `HostModel.forward`."""
        check(kwargs, self.config)
        caption = kwargs["cross_attn"][:, : self.config.text_len]
        tensors = {
            # padded here: the host would repeat a shorter caption to the length of a longer one
            "c_crossattn": torch.nn.functional.pad(caption, (0, 0, 0, self.config.text_len - caption.shape[1])),
            SPEECH: kwargs[SPEECH],
            IMAGE: self.latent_format.process_in(kwargs[IMAGE]),
            VOICE: kwargs.get(VOICE),
        }
        constants = {
            "latent_shapes": self.latent_format.pack.shapes,
            CLEAN: self.latent_format.pack.given,
            INTERACTION: kwargs.get(INTERACTION, JOINT),
            SKIP_LAYERS: kwargs.get(SKIP_LAYERS, ()),
            FACE_MASKS: kwargs.get(FACE_MASKS),
            KEPT: kwargs.get(KEPT),
        }
        device = kwargs["device"]
        out = {name: comfy.conds.CONDRegular(x.to(device)) for name, x in tensors.items() if x is not None}
        return out | {name: comfy.conds.CONDConstant(x) for name, x in constants.items() if x is not None}

    def scale_latent_inpaint(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, **_: Any) -> Tensor:
        """What takes the place of kept parts in a step: the given leading ones clean, any other at its noise level."""
        noised = super().scale_latent_inpaint(sigma=sigma, noise=noise, latent_image=latent_image)
        return self.latent_format.pack.given_from(latent_image, noised)

    def memory_required(self, input_shape: list[int], cond_shapes: dict[str, Any] | None = None) -> float:
        """Bytes that passes on ``input_shape`` [batch, 1, N] need beside the weights, with what the run keeps."""
        if self.run is None:  # asked before the first run
            return super().memory_required(input_shape, cond_shapes or {})
        number = comfy.model_management.dtype_size(self.manual_cast_dtype or self.get_dtype())
        estimate = Estimate(self.config, self.run, number)
        kept = 0 if keep_on() else self.latent_format.pack.shapes[0][0] * self.run.texts * estimate.of_kept()
        return input_shape[0] * estimate.of_pass() + kept + PACK_BYTES * math.prod(input_shape)


class UniAVGenModelConfig(comfy.supported_models_base.BASE):
    """The host's description of the model family."""

    unet_extra_config = {}  # noqa: RUF012
    sampling_settings = {"shift": 5.0, "multiplier": 1000}  # noqa: RUF012
    latent_format = UniAVGenLatentFormat
    supported_inference_dtypes = DTYPES

    def get_model(self, state_dict: dict[str, Tensor], prefix: str = "", device: Any = None) -> UniAVGenModel:
        return UniAVGenModel(self, device=device)

    def process_unet_state_dict_for_saving(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """What 'Save Model' writes: it takes no metadata, so the configuration goes into a tensor."""
        text = self.unet_config["model_config"].to_json().encode()
        return super().process_unet_state_dict_for_saving(
            {**state_dict, CONFIG_KEY: torch.tensor(list(text), dtype=torch.uint8)}
        )


def before_sampling(
    executor: WrapperExecutor, noise: Any, latent: Any, sampler: Any, sigmas: Any, mask: Any, *rest: Any, **named: Any
):
    """Tells the latent format what is in the pack of a run, and lets its steps share what does not change.

    Raises ``ValueError`` for latents or conditionings of another family, ``RuntimeError`` if the result is not finite:
    decoded it would be black and silent.
    """
    falling = sigmas[1:] < sigmas[:-1]
    if not falling.all() or sigmas[0] > 1 + SIGMA_ROUNDING or sigmas[-1] < 0:
        raise ValueError(
            f"the sigmas run from {float(sigmas[0]):g} to {float(sigmas[-1]):g}: UniAVGen needs them falling "
            "from at most 1 to 0, as 'UniAVGen Schedule' or 'BasicScheduler' (simple, normal) make them"
        )
    guider = executor.class_obj
    model, conditionings = guider.model_patcher.model, guider.conds.values()
    for entry in (entry for entries in conditionings for entry in entries):
        check(entry, model.config)
    model.latent_format.begin(Pack.of(named["latent_shapes"], mask))
    with kept_during_a_run(conditionings):
        model.run = run_of(model.latent_format.pack, conditionings)
        result = executor(noise, latent, sampler, sigmas, mask, *rest, **named)
    if not torch.isfinite(result).all():
        raise RuntimeError(
            "sampling ended in numbers that are NaN or infinite: try the sampler euler, a guidance strength nearer to "
            "1, or another weight dtype"
        )
    return result


def run_of(pack: Pack, conditionings: Iterable[list[dict[str, Any]]]) -> Run:
    """What decides about the memory of a run."""
    entries = [entry for entries in conditionings for entry in entries]
    (_, _, latents, height, width), (*_, tokens) = pack.shapes
    ways = [entry.get(INTERACTION, JOINT) for entry in entries]
    return Run(
        latents,
        height,
        width,
        tokens,
        voice=max(entry[VOICE].shape[-1] if VOICE in entry else 0 for entry in entries),
        speech=max(entry[SPEECH].shape[-1] for entry in entries),
        still_video=pack.given[0] == latents,
        still_audio=pack.given[1] == tokens,
        interaction=Interaction(any(way.audio_to_video for way in ways), any(way.video_to_audio for way in ways)),
        texts=len({id(entry.get(KEPT)) for entry in entries}),
    )


def load_patcher(
    read: Callable[[], tuple[dict[str, Tensor], ModelConfig]],
    dtype: torch.dtype | None,
    source: str = "the model",
    disable_dynamic: bool = False,
) -> ModelPatcher:
    """Weights -> MODEL. Raises ``CheckpointError`` if their format in memory cannot hold them.

    dtype: of the weights in memory; None lets the host choose
    source: what to call the weights, mostly the file's name
    The host calls this again, with ``disable_dynamic``, when it needs the model without its dynamic memory.
    """
    tensors, config = read()
    quant_config = comfy.utils.detect_layer_quantization(tensors, "")
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    dtype = dtype or comfy.model_management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(tensors),
        supported_dtypes=DTYPES,
        weight_dtype=None if quant_config else comfy.utils.weight_dtype(tensors),
    )
    if not quant_config:  # quantised layers keep their format
        check_held(tensors, dtype, source)
    model_config = UniAVGenModelConfig({"model_config": config})
    model_config.quant_config = quant_config
    cast_from = None if quant_config else dtype  # quantised layers always compute in another format
    model_config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(cast_from, device, DTYPES))
    model = model_config.get_model(tensors)
    dynamic_class = getattr(comfy.model_patcher, "CoreModelPatcher", ModelPatcher)  # not in ComfyUI before 0.33
    patcher = (ModelPatcher if disable_dynamic else dynamic_class)(model, load_device=device, offload_device=offload)
    if not comfy.model_management.is_device_cpu(offload):
        model.to(offload)
    dynamic = hasattr(patcher, "is_dynamic") and patcher.is_dynamic()
    model.load_model_weights(dict(tensors), "", **({"assign": True} if dynamic else {}))
    check_loaded(model.diffusion_model, tensors)
    patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "uniavgen", before_sampling)
    patcher.add_callback_with_key(CallbacksMP.ON_LOAD, "uniavgen", patch_the_rest)
    patcher.cached_patcher_init = (load_patcher, (read, dtype, source))
    return patcher


def config_of_model(model: Any) -> ModelConfig:
    """The configuration behind a MODEL. Raises ``ValueError`` if it is of another family."""
    if not isinstance(model.model, UniAVGenModel):
        raise ValueError(f"this MODEL is {type(model.model).__name__}, not UniAVGen: connect 'Load UniAVGen'")
    return model.model.config
