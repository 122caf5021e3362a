"""The released code, taken from a checkout, with our weights and inputs.

It is imported as it is; only what it needs of CUDA, flash-attention and diffusers' base classes is stood in for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniavgen_core.config import ModelConfig
from uniavgen_core.model import JointModel
from uniavgen_core.sampling import Guidance
from uniavgen_core.types import AVLatent, Conditions, Velocity

URL = "https://github.com/MCG-NJU/Sora2-mini"
TIME_PARTS = ("time_embedding", "time_projection", "time_embedding_audio", "time_projection_audio")
IN_FLOAT32 = (*TIME_PARTS, "head", "head_audio")  # whatever the weights' dtype


def attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    """In place of flash-attention: [B, N, heads, d]."""
    return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def import_model(checkout: Path) -> ModuleType:
    """The released `wan.modules.model`. Raises ``FileNotFoundError`` if the checkout does not have it."""
    if not (checkout / "wan" / "modules" / "model.py").is_file():
        raise FileNotFoundError(f"{checkout} is not the released code: git clone {URL}, and give that folder")
    torch.cuda.current_device = lambda: 0  # asked while it is imported
    for name, folder in (("wan", "wan"), ("wan.modules", "wan/modules")):
        package = sys.modules[name] = ModuleType(name)  # the packages' own files import much that is not needed
        package.__path__ = [str(checkout / folder)]
    for name, values in {
        "diffusers": {},
        "diffusers.configuration_utils": {"ConfigMixin": object, "register_to_config": lambda function: function},
        "diffusers.models": {},
        "diffusers.models.modeling_utils": {"ModelMixin": nn.Module},
    }.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(values)
    module = importlib.import_module("wan.modules.model")
    module.flash_attention = attention
    return module


def load(checkout: Path, ours: JointModel) -> nn.Module:
    """The released model with our weights. Raises ``RuntimeError`` if their names or shapes differ.

    In half precision its inference script casts all weights, and its model computes embeddings of time and heads under
    CUDA's autocast to float32. There is no such autocast on a CPU, so those weights are float32 here: the same numbers.
    """
    config: ModelConfig = ours.config
    model = import_model(checkout).WanModel(
        in_dim=config.video_channels,
        out_dim=config.video_channels,
        dim=config.video.dim,
        ffn_dim=config.video.ffn_dim,
        num_heads=config.video.num_heads,
        audio_dim=config.audio.dim,
        audio_ffn_dim=config.audio.ffn_dim,
        audio_num_heads=config.audio.num_heads,
        num_layers=config.num_layers,
        text_dim=config.text_dim,
        text_len=config.text_len,
    )
    meetings = len(config.interaction_layers)
    model.a2v_blocks, model.v2a_blocks = model.a2v_blocks[:meetings], model.v2a_blocks[:meetings]
    model.load_state_dict(ours.state_dict())
    model.to(next(ours.parameters()))
    masks = (aligner.mask_head for aligner in model.a2v_blocks)
    for module in (*(getattr(model, name) for name in IN_FLOAT32), *masks):
        module.float()
    return model.eval().requires_grad_(False)


def forward(
    model: nn.Module, latent: AVLatent, t: Tensor, conditions: Conditions, skip_layers: tuple[int, ...] = ()
) -> Velocity:
    """One pass of the released model in its weights' dtype, in our shapes, without face masks."""
    dtype = model.patch_embedding.weight.dtype
    latent = latent.map(lambda x: x.to(dtype))
    sound = latent.audio[0].T
    context = [
        conditions.speech,
        [None],
        [sound if latent.clean_audio else None],
        list(conditions.reference_image.to(dtype)),
        list(latent.video[:, :, : latent.clean_video]),
        list(conditions.caption.to(dtype)),
    ]
    way = conditions.interaction
    video, audio = model(
        latent.video,
        [sound],
        t=t,
        context_list=context,
        seq_len=torch.tensor([conditions.speech.shape[1]]),
        video_cond=latent.clean_video,
        audio_cond=latent.clean_audio,
        zero_con=not way,
        no_a2v=not way.audio_to_video,
        no_v2a=not way.video_to_audio,
        slg=skip_layers[0] if skip_layers else -1,
    )
    return Velocity(video[0][None, :, 1:], audio[0].reshape(1, -1, sound.shape[1]).transpose(1, 2))


def sample(
    model: nn.Module,
    latent: AVLatent,
    positive: Conditions,
    negative: Conditions,
    guidance: Guidance,
    timesteps: Tensor,
    noise: AVLatent,
    done: Callable[[int], None] = lambda step: None,
) -> AVLatent:
    """A run as the released pipeline makes it: two passes a step, everything anew in each."""
    x = noise
    for step, (t, t_next) in enumerate(pairwise(timesteps)):
        seen, time = x.with_clean_from(latent), t.view(1).to(x.video.device)
        told = guidance.unconditional(negative, guidance.mode(float(t), timesteps))
        velocity = guidance.combine(
            forward(model, seen, time, positive), forward(model, seen, time, told, guidance.skip_layers)
        )
        x = x.map(lambda a, v, dt=(t_next - t) / 1000: a + dt * v, velocity)
        done(step)
    return x
