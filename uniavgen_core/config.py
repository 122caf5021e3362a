"""Frozen parameters of the model. One object, nested by part; the release is the default."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import Enum

MAX_TIMESTEP = 1000.0  # noise; 0 is clean


class Layers(str, Enum):
    """After which blocks the two branches meet (paper, ablation of the layers)."""

    INTERLEAVED = "interleaved"
    ALL = "all"
    FIRST_HALF = "first_half"
    LAST_HALF = "last_half"


class Site(str, Enum):
    """Where in the network the two branches meet (paper, ablation of the site).

    ``BEFORE_SELF_ATTENTION`` is the release: after a whole block, before the next one's self-attention.
    """

    BEFORE_SELF_ATTENTION = "before_self_attention"
    BEFORE_CROSS_ATTENTION = "before_cross_attention"
    BEFORE_FFN = "before_ffn"


class Alignment(str, Enum):
    """Which tokens of the other branch a token sees (paper, ablation of the interaction).

    ``ASYMMETRIC`` (release): video sees a window of sound with a margin of two frames, sound sees the
    interpolation of its two neighbouring frames. ``SYMMETRIC_TEMPORAL``: each sees exactly the other's tokens
    of the same time. ``SYMMETRIC_GLOBAL``: each sees all of the other.
    """

    ASYMMETRIC = "asymmetric"
    SYMMETRIC_TEMPORAL = "symmetric_temporal"
    SYMMETRIC_GLOBAL = "symmetric_global"


class Prediction(str, Enum):
    """What the video head says: the velocity (release), or the clean latents, from which the velocity follows."""

    VELOCITY = "velocity"
    CLEAN = "clean"


# Beyond these nothing is built: what a file says may be anything.
MOST_LAYERS, MOST_PATCH, MOST_SIZE = 256, 64, 1 << 20
LATER = {"speech_stretch": 1.0, "video_prediction": "velocity"}  # what the first files' configurations lack


def check_sizes(most: int, **sizes: object) -> None:
    """Raises ``ValueError`` unless all are whole numbers from 1 to ``most``."""
    for name, size in sizes.items():
        if type(size) is not int or not 1 <= size <= most:
            raise ValueError(f"{name} must be a whole number from 1 to {most}, not {str(size)[:20]}")


def check_object(what: str, values: object, kind: type, defaults: Iterable[str] = ()) -> None:
    """Raises ``ValueError`` unless it is a JSON object with the names of a dataclass, of which some have a default."""
    if not isinstance(values, dict):
        raise ValueError(f"{what}: no object")
    known = {f.name for f in fields(kind)}
    if {*defaults, *values} != known:
        raise ValueError(f"{what}: unknown or missing names {sorted({*defaults, *values} ^ known)}")


@dataclass(frozen=True)
class BranchConfig:
    """Sizes of one DiT branch."""

    dim: int
    ffn_dim: int
    num_heads: int

    def __post_init__(self) -> None:
        check_sizes(MOST_SIZE, dim=self.dim, ffn_dim=self.ffn_dim, num_heads=self.num_heads)
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim {self.dim} must split into {self.num_heads} heads of even size")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


@dataclass(frozen=True)
class InteractionConfig:
    """How the two branches exchange information."""

    layers: Layers | tuple[int, ...] = Layers.INTERLEAVED
    site: Site = Site.BEFORE_SELF_ATTENTION
    alignment: Alignment = Alignment.ASYMMETRIC

    def layer_indices(self, num_layers: int) -> tuple[int, ...]:
        """Indices of the blocks at which the branches meet, rising."""
        if not isinstance(self.layers, Layers):
            return tuple(self.layers)
        return {
            Layers.INTERLEAVED: tuple(range(0, num_layers, 2)),
            Layers.ALL: tuple(range(num_layers)),
            Layers.FIRST_HALF: tuple(range(num_layers // 2)),
            Layers.LAST_HALF: tuple(range(num_layers // 2, num_layers)),
        }[self.layers]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the joint model; the defaults are the published weights (7.06 B parameters)."""

    video: BranchConfig = BranchConfig(dim=3072, ffn_dim=14336, num_heads=24)
    audio: BranchConfig = BranchConfig(dim=1536, ffn_dim=8960, num_heads=12)
    interaction: InteractionConfig = field(default_factory=InteractionConfig)
    num_layers: int = 30
    video_channels: int = 48
    patch_size: int = 2  # rows and columns; one latent frame in time
    mel_bins: int = 80
    freq_dim: int = 256
    text_len: int = 512  # caption tokens after padding with zeros
    text_dim: int = 4096
    speech_vocab: int = 2545
    speech_dim: int = 512
    speech_layers: int = 4
    eps: float = 1e-6
    # What models far smaller than the release need besides
    speech_stretch: float = 1.0  # audio tokens from one speech token to the next, for the rotary positions of its keys
    video_prediction: Prediction = Prediction.VELOCITY

    def __post_init__(self) -> None:
        check_sizes(MOST_LAYERS, num_layers=self.num_layers, speech_layers=self.speech_layers)
        check_sizes(MOST_PATCH, patch_size=self.patch_size)
        names = ("video_channels", "mel_bins", "freq_dim", "text_len", "text_dim", "speech_vocab")
        check_sizes(MOST_SIZE, speech_dim=self.speech_dim, **{name: getattr(self, name) for name in names})
        for name in ("eps", "speech_stretch"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value < MOST_SIZE:
                raise ValueError(f"{name} must be a number above 0 and below {MOST_SIZE}, not {str(value)[:20]}")
        indices = self.interaction.layer_indices(self.num_layers)
        whole = all(type(i) is int and 0 <= i < self.num_layers for i in indices)
        if not whole or list(indices) != sorted(set(indices)):
            raise ValueError(f"interaction layers {str(indices)[:100]} must be rising indices below {self.num_layers}")

    @property
    def interaction_layers(self) -> tuple[int, ...]:
        return self.interaction.layer_indices(self.num_layers)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Inverse of `to_json`, also for files from before `LATER`. Unknown or missing names raise ``ValueError``."""
        values = json.loads(text)
        check_object("model configuration", values, cls, LATER)
        values = LATER | values
        for name, part in (("video", BranchConfig), ("audio", BranchConfig), ("interaction", InteractionConfig)):
            check_object(name, values[name], part)
        interaction = values["interaction"]
        layers = interaction["layers"]
        if not isinstance(layers, str | list):
            raise ValueError(f"interaction layers {str(layers)[:100]} must be a name or a list")
        return cls(
            **{
                **values,
                "video": BranchConfig(**values["video"]),
                "audio": BranchConfig(**values["audio"]),
                "video_prediction": Prediction(values["video_prediction"]),
                "interaction": InteractionConfig(
                    layers=Layers(layers) if isinstance(layers, str) else tuple(layers),
                    site=Site(interaction["site"]),
                    alignment=Alignment(interaction["alignment"]),
                ),
            }
        )


RELEASE = ModelConfig()
