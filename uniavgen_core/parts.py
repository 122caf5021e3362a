"""What the published model consists of: where each part is published and where it goes. Data only.

Sizes and licences are what the repositories said in 2026; a download asks the Hub and shows what it says then.
Text encoder and VAE are the files, places and folders that ComfyUI's own workflow templates name.
"""

from __future__ import annotations

from dataclasses import dataclass

from .text.vocabulary import RELEASED_SHA256

BUNDLE = "MCG-NJU/UniAVGen"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
OWN_FOLDER = "uniavgen"
VOCODER_FOLDER = "code2wav_bigvgan_model"
PUBLISHED = "UniAVGen (published)"  # as nodes and workflows name the model


@dataclass(frozen=True)
class Part:
    """Files that belong together.

    patterns: paths in the repository, each of which must be found; ``*`` stands for anything
    folder: under ``models``; ``strip`` is left out of the paths there
    sign: the file that is written last, so that the part is there when this file is
    licence, about: of the repository; bytes
    text_sha256: of a text file, with LF line ends
    """

    name: str
    what: str
    repository: str
    patterns: tuple[str, ...]
    folder: str
    sign: str
    licence: str
    about: float
    usual: bool = False
    strip: str = ""
    text_sha256: str = ""


PARTS = (
    Part(
        "model",
        "the joint model",
        BUNDLE,
        ("diffusion_pytorch_model*.safetensors", INDEX),
        OWN_FOLDER,
        INDEX,
        "apache-2.0",
        14.12e9,
        usual=True,
    ),
    Part(
        "vocoder",
        "the vocoder that speaks its sound",
        BUNDLE,
        (f"{VOCODER_FOLDER}/*.safetensors", f"{VOCODER_FOLDER}/*.json"),
        OWN_FOLDER,
        f"{VOCODER_FOLDER}/config.json",
        "apache-2.0",
        0.46e9,
        usual=True,
    ),
    Part(
        "vocabulary",
        "the vocabulary of what can be said",
        "SWivid/F5-TTS",
        ("F5TTS_v1_Base/vocab.txt",),
        OWN_FOLDER,
        "vocab.txt",
        "cc-by-nc-4.0",
        11e3,
        usual=True,
        strip="F5TTS_v1_Base/",
        text_sha256=RELEASED_SHA256,
    ),
    Part(
        "text-encoder",
        "the caption encoder as ComfyUI loads it, in fp8",
        "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
        ("split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",),
        "text_encoders",
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        "apache-2.0",
        6.74e9,
        strip="split_files/text_encoders/",
    ),
    Part(
        "vae",
        "the video autoencoder as ComfyUI loads it",
        "Comfy-Org/Wan_2.2_ComfyUI_Repackaged",
        ("split_files/vae/wan2.2_vae.safetensors",),
        "vae",
        "wan2.2_vae.safetensors",
        "apache-2.0",
        1.41e9,
        strip="split_files/vae/",
    ),
    Part(
        "originals",
        "caption encoder and video autoencoder as published, pickled; ComfyUI does not need them",
        BUNDLE,
        ("*.pth", "google/umt5-xxl/*"),
        OWN_FOLDER,
        "Wan2.2_VAE.pth",
        "apache-2.0",
        14.2e9,
    ),
)
