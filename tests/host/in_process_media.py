"""Runs inside the host's Python: the nodes on media and texts as people have them, as JSON on the last line.

python in_process_media.py COMFYUI_FOLDER PACK_FOLDER FOLDER_OF_FILES
"""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from in_process import Bench, load_host


class Told(logging.Handler):
    """Keeps the warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Untouched:
    """A VAE that must not be used: what is refused is refused before."""

    latent_channels, uniavgen_short_side = 48, 64

    def encode(self, pixels: Any) -> Any:
        raise AssertionError("something was encoded")


class LongClip:
    """Reads 600 tokens in every caption."""

    def __init__(self, clip: Any):
        self.speech_vocabulary = clip.speech_vocabulary

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list[list[Any]]:
        import torch

        return [[torch.zeros(1, 600 if tokens else 1, 64), {"pooled_output": None}]]


class Trial:
    """The nodes, and what they answer."""

    def __init__(self, bench: Bench, files: Path):
        self.bench, self.files, self.told, self.found = bench, files, Told(), {}
        logging.getLogger(bench.pack).addHandler(self.told)
        self.texts = self.text("Hi.")
        self.voiced = self.text("Hi.", transcript="Hello there.")

    def text(self, speech: str, **values: Any) -> tuple[Any, ...]:
        inputs = {"clip": self.bench.clip, "caption": "a face", "speech": speech, "language": "auto"}
        return self.bench.node("TextEncode", **{**inputs, **values})

    def conditions(self, texts: Any = None, **given: Any) -> tuple[Any, ...]:
        small = {"frames": 5, "width": 64, "height": 64, "reference_image": self.bench.given["reference_image"][:, :64]}
        return self.bench.conditions(texts or self.texts, **{**small, **given})

    def refused(self, name: str, run: Callable[[], Any]) -> None:
        """Keeps the sentence."""
        try:
            run()
            self.found[name] = "nothing was refused"
        except ValueError as error:
            self.found[name] = str(error)

    def warned(self, name: str, run: Callable[[], Any]) -> Any:
        """Keeps what was told meanwhile."""
        self.told.lines.clear()
        result = run()
        self.found[name] = list(self.told.lines)
        return result

    def video(self, name: str, **window: float) -> Any:
        from comfy_api.latest import InputImpl

        return InputImpl.VideoFromFile(str(self.files / name), **window)


def sound(waveform: Any, rate: Any = 24_000) -> dict[str, Any]:
    return {"waveform": waveform, "sample_rate": rate}


def hear(trial: Trial) -> None:
    import torch

    unheard = {"vae": Untouched(), "as_long_as_given": True}
    for name, audio in {
        "zero samples": sound(torch.zeros(1, 1, 0)),
        "no sound in the batch": sound(torch.zeros(0, 1, 9)),
        "no batch": sound(torch.zeros(1, 9)),
        "NaN": sound(torch.full((1, 2, 9), torch.nan)),
        "rate 0": sound(torch.zeros(1, 1, 9), 0),
        "rate NaN": sound(torch.zeros(1, 1, 9), float("nan")),
        "too long": sound(torch.zeros(1, 1, 24_000)),
    }.items():
        long = {"as_long_as_given": False} if name == "too long" else {}
        trial.refused(f"driving {name}", lambda a=audio, b=long: trial.conditions(driving_audio=a, **unheard | b))
        if name != "too long":
            trial.refused(f"voice {name}", lambda a=audio: trial.conditions(trial.voiced, reference_voice=a, **unheard))
    for name, seconds in (("voice too short", 0.1), ("voice too long", 130)):
        audio = sound(torch.zeros(1, 1, int(seconds * 24_000)))
        trial.refused(name, lambda a=audio: trial.conditions(trial.voiced, reference_voice=a, **unheard))
    silence = trial.bench.core("audio.sound").driving_tokens(
        trial.bench.core("audio.sound").Sound(torch.zeros(1, 9000), 24_000)
    )
    for name, audio in {
        "silence": sound(torch.zeros(1, 2, 7500)),
        "6 channels": sound(0.1 * torch.sin(torch.arange(6 * 11_000).view(1, 6, -1) * 0.1), 37_800),
        "batch": sound(torch.rand(2, 1, 4000)),
    }.items():
        _, _, latent = trial.warned(f"told {name}", lambda a=audio: trial.conditions(driving_audio=a))
        tokens = latent["samples"].unbind()[1]
        trial.found[f"tokens {name}"] = [list(tokens.shape), bool(torch.allclose(tokens, silence[..., :31], atol=1e-4))]
    trial.warned(
        "told slow voice", lambda: trial.conditions(trial.voiced, reference_voice=sound(torch.rand(1, 1, 480_000)))
    )


def see(trial: Trial) -> None:
    import torch

    for name, image in {
        "one channel": torch.zeros(1, 64, 64, 1),
        "NaN": torch.full((1, 64, 64, 3), torch.nan),
        "gigapixel": torch.zeros(1, 1, 1, 3).expand(1, 40_000, 30_000, 3),
        "empty": torch.zeros(0, 64, 64, 3),
    }.items():
        trial.refused(f"image {name}", lambda x=image: trial.conditions(reference_image=x, vae=Untouched()))
    colours, alpha = torch.full((1, 64, 64, 3), 0.2), torch.linspace(0, 1, 64).expand(1, 64, 64)[..., None]
    seen = {
        "1 x 1": torch.full((1, 1, 1, 3), 0.2),
        "odd": torch.full((1, 37, 53, 3), 0.2),
        "batch": torch.cat((colours, 1 - colours)),
        "RGBA": torch.cat((colours, alpha), dim=-1),
        "on white": colours * alpha + 1 - alpha,
        "plain": colours,
    }
    latents = {
        name: trial.warned(f"told image {name}", lambda x=image: trial.conditions(reference_image=x))[2][
            "samples"
        ].unbind()[0]
        for name, image in seen.items()
    }
    for name, same in (("1 x 1", "plain"), ("odd", "plain"), ("batch", "plain"), ("RGBA", "on white")):
        trial.found[f"image {name}"] = bool(torch.allclose(latents[name], latents[same], atol=1e-5))
    trial.found["image RGBA is not its colours"] = not torch.allclose(latents["RGBA"], latents["plain"], atol=1e-2)


def watch(trial: Trial) -> None:
    from comfy_api.latest import InputImpl

    given = {"vae": Untouched(), "reference_image": None, "as_long_as_given": True}
    for name in ("list.mp4", "cut.mp4", "sound.m4a", "unknown.mkv"):
        trial.refused(f"video {name}", lambda n=name: trial.conditions(video=trial.video(n), **given))
    trial.refused("video mute", lambda: trial.conditions(earlier_video=trial.video("turned.mp4"), **given))
    trial.found["host follows a playlist"] = len(trial.video("list.mp4").get_components().images)

    turned = trial.video("turned.mp4")
    components = turned.get_components().images
    trial.found["host turns"] = [list(components.shape[1:3]), half(components[0])]
    open_video = sys.modules[f"{trial.bench.pack}.nodes.adapter_video"].open_video
    trial.found["we turn"] = [list(open_video(turned).size), half(open_video(turned).frames(48, 32)[:1][0])]
    if "start_time" in inspect.signature(InputImpl.VideoFromFile.__init__).parameters:
        part = open_video(trial.video("turned.mp4", start_time=0.25, duration=0.5))
        trial.found["a part is turned"] = [list(part.size), half(part.frames(48, 32)[:1][0]), part.count]
    (dubbed,) = trial.bench.node("Mux", audio=sound(components.new_zeros(1, 1, 24_000)), fps=16.0, source=turned)
    dubbed.save_to(str(trial.files / "dubbed.mp4"))
    trial.found["dubbed"] = list(open_video(trial.video("dubbed.mp4")).size)
    trial.found["dubbed flag"] = open_video(trial.video("dubbed.mp4")).footage.turned
    latent = trial.conditions(video=turned, reference_image=None, as_long_as_given=True, width=0, height=0)[2]
    trial.found["dubbed latent"] = list(latent["samples"].unbind()[0].shape)
    trial.found["variable"] = [float(time) for time in open_video(trial.video("variable.mp4")).footage.times]


def half(picture: Any) -> str:
    """Which half of a picture is bright."""
    height, width = picture.shape[:2]
    sides = {
        "top": picture[: height // 2],
        "bottom": picture[-(height // 2) :],
        "left": picture[:, : width // 2],
        "right": picture[:, -(width // 2) :],
    }
    return max(sides, key=lambda name: float(sides[name].mean()))


def join(trial: Trial) -> None:
    import torch

    pictures, heard = torch.full((8, 32, 48, 3), 0.5), sound(torch.full((1, 1, 12_000), 0.1))

    def mux(images: Any = pictures, audio: Any = heard, fps: float = 16.0) -> Any:
        return trial.bench.node("Mux", images=images, audio=audio, fps=fps)[0].get_components()

    for name, changes in {
        "one channel": {"images": pictures[..., :1]},
        "no pictures": {"images": pictures[:0]},
        "NaN pictures": {"images": pictures * torch.nan},
        "NaN sound": {"audio": sound(torch.full((1, 1, 9), torch.nan))},
        "no batch": {"audio": sound(torch.zeros(1, 9))},
        "no sound in the batch": {"audio": sound(torch.zeros(0, 1, 9))},
    }.items():
        trial.refused(f"mux {name}", lambda c=changes: mux(**c))
    loud = trial.warned("told mux loud", lambda: mux(audio=sound(torch.full((1, 1, 12_000), -2.0))))
    trial.found["mux loudest"] = float(loud.audio["waveform"].abs().max())
    for name, audio in {
        "zero samples": sound(torch.zeros(1, 1, 0)),
        "5.1": sound(torch.full((1, 6, 22_050), 0.1), 44_100),
        "odd rate": sound(torch.full((1, 1, 18_900), 0.1), 37_800),
        "two": sound(torch.full((2, 1, 6000), 0.1)),
    }.items():
        result = trial.warned(f"told mux {name}", lambda a=audio: mux(audio=a))
        trial.found[f"mux {name}"] = [*result.audio["waveform"].shape[1:], result.audio["sample_rate"]]
    for fps in (23.976, 29.97, 60.0):
        result = mux(fps=fps)
        exact = Fraction(result.frame_rate)
        trial.found[f"mux {fps}"] = [str(exact), result.audio["waveform"].shape[-1] - round(8 / exact * 24_000)]


def read(trial: Trial) -> None:
    """Texts."""
    known = len(trial.bench.clip.speech_vocabulary)
    for name, speech in {
        "NUL": "Hi\0.",
        "surrogate": "Hi \ud83d.",
        "right-to-left": "Hi שלום.",
        "emoji": "Hi 😀.",
        "Chinese": "Hi 你好.",
        "long": "hello " * 1700,
    }.items():
        language = "en" if name == "Chinese" else "auto"
        texts = trial.warned(f"text {name}", lambda s=speech, la=language: trial.text(s, language=la))
        ids = texts[0][0][1]["uniavgen_speech"]
        assert -1 <= int(ids.min()) <= int(ids.max()) < known
        if name == "long":
            trial.refused("text long", lambda t=texts: trial.conditions(t, vae=Untouched()))
    for name, speech in {"empty": " ", "only emoji": "😀", "only Hebrew": "שלום", "only half": "\ud800"}.items():
        trial.refused(f"text {name}", lambda s=speech: trial.conditions(trial.text(s), vae=Untouched()))
    chinese = trial.text("你好", language="en")
    trial.refused("text only Chinese", lambda: trial.conditions(chinese, vae=Untouched()))
    trial.refused("caption half", lambda: trial.text("Hi.", caption="a \udce9 face"))
    trial.warned("caption long", lambda: trial.text("Hi.", clip=LongClip(trial.bench.clip)))
    trial.warned("caption bytes", lambda: trial.text("Hi.", caption="x" * 10_000))
    trial.warned("caption empty", lambda: trial.text("Hi.", caption=""))


def main() -> None:
    *places, files = sys.argv[1:]
    nodes, pack = load_host(*places)
    import torch

    with torch.inference_mode():
        trial = Trial(Bench(nodes, pack), Path(files))
        for part in (hear, see, watch, join, read):
            part(trial)
        video, audio, _ = trial.bench.joint()  # the host goes on working
        trial.found["goes on"] = bool(video.isfinite().all() and audio.isfinite().all())
    print(json.dumps(trial.found))


if __name__ == "__main__":
    main()
