"""Long sound in bounded memory: frames are decoded chunk by chunk, without seams."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def decode_in_chunks(
    decode: Callable[[Tensor], Tensor],
    features: Tensor,
    context: int,
    chunk: int,
    hop: int,
    done: Callable[[], None] = lambda: None,
) -> Tensor:
    """Features [..., L] -> what ``decode`` makes of all of them at once, on the CPU.

    decode: features [..., n] -> samples [..., about n * hop], frame i beginning at sample i * hop. A sample may depend
        on no frame farther than ``context`` from its own; then the chunks join without a difference.
    context: frames decoded on each side of a chunk and cut off; at the ends there are none, as without chunks
    chunk: frames kept of each call, so that no call sees more than chunk + 2 * context
    done: called after each chunk; what it raises ends the decoding
    """
    frames, kept = features.shape[-1], []
    for start in range(0, frames, chunk):
        end = min(start + chunk, frames)
        first = max(0, start - context)
        samples = decode(features[..., first : end + context])
        kept.append(samples[..., (start - first) * hop : (end - first) * hop].cpu())
        done()
    return torch.cat(kept, dim=-1)
