"""How much memory a run needs beside the weights, from the lengths of its clip. Nothing is computed for it.

A pass is a chain of phases, and tensors as large as a branch's tokens are nearly all there is. What each phase holds at
its fullest is counted below, from the code of `blocks` and `aligners`; the largest phase decides. N tokens are D wide
(F inside the feed-forward; D' is the sound's width) and a number has b bytes:

- self-attention, while keys are rotated: tokens, modulated tokens, queries and keys, and the rotation's copies in
  float32, four (three if b = 4): N D (4 b + 16)
- feed-forward: tokens before the block, now, and modulated; the widened ones before and after the GELU:
  N (3 D + 2 F) b
- the video is shown to the sound: tokens, what they heard, masked tokens, those with the last latent doubled; keys
  before and after their norm, and the rotation: N (4 D b + D' (2 b + 16))
- the sound sees between latents: tokens, what they heard, the view of them; of a chunk of it, keys and values of two
  latents, the same in float32, and what the products copy
- the sound is heard by the video: tokens, queries, rotation; keys and values of all windows
- the caption is read: it, its keys, and their norm in float32

The other branch's tokens wait meanwhile, and so does what the steps of the run share for each text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..config import Alignment, BranchConfig, ModelConfig
from ..geometry import TEMPORAL_STRIDE, ClipLength
from ..types import JOINT, Interaction
from .aligners import CONTEXT_NUMBERS
from .alignment import MARGIN_FRAMES

FLOAT32 = 4
LATENT_COPIES = 2  # the latent with its reference, and the velocity
MARGIN = 1.1  # small tensors, and gaps between large ones


@dataclass(frozen=True)
class Run:
    """What decides about the memory of a run.

    latents, height, width: of the video [B, C, T, height, width]
    tokens: of the audio; voice: of a reference voice; speech: of the longest text
    still_video, still_audio: that branch is given whole
    interaction: what acts in any pass
    texts: how many different texts there are, for each of which something is kept
    """

    latents: int
    height: int
    width: int
    tokens: int
    voice: int = 0
    speech: int = 0
    still_video: bool = False
    still_audio: bool = False
    interaction: Interaction = JOINT
    texts: int = 2


@dataclass(frozen=True)
class Estimate:
    """Bytes for one item of a batch; ``number``: size of a number computed in."""

    config: ModelConfig
    run: Run
    number: int

    @property
    def frame(self) -> int:
        """Video tokens of one latent."""
        return self.run.height * self.run.width // self.config.patch_size**2

    @property
    def video_tokens(self) -> int:
        return (1 + self.run.latents) * self.frame

    @property
    def audio_tokens(self) -> int:
        return self.run.voice + self.run.tokens

    @property
    def tokens_a_frame(self) -> float:
        return self.run.tokens / ClipLength.from_latents(self.run.latents).frames

    @property
    def latent(self) -> int:
        config, run = self.config, self.run
        return config.video_channels * (1 + run.latents) * run.height * run.width + config.mel_bins * run.tokens

    @property
    def view(self) -> int:
        """Numbers in the keys of all video tokens at the sound's width."""
        return self.video_tokens * self.config.audio.dim

    @property
    def heard(self) -> int:
        """Numbers in the keys of the sound, windows of all latents one after the other."""
        window = math.ceil((TEMPORAL_STRIDE + 2 * MARGIN_FRAMES) * self.tokens_a_frame) + 2
        symmetric = self.config.interaction.alignment is Alignment.SYMMETRIC_GLOBAL
        return (self.run.tokens if symmetric else self.run.latents * window) * self.config.video.dim

    @property
    def rotation(self) -> int:
        """Bytes a number while it is rotated."""
        return 4 * FLOAT32 if self.number < FLOAT32 else 3 * FLOAT32

    def of_block(self, tokens: int, branch: BranchConfig) -> int:
        b, dim = self.number, branch.dim
        return tokens * max(dim * (4 * b + self.rotation), b * (3 * dim + 2 * branch.ffn_dim))

    def of_seeing(self) -> int:
        """A chunk of places at which the sound sees two latents."""
        place = self.frame * self.config.audio.dim
        numbers = min(max(CONTEXT_NUMBERS, place), self.run.latents * place)
        float32 = 4 * FLOAT32 if self.number < FLOAT32 else 0
        return numbers * (4 * self.number + float32 + 2 * FLOAT32)

    def of_pass(self) -> int:
        """A pass at its fullest."""
        config, run, b = self.config, self.run, self.number
        video, audio = self.video_tokens * config.video.dim * b, self.audio_tokens * config.audio.dim * b
        phases = [
            self.of_block(self.video_tokens, config.video) + audio,
            self.of_block(self.audio_tokens, config.audio) + (0 if run.still_video else video),
            config.text_len * config.video.dim * (2 * b + 2 * FLOAT32),
        ]
        if run.interaction.audio_to_video:
            phases.append(2 * video + self.heard * 2 * b + video // b * self.rotation + audio)
        if run.interaction.video_to_audio:
            updated = video if run.interaction.audio_to_video else 0
            phases.append(3 * video + updated + self.view * (2 * b + self.rotation) + audio)
            tokens = 0 if run.still_video else video + updated + 2 * self.view * b
            phases.append(tokens + self.of_seeing() + 3 * audio)
        return int(MARGIN * (max(phases) + LATENT_COPIES * FLOAT32 * self.latent))

    def of_kept(self) -> int:
        """What the steps share for one text: `Prepared`.

        Keys and values of caption and speech in each layer, positions of all tokens, and, of a branch that is given
        whole, what it shows at each layer where the branches meet.
        """
        config, run = self.config, self.run
        texts = config.num_layers * (config.text_len * config.video.dim + run.speech * config.audio.dim)
        positions = self.video_tokens * config.video.head_dim + self.audio_tokens * config.audio.head_dim
        shown = 2 * self.view * run.still_video + 2 * self.heard * run.still_audio
        numbers = 2 * texts + len(config.interaction_layers) * shown
        return int(MARGIN * (numbers * self.number + 2 * positions * FLOAT32))
