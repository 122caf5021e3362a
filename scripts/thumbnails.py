"""Thumbnails of the workflows for the template browser, from clips that they made with the tiny model:

python scripts/thumbnails.py joint=joint.mp4 dub=dub.mp4 ... && python scripts/released_workflows.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageStat

WORKFLOWS = Path(__file__).parents[1] / "workflows"
SIDE = 512  # pixels
TITLES = {
    "joint": "voice and face",
    "joint_voice": "cloned voice",
    "dub": "dubbing",
    "audio_driven": "audio-driven",
    "continue": "continue",
    "long": "long clip",
    "custom_sampling": "custom sampling",
}
SHADE = (12, 24, 44, 215)  # red, green, blue, opacity


def thumbnail(clip: Path, title: str) -> Image.Image:
    """The picture of a clip that is least like its first one, in which the mouth is shut, and its title below."""
    with av.open(str(clip)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    change = [ImageStat.Stat(ImageChops.difference(frames[0], frame)).sum for frame in frames]
    picture = frames[change.index(max(change, key=sum))].resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    band = Image.new("RGBA", (SIDE, SIDE - SIDE * 85 // 100), SHADE)
    font = ImageFont.load_default(size=SIDE / 11)
    ImageDraw.Draw(band).text((SIDE / 2, band.height / 2), title, "white", font, anchor="mm")
    picture.paste(band, (0, SIDE - band.height), band)
    return picture


def main(words: list[str]) -> None:
    clips = dict(word.partition("=")[::2] for word in words)
    if not clips or (unknown := clips.keys() - TITLES.keys()):
        raise SystemExit(f"give NAME=CLIP.mp4, NAME one of {', '.join(TITLES)}" + (f", not {unknown}" if clips else ""))
    for name, clip in clips.items():
        thumbnail(Path(clip), TITLES[name]).save(WORKFLOWS / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main(sys.argv[1:])
