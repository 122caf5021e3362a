"""What the weights of other models look like, so that a wrong file can be called by its name.

Verified against the public code of each: ComfyUI's `model_detection.py` (LTX, HunyuanVideo, Wan, Flux, Stable
Diffusion) and `sd.py` (Wan VAE, T5), Ovi's `fusion.py`, diffusers' Wan conversion, F5-TTS' checkpoints, transformers'
BigVGAN, Vocos, Wan's `t5.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Signature:
    """A model by its tensors.

    names: patterns, each of which the beginning or a part after a dot of some name matches
    shapes: shapes that named tensors have
    instead: what to do with such a file
    """

    what: str
    instead: str
    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def matches(self, found: Mapping[str, Iterable[int]]) -> bool:
        return all(tuple(found.get(name, ())) == shape for name, shape in self.shapes.items()) and all(
            any(re.search(rf"(?:^|\.){pattern}", name) for name in found) for pattern in self.names
        )


OTHER_FAMILY = "load it with the host's 'Load Diffusion Model' node, and here the weights of UniAVGen"
BROUGHT_ALONG = "choose 'tiny (built in)', which brings it along, or the weights of a joint model"
# the first that matches counts, so the more particular come first
SIGNATURES = (
    Signature(
        "a LoRA",
        "load the model itself here and the LoRA behind it with the host's LoRA loader",
        (r"lora_(A|B|up|down)\b",),
    ),
    Signature("Ovi, two joined Wan models", OTHER_FAMILY, (r"video_model\.", r"audio_model\.")),
    Signature("LTX-2", OTHER_FAMILY, (r"audio_adaln_single\.", r"adaln_single\.emb\.")),
    Signature("LTX-Video", OTHER_FAMILY, (r"adaln_single\.emb\.",)),
    Signature("HunyuanVideo", OTHER_FAMILY, (r"txt_in\.individual_token_refiner\.",)),
    Signature(
        "a model in the layout of diffusers",
        "UniAVGen is published in Wan's layout only: choose its own file",
        (r"condition_embedder\.time_embedder\.linear_1\.",),
    ),
    Signature(
        "F5-TTS, of which UniAVGen needs the vocabulary only",
        "choose the weights of UniAVGen, and put the vocab.txt of F5-TTS beside them",
        (r"transformer\.text_embed\.text_embed\.",),
    ),
    Signature(
        "Wan's umT5 text encoder in its published layout",
        "convert it with `python -m uniavgen_core convert`, or take the host's umt5_xxl; 'Load CLIP' (type wan) reads "
        "both",
        (r"blocks\.0\.pos_embedding\.", r"token_embedding\."),
    ),
    Signature(
        "a T5 text encoder",
        "put it into models/text_encoders and load it with 'Load CLIP' (type wan)",
        (r"encoder\.block\.0\.layer\.0\.SelfAttention\.",),
    ),
    Signature(
        "a VAE of Wan",
        "put it into models/vae and load it with 'Load VAE'",
        (r"decoder\.middle\.0\.residual\.0\.gamma$",),
    ),
    Signature(
        "a BigVGAN vocoder",
        "choose the weights of UniAVGen: the vocoder is a part of its own",
        (r"conv_pre\.", r"resblocks\.0\.activations\."),
    ),
    Signature(
        "Wan2.2-TI2V-5B, which is only the video branch",
        OTHER_FAMILY,
        (r"text_embedding\.0\.weight$", r"blocks\.0\.self_attn\."),
        {"patch_embedding.weight": (3072, 48, 1, 2, 2)},
    ),
    Signature("the tiny model's VAE", BROUGHT_ALONG, (r"encode_first\.weight$", r"decode_rest\.weight$")),
    Signature(
        "the tiny model's caption encoder",
        BROUGHT_ALONG,
        (r"convolution\.weight$", r"projection\.weight$"),
        {"embedding.weight": (257, 64)},
    ),
    Signature(
        "the tiny model's vocoder",
        BROUGHT_ALONG,
        (r"backbone\.convnext\.0\.gamma$",),
        {"head.out.weight": (1026, 160)},
    ),
    Signature(
        "a Vocos vocoder",
        "put its folder into models/vocoders and load it with 'Load UniAVGen Vocoder'",
        (r"backbone\.convnext\.0\.gamma$", r"head\.out\.weight$"),
    ),
    Signature("Flux, or a model of its kind", OTHER_FAMILY, (r"double_blocks\.0\.img_attn\.qkv\.weight$",)),
    Signature(
        "Stable Diffusion",
        "load it with the host's 'Load Checkpoint' node, and here the weights of UniAVGen",
        (r"input_blocks\.0\.0\.weight$",),
    ),
    Signature("another Wan model", OTHER_FAMILY, (r"text_embedding\.0\.weight$", r"blocks\.0\.self_attn\.")),
)


def recognise(found: Mapping[str, Iterable[int]]) -> Signature | None:
    """The other model that tensors, name -> shape, belong to; None for UniAVGen and for what is not known."""
    return next((signature for signature in SIGNATURES if signature.matches(found)), None)
