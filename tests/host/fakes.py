"""Parts of other model families, as a host node: what a user could wire in by mistake. Copied beside the pack."""

import types

import torch
from comfy.nested_tensor import NestedTensor


class OtherModel(torch.nn.Module):
    pass


class OtherClip:
    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.zeros(1, 77, 768), {"pooled_output": None}]]


class OtherVae:
    latent_channels = 16

    def encode(self, pixels):
        raise AssertionError("a VAE of another family must not be run")


class Fakes:
    """One output for each mistake."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "LATENT", "LATENT", "IMAGE", "AUDIO", "INT", "FLOAT", "STRING")
    FUNCTION = "make"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        clip = OtherClip()
        clip.speech_vocabulary = types.SimpleNamespace(
            encode=lambda tokens: [1] * len(tokens), unknown=lambda tokens: []
        )
        other_channels = {"samples": NestedTensor([torch.zeros(1, 16, 2, 4, 4), torch.zeros(1, 8, 31)])}
        no_mask = {"samples": NestedTensor([torch.zeros(1, 48, 2, 4, 4), torch.zeros(1, 80, 31)])}
        no_mask["noise_mask"] = torch.ones(1, 8, 8)
        broken = torch.full((1, 64, 64, 3), torch.nan)
        silence = {"waveform": torch.full((1, 1, 100), torch.nan), "sample_rate": 24000}
        model = types.SimpleNamespace(model=OtherModel())
        return model, clip, OtherVae(), other_channels, no_mask, broken, silence, 82, float("nan"), " \n"


class BareClip:
    """A CLIP that knows nothing of speech, as the host's own."""

    RETURN_TYPES = ("CLIP",)
    FUNCTION = "make"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (OtherClip(),)


class Lists:
    """Lists, which the host runs a node on item by item."""

    RETURN_TYPES = ("IMAGE", "FLOAT", "FLOAT")
    OUTPUT_IS_LIST = (True, True, True)
    FUNCTION = "make"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        ramp = torch.linspace(0, 1, 64).expand(1, 64, 64)
        return [ramp[..., None].expand(-1, -1, -1, 3), torch.zeros(1, 64, 64, 3)], [1.0, 2.5], [1.0, float("nan")]


class Overflow:
    """A MODEL whose guidance is computed in half precision and overflows."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "make"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        model = model.clone()
        model.set_model_sampler_post_cfg_function(lambda told: (told["denoised"] * 1e6).half().float())
        return (model,)


NODE_CLASS_MAPPINGS = {
    "UniAVGenTestFakes": Fakes,
    "UniAVGenTestBareClip": BareClip,
    "UniAVGenTestLists": Lists,
    "UniAVGenTestOverflow": Overflow,
}
