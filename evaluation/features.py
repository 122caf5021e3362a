"""Published networks from files that are given: pictures -> features, flow or quality. Nothing is downloaded.

A file of weights is read as tensors alone. A TorchScript file is a program that runs with the user's rights, as PyTorch
warns of `torch.jit.load`: only those of a trusted source are for loading.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD_WIDTH = 64  # of each attention head in every DINO ViT
DINO_SIDE = 224
FLOW_SIDE = 128  # the least that RAFT's pyramid takes
FLOW_STEP = 8
FLOW_UPDATES = 20
MUSIQ_SIDE = 512

# how a file begins that is often found in the place of weights
IMPOSTORS = ((b"version https://git-lfs", "a Git-LFS pointer"), (b"<", "a web page"))
SHOWN = 300  # letters of what PyTorch says of weights that do not fit

Network = Callable[[Tensor], Tensor]


def describe(path: Path) -> str:
    """Its name and the beginning of its SHA-256, by which the published files are known.

    Raises ``FileNotFoundError`` with a sentence.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give the file of a network")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return f"{path.name} (sha256 {digest.hexdigest()[:8]})"


def check_file(path: Path, what: str) -> None:
    """Raises ``OSError`` or ``ValueError`` for what is no file, or known to lie in the place of one.

    what: it is to be
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise FileNotFoundError(f"there is no file {path}: give {what}")
    try:
        with path.open("rb") as file:
            beginning = file.read(64)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): check its rights") from error
    if not beginning:
        raise ValueError(f"{path} is empty: download it again")
    for signature, name in IMPOSTORS:
        if beginning.lstrip().startswith(signature):
            raise ValueError(f"{path} is {name}, not the file itself: download {what}")


def read_checkpoint(path: Path, what: str) -> Mapping[str, object]:
    """Tensors and plain values. what: it is to be, for the ``ValueError`` if it is nothing of the kind."""
    check_file(path, what)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many kinds for damaged files
        raise ValueError(
            f"{path} is no file of weights, is damaged, or holds more than weights: give {what}"
        ) from error
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        raise ValueError(f"{path} holds other things than weights: give {what}")
    return held


def read_weights(path: Path, what: str) -> dict[str, Tensor]:
    """A state dict of numbers. what: it is to be, for the ``ValueError`` if it is none."""
    held = read_checkpoint(path, what)
    if not all(isinstance(value, Tensor) and value.layout == torch.strided for value in held.values()):
        raise ValueError(f"{path} holds other things than weights: give {what}")
    endless = [name for name, value in held.items() if value.is_floating_point() and not value.float().isfinite().all()]
    if endless:
        raise ValueError(f"{path} holds numbers that are NaN or infinite ({endless[0]}): give {what}")
    return {name.removeprefix("module."): value for name, value in held.items()}


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path, what: str) -> nn.Module:
    """The network with these weights, for use. Raises ``ValueError`` if they are another network's."""
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise another(path, what, error) from error
    return network.float().eval().requires_grad_(False)


def another(path: Path, what: str, error: Exception | None = None) -> ValueError:
    """That a file's weights are not those of the network, and why."""
    reason = " ".join(str(error or "").split())[:SHOWN]
    return ValueError(f"{path} holds the weights of another network: give {what}" + (f" ({reason})" if reason else ""))


def is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # its reader raises many kinds for what is no archive, or a damaged one
        return False


def load_torchscript(path: Path, wanted: Mapping[str, bool], what: str, device: str) -> Network:
    """A program that is called with the words ``wanted``. Raises ``ValueError`` if it does not take them all."""
    check_file(path, what)
    try:
        network = torch.jit.load(path, map_location=device).eval()
    except Exception as error:  # of many kinds, for damaged files
        raise ValueError(f"{path} is no TorchScript file, or damaged: give {what}") from error
    taken = {argument.name for argument in network.forward.schema.arguments}
    if missing := set(wanted) - taken:
        raise ValueError(f"the network of {path} does not take {', '.join(sorted(missing))}: give {what}")
    return lambda pictures: network(pictures.to(device), **wanted)


def load_inception(path: Path, device: str) -> Network:
    """uint8 [N, 3, H, W] -> float [N, 2048], stretched to 299 x 299 inside, as FID's first code did in TensorFlow.

    path: the weights that pytorch-fid and torch-fidelity publish (they run in torch-fidelity), or NVIDIA's TorchScript.
    """
    what = "pt_inception-2015-12-05-6726825d.pth, or NVIDIA's inception-2015-12-05.pt"
    check_file(path, what)
    if is_torchscript(path):
        return load_torchscript(path, {"return_features": True}, what, device)
    weights = read_weights(path, what)
    if weights.get("fc.weight", torch.zeros(0)).shape != (1008, 2048):
        raise another(path, what)
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(
            f"FID of a file of weights needs torch-fidelity: pip install torch-fidelity ({error})"
        ) from error
    try:  # it unpickles without restrictions what was found to be tensors alone
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except RuntimeError as error:
        raise another(path, what, error) from error
    network = network.to(device)
    return lambda pictures: network(pictures.to(device))[0]


def load_i3d(path: Path, device: str, resize: bool) -> Network:
    """StyleGAN-V's i3d_torchscript.pt: float [N, 3, F, H, W] -> [N, 400], the numbers before its softmax.

    resize: it takes 0 to 255 of any size and stretches to 224 x 224; else -1 to 1 at 224 x 224.
    """
    words = {"rescale": resize, "resize": resize, "return_features": True}
    return load_torchscript(path, words, "i3d_torchscript.pt, which StyleGAN-V publishes", device)


class Dino(nn.Module):
    """A ViT of DINO, run by torchvision's layers.

    weights: as published (dino_vitbase16_pretrain.pth), of which the size is read
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        from torchvision.models.vision_transformer import VisionTransformer

        super().__init__()
        width, _, patch, _ = weights["patch_embed.proj.weight"].shape
        self.grid = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
        layers = sum(name.endswith(".attn.qkv.weight") for name in weights)
        hidden = weights["blocks.0.mlp.fc1.weight"].shape[0]
        self.vit = VisionTransformer(self.grid * patch, patch, layers, width // HEAD_WIDTH, width, hidden)
        self.vit.heads = nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        """float [N, 3, H, W], 0 to 255 -> [N, width]: its class token at a shorter side of 224, as VBench calls it."""
        from torchvision.transforms.functional import normalize, resize

        small = resize(pictures, [DINO_SIDE], antialias=False) / 255
        patches = self.vit.conv_proj(normalize(small, IMAGENET_MEAN, IMAGENET_SPREAD))
        tokens = torch.cat([self.vit.class_token.expand(len(patches), -1, -1), patches.flatten(2).mT], dim=1)
        tokens = tokens + self.positions(*patches.shape[-2:])
        return self.vit.encoder.ln(self.vit.encoder.layers(tokens))[:, 0]

    def positions(self, rows: int, columns: int) -> Tensor:
        """[1, 1 + rows * columns, width], stretched as DINO's code does: 0.1 patches too far."""
        known = self.vit.encoder.pos_embedding
        if rows == columns == self.grid:
            return known
        square = known[:, 1:].mT.unflatten(2, (self.grid, self.grid))
        factors = ((rows + 0.1) / self.grid, (columns + 0.1) / self.grid)
        return torch.cat([known[:, :1], F.interpolate(square, scale_factor=factors, mode="bicubic").flatten(2).mT], 1)


# DINO's names -> torchvision's, from the first that fits
NAMES = (
    ("cls_token", "class_token"),
    ("pos_embed", "encoder.pos_embedding"),
    ("patch_embed.proj.", "conv_proj."),
    ("blocks.", "encoder.layers.encoder_layer_"),
    ("norm.", "encoder.ln."),
)
PARTS = (
    (".norm1.", ".ln_1."),
    (".norm2.", ".ln_2."),
    (".attn.qkv.", ".self_attention.in_proj_"),
    (".attn.proj.", ".self_attention.out_proj."),
    (".mlp.fc1.", ".mlp.0."),
    (".mlp.fc2.", ".mlp.3."),
)


def load_dino(path: Path, device: str) -> Network:
    what = "dino_vitbase16_pretrain.pth, which DINO publishes"
    weights = read_weights(path, what)
    if not {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"} <= set(weights):
        raise another(path, what)
    try:
        with torch.device("meta"):  # sizes that only the file's names suggest cost no memory
            network = Dino(weights)
    except Exception as error:  # whatever torchvision raises for sizes that are none
        raise another(path, what, error) from error
    fill(network.vit, {_renamed(name): value for name, value in weights.items()}, path, what)
    network = network.eval().to(device)
    return lambda pictures: network(pictures.to(device))


def _renamed(name: str) -> str:
    for old, new in NAMES:
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    for old, new in PARTS:
        name = name.replace(old, new)
    return name


def load_raft(path: Path, device: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Two pictures, float [1, 3, H, W], 0 to 255 -> flow [2, H', W'] in pixels, as VBench calls RAFT: after 20 updates,
    of pictures that are padded at the edges to multiples of 8, which the flow keeps.

    path: torchvision's weights of raft_large; its C_T_V1 are VBench's raft-things under other names.
    """
    from torchvision.models.optical_flow import raft_large

    what = "raft_large_C_T_V1-22a6c225.pth, which torchvision publishes"
    weights = read_weights(path, what)
    network = fill(raft_large(weights=None), weights, path, what).to(device)

    def flow(first: Tensor, second: Tensor) -> Tensor:
        height, width = first.shape[-2:]
        rows, columns = -height % FLOW_STEP, -width % FLOW_STEP
        edges = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        pair = (F.pad(picture.to(device) / 255 * 2 - 1, edges, mode="replicate") for picture in (first, second))
        return network(*pair, num_flow_updates=FLOW_UPDATES)[-1][0]

    return flow


def load_musiq(path: Path, device: str) -> Network:
    """float [1, 3, H, W], 0 to 255 -> its quality, about 0 to 100, as VBench calls MUSIQ: at a longer side of at most
    512. path: musiq_spaq_ckpt-358bb6af.pth, which pyiqa publishes."""
    try:
        from pyiqa.archs.musiq_arch import MUSIQ
    except ImportError as error:
        raise ImportError(
            f"IQ needs pyiqa (its licence allows no commercial use): pip install pyiqa, or leave out --musiq ({error})"
        ) from error
    from torchvision.transforms.functional import resize

    what = "musiq_spaq_ckpt-358bb6af.pth, which pyiqa publishes"
    weights = read_weights(path, what)
    network = fill(MUSIQ(pretrained=False), weights, path, what).to(device)

    def quality(picture: Tensor) -> Tensor:
        longer = max(picture.shape[-2:])
        if longer > MUSIQ_SIDE:
            sides = [int(MUSIQ_SIDE / longer * side) for side in picture.shape[-2:]]
            picture = resize(picture, sides, antialias=False)
        return network(picture.to(device) / 255)

    return quality
