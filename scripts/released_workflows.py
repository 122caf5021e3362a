"""Makes the twins of the workflows that use the published files: ``NAME_released.json`` from each ``NAME.json``,
with a thumbnail.

    python -m scripts.released_workflows

In a twin the host's own loaders bring the caption encoder and the video autoencoder, 'Load UniAVGen Vocoder' the
vocoder. Files and addresses come from `uniavgen_core.parts`; the host's front end reads the addresses in the `models`
property of its loaders and offers the files that are missing. It does so for file names in a node's own widgets only,
so Load UniAVGen and Load UniAVGen Vocoder fetch their files by 'download', and a note names the rest.
"""

from __future__ import annotations

import copy
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from uniavgen_core.parts import PARTS, PUBLISHED, VOCODER_FOLDER, Part
from uniavgen_core.sampling import Guidance

WORKFLOWS = Path(__file__).parents[1] / "workflows"
SUFFIX = "_released"
HUB = "https://huggingface.co"
WIDTH = 120  # columns of a line in an API workflow
NOTE_GROWS = 220
BAND = (120, 62, 20)
PART = {part.name: part for part in PARTS}

Json = dict[str, Any]


@dataclass(frozen=True)
class Loader:
    """A node that takes the place of an output of Load UniAVGen.

    slot: of that output; id, title: of the node in an API workflow; pos, size: in the browser, left of Load UniAVGen
    part: whose file the host offers
    """

    slot: int
    id: str
    kind: str
    title: str
    output: str
    type: str
    inputs: Json
    pos: tuple[int, int]
    size: tuple[int, int]
    part: Part | None = None


LOADERS = (
    Loader(
        1,
        "clip",
        "CLIPLoader",
        "Load CLIP",
        "CLIP",
        "CLIP",
        {"clip_name": PART["text-encoder"].sign, "type": "wan", "device": "default"},
        (-460, 0),
        (400, 110),
        PART["text-encoder"],
    ),
    Loader(
        2,
        "vae",
        "VAELoader",
        "Load VAE",
        "VAE",
        "VAE",
        {"vae_name": PART["vae"].sign},
        (-460, 170),
        (400, 60),
        PART["vae"],
    ),
    Loader(
        3,
        "vocoder",
        "UniAVGenVocoderLoad",
        "Load UniAVGen Vocoder",
        "vocoder",
        "UNIAVGEN_VOCODER",
        {"folder": VOCODER_FOLDER, "hub_id": "", "download": False},
        (-460, 290),
        (400, 110),
    ),
)


RELEASE = Guidance()
GUIDANCE = {  # the release's, where the tiny model has its own
    "s_v": RELEASE.scale_video,
    "s_a": RELEASE.scale_audio,
    "start": RELEASE.start,
    "end": RELEASE.end,
    "unit": RELEASE.unit.value,
    "outside": RELEASE.outside.value,
    "skip_layer": "auto",
}
# The first of these among a node's widgets
GUIDED = {"UniAVGenJointSampler": 5, "UniAVGenLongSampler": 5, "UniAVGenGuider": 0}


def released_api(api: Json) -> Json:
    """The API workflow with the published files in place of the tiny model."""
    twin = copy.deepcopy(api)
    (source,) = (key for key, node in twin.items() if node["class_type"] == "UniAVGenLoad")
    twin[source]["inputs"]["file"] = PUBLISHED
    for node in twin.values():
        if node["class_type"] in GUIDED:
            node["inputs"] |= GUIDANCE
    for loader in LOADERS:
        inputs = [node["inputs"] for node in twin.values()]
        taken = [(values, key) for values in inputs for key, value in values.items() if value == [source, loader.slot]]
        if not taken:
            continue
        if loader.id in twin:
            raise ValueError(f"the workflow has a node {loader.id!r} of its own: name one of the two otherwise")
        for values, key in taken:
            values[key] = [loader.id, 0]
        twin[loader.id] = {
            "class_type": loader.kind,
            "inputs": dict(loader.inputs),
            "_meta": {"title": loader.title},
        }
    return twin


def released_ui(ui: Json) -> Json:
    """The same for the browser. Nodes and links keep their ids; the loaders' come after them."""
    twin = copy.deepcopy(ui)
    twin["id"] = str(uuid.uuid5(uuid.UUID(ui["id"]), SUFFIX))
    (source,) = (node for node in twin["nodes"] if node["type"] == "UniAVGenLoad")
    source["widgets_values"][0] = PUBLISHED
    for loader in LOADERS:
        links = source["outputs"][loader.slot]["links"]
        if not links:
            continue
        twin["last_node_id"] += 1
        for link in twin["links"]:
            if link[0] in links:
                link[1:3] = [twin["last_node_id"], 0]
        source["outputs"][loader.slot]["links"] = None
        twin["nodes"].append(loader_node(loader, twin["last_node_id"], len(twin["nodes"]), links))
    for node in twin["nodes"]:
        if node["type"] in GUIDED:
            first = GUIDED[node["type"]]
            node["widgets_values"][first : first + len(GUIDANCE)] = GUIDANCE.values()
    (note,) = (node for node in twin["nodes"] if node["type"] == "MarkdownNote")
    extend_note(note)
    return twin


def loader_node(loader: Loader, number: int, order: int, links: list[int]) -> Json:
    """A loader as the browser keeps it."""
    pack = "uniavgen" if loader.kind.startswith("UniAVGen") else "comfy-core"
    properties = {"cnr_id": pack, "Node name for S&R": loader.kind}
    if loader.part:
        properties["models"] = [offer(loader.part)]
    output = {"name": loader.output, "type": loader.type, "slot_index": 0, "links": links}
    return {
        "id": number,
        "type": loader.kind,
        "pos": list(loader.pos),
        "size": list(loader.size),
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [],
        "outputs": [output],
        "properties": properties,
        "widgets_values": list(loader.inputs.values()),
    }


def offer(part: Part) -> Json:
    """A part of one file as the host's front end offers it."""
    (path,) = part.patterns
    return {"name": part.sign, "url": f"{HUB}/{part.repository}/resolve/main/{path}", "directory": part.folder}


def extend_note(note: Json) -> None:
    """The last line, on the tiny model, becomes where the published files come from; the note grows upwards."""
    task = note["widgets_values"][0].rsplit("\n", 1)[0]
    whence = (
        "**This uses the published files.** Those of *Load CLIP* and *Load VAE* are offered when the workflow opens "
        "without them. For the others switch `download` on in *Load UniAVGen* and *Load UniAVGen Vocoder*, or run "
        "`python -m uniavgen_core download --to` and your `models` folder in the folder of this custom node, or fetch "
        "them by hand:"
    )
    files = "\n".join(by_hand(part) for part in PARTS if part.usual)
    note["widgets_values"] = ["\n\n".join([task, whence, files])]
    (x, y), (width, height) = note["pos"], note["size"]
    note["pos"], note["size"] = [x, y - NOTE_GROWS], [width, height + NOTE_GROWS]


def by_hand(part: Part) -> str:
    """Where a part is published and where it goes, as a line of the note."""
    path, place = part.patterns[0], PurePosixPath("models", part.folder, part.sign).parent
    if "*" in path:
        url = f"{HUB}/{part.repository}/tree/main/{PurePosixPath(path).parent}".removesuffix("/.")
    else:
        url = f"{HUB}/{part.repository}/resolve/main/{path}"
    return f"- [{part.what}]({url}) ({part.licence}) into `{place}`"


def ui_text(ui: Json) -> str:
    """One line for each node and link."""

    def lay_out(value: Any) -> str:
        if not (value and isinstance(value, list)):
            return dump(value)
        return "[\n" + ",\n".join(f"    {dump(item)}" for item in value) + "\n  ]"

    return "{\n" + ",\n".join(f"  {dump(key)}: {lay_out(value)}" for key, value in ui.items()) + "\n}\n"


def api_text(api: Json) -> str:
    """Inputs on one line where they fit."""

    def lay_out(inputs: Json) -> str:
        if len(f'    "inputs": {dump(inputs)},') <= WIDTH:
            return dump(inputs)
        return "{\n" + ",\n".join(f"      {dump(key)}: {dump(value)}" for key, value in inputs.items()) + "\n    }"

    def node(values: Json) -> str:
        shown = {key: lay_out(value) if key == "inputs" else dump(value) for key, value in values.items()}
        return "{\n" + ",\n".join(f"    {dump(key)}: {text}" for key, text in shown.items()) + "\n  }"

    return "{\n" + ",\n".join(f"  {dump(key)}: {node(values)}" for key, values in api.items()) + "\n}\n"


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def originals() -> list[str]:
    """The names of the workflows that have a twin."""
    return sorted(path.stem for path in WORKFLOWS.glob("*.json") if not path.stem.endswith(SUFFIX))


def twins(name: str) -> dict[Path, str]:
    """Where the twins of a workflow lie, and what stands there."""
    ui, api = (json.loads((folder / f"{name}.json").read_text("utf-8")) for folder in (WORKFLOWS, WORKFLOWS / "api"))
    return {
        WORKFLOWS / f"{name}{SUFFIX}.json": ui_text(released_ui(ui)),
        WORKFLOWS / "api" / f"{name}{SUFFIX}.json": api_text(released_api(api)),
    }


def thumbnail(picture: Image.Image) -> Image.Image:
    """That of a twin: the other's, with a line across its top."""
    picture = picture.convert("RGB")
    width, height = picture.size
    band = Image.new("RGB", (width, height // 9), BAND)
    font = ImageFont.load_default(size=height / 15)
    ImageDraw.Draw(band).text((width / 2, band.height / 2), "published model", "white", font, anchor="mm")
    picture.paste(band)
    return picture


def main() -> None:
    for name in originals():
        for path, text in twins(name).items():
            partial = path.with_suffix(".part")
            partial.write_text(text, "utf-8")
            os.replace(partial, path)
            print(path.relative_to(WORKFLOWS.parent))
        with Image.open(WORKFLOWS / f"{name}.jpg") as picture:
            thumbnail(picture).save(WORKFLOWS / f"{name}{SUFFIX}.jpg", quality=88)


if __name__ == "__main__":
    main()
