"""Runs inside the host's Python: 'UniAVGen Long Sampler' against the core's `generate`, as JSON on the last line.

python long_process.py COMFYUI_FOLDER PACK_FOLDER
"""

from __future__ import annotations

import json
import sys
from typing import Any

from in_process import RELEASE, SEED, SHIFT, Bench, error, load_host

STEPS, FRAMES, WINDOW, OVERLAP = 2, 37, 21, 3  # three windows
CAPTION, SPEECH = "a face", "One two three. Four five six. Seven eight nine."


def main(folder: str, pack: str) -> dict[str, float]:
    bench = Bench(*load_host(folder, pack))
    texts = bench.node("TextEncode", clip=bench.clip, caption=CAPTION, speech=SPEECH, language="auto")
    positive, negative, latent = bench.conditions(texts, frames=FRAMES)
    told: dict[str, Any] = {"positive": positive, "negative": negative, "latent": latent, "vae": bench.vae, **RELEASE}
    result, _ = bench.node(
        "LongSampler",
        model=bench.model,
        seed=SEED,
        steps=STEPS,
        shift=SHIFT,
        sampler="euler",
        window=WINDOW,
        overlap=OVERLAP,
        **told,
    )
    pipeline = bench.core("pipeline")
    tiny = bench.core("tiny").load_tiny()
    sizes = {name: bench.given[name] for name in ("width", "height")}
    clip = pipeline.generate(
        tiny,
        pipeline.Material(picture=bench.given["reference_image"]),
        speech=SPEECH,
        caption=CAPTION,
        frames=FRAMES,
        steps=STEPS,
        shift=SHIFT,
        seed=SEED,
        window=WINDOW,
        overlap=OVERLAP,
        guidance=bench.core("sampling").Guidance.for_layers(tiny.model.config.num_layers),
        **sizes,
    )
    (sound,) = bench.node("VocosDecode", latent=result, vocoder=tiny.vocoder)
    return {
        "frames": error(bench.vae.decode(result["samples"].unbind()[0])[0], clip.frames),
        "sound": error(sound["waveform"][0], clip.waveform),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
