"""What a graph may do to the nodes in a running host: lists, muted and bypassed nodes, reruns, files that are gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host.hosts import Failed, Refused
from host.listening import hear
from host.test_refusals import TINY_WEIGHTS
from host.test_tasks import load, read, run, saved
from media import grey, tone, write_sound, write_video
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

SMALL = {"conditions.frames": 5, "conditions.width": 64, "conditions.height": 64, "text.speech": "Hi."}
LISTS = {"class_type": "UniAVGenTestLists", "inputs": {}}


def small(name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    return load(name, {**SMALL, **(changes or {})})


def clips(server, outputs: dict[str, Any]) -> list[np.ndarray]:
    """The pictures of all files that a run has saved."""
    files = (server.base / "output" / item["subfolder"] / item["filename"] for item in outputs["save"]["images"])
    return [read(file).frames for file in files]


# numbers


@pytest.mark.case("Parameters", "numbers as text in an API prompt")
def test_a_prompt_whose_numbers_are_text_is_the_same_prompt(server, inputs):
    graph = small("joint", {"sampler.seed": 31})
    (by_number,) = clips(server, server.run(graph))
    for node in graph.values():
        node["inputs"] = {
            name: str(value) if type(value) in (int, float) else value for name, value in node["inputs"].items()
        }
    assert graph["sampler"]["inputs"]["steps"] == "2"
    server.run(small("joint", {"sampler.seed": 33}))  # takes the place of the first in the cache
    (by_text,) = clips(server, server.run(graph))
    assert np.array_equal(by_text, by_number)


@pytest.mark.case("Parameters", "1 step")
def test_one_step_is_a_clip(server, inputs):
    (frames,) = clips(server, server.run(small("joint", {"sampler.steps": 1, "sampler.seed": 32})))
    assert len(frames) == 5 and frames[-1].std() > 1


@pytest.mark.case("Parameters", "overflow in half precision")
@pytest.mark.parametrize("name", ["joint", "long", "custom_sampling", "ksampler"])
def test_numbers_that_overflow_are_no_black_video(server, inputs, name):
    """Whatever node samples: the run ends with a sentence, nothing is saved, and the next run is as ever."""
    graph = small("joint" if name == "ksampler" else name)
    if name == "ksampler":
        told = {key: graph["sampler"]["inputs"][key] for key in ("model", "positive", "negative")}
        settings = {"seed": 0, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
        graph["sampler"] = {
            "class_type": "KSampler",
            "inputs": {**told, **settings, "latent_image": graph["sampler"]["inputs"]["latent"]},
        }
    target = graph["guider" if name == "custom_sampling" else "sampler"]["inputs"]
    assert server.run(graph)["save"]["images"]
    graph["overflow"] = {"class_type": "UniAVGenTestOverflow", "inputs": {"model": ["load", 0]}}
    target["model"] = ["overflow", 0]
    before = sorted((server.base / "output").rglob("*"))
    with pytest.raises(Failed, match="sampling ended in numbers that are NaN or infinite: try"):
        server.run(graph)
    assert sorted((server.base / "output").rglob("*")) == before
    target["model"] = ["load", 0]
    assert server.run(graph)["save"]["images"]


# lists


@pytest.mark.case("Graph", "lists as inputs")
def test_lists_are_worked_on_item_by_item(server, inputs):
    """Two strengths in a list give the clips that each gives alone; a list of portraits runs through all nodes."""
    graph = {**small("joint", {"sampler.s_v": ["lists", 1]}), "lists": LISTS}
    both = clips(server, server.run(graph))
    alone = [clips(server, server.run(small("joint", {"sampler.s_v": value})))[0] for value in (1.0, 2.5)]
    assert len(both) == 2
    assert all(np.array_equal(a, b) for a, b in zip(both, alone, strict=True))
    assert not np.array_equal(*both)
    graph = {**small("joint", {"conditions.reference_image": ["lists", 0]}), "lists": LISTS}
    ramp, black = clips(server, server.run(graph))
    assert ramp[0].std() > 50 > black[0].std()  # the first frame is the portrait


@pytest.mark.case("Graph", "lists as inputs")
@pytest.mark.parametrize("value", [[20, 30], [20, 30, 40], {"__value__": [20, 30]}])
def test_lists_in_the_prompt_are_refused(server, inputs, value):
    with pytest.raises(Refused):
        server.submit(small("joint", {"sampler.steps": value}))
    assert not server.busy()


@pytest.mark.case("Graph", "lists as inputs")
def test_one_bad_item_of_a_list_is_refused(server, inputs):
    with pytest.raises(Failed, match="must be a finite number, not nan"):
        server.run({**small("joint", {"sampler.s_v": ["lists", 2]}), "lists": LISTS})


# muted and bypassed nodes: ComfyUI's page takes them out before it queues


def muted(graph: dict[str, Any], gone: str) -> dict[str, Any]:
    """The prompt without a node, and without the links from it."""
    return {
        key: {**node, "inputs": {name: value for name, value in node["inputs"].items() if not comes_from(value, gone)}}
        for key, node in graph.items()
        if key != gone
    }


def bypassed(graph: dict[str, Any], gone: str, nodes: dict[str, Any]) -> dict[str, Any]:
    """The prompt with what goes into a node in place of what came out of it: of the same type, first at the same place
    among its sockets."""
    info, given = nodes[graph[gone]["class_type"]], graph[gone]["inputs"]
    specs = {name: spec[0] for group in info["input"].values() for name, spec in group.items()}
    sockets = [(kind, given.get(name)) for name, kind in specs.items() if linked(given.get(name, []))]
    through = {}
    for place, kind in enumerate(info["output"]):
        same = [source for other, source in sockets[place : place + 1] + sockets if other == kind and source]
        if same:
            through[place] = same[0]
    wired = {
        key: {
            **node,
            "inputs": {
                name: through.get(value[1], value) if comes_from(value, gone) else value
                for name, value in node["inputs"].items()
            },
        }
        for key, node in graph.items()
    }
    return muted(wired, gone)


def linked(value: Any) -> bool:
    return isinstance(value, list)


def comes_from(value: Any, node: str) -> bool:
    return linked(value) and value[0] == node


def ending(server, graph: dict[str, Any]) -> tuple[str, str]:
    """How a prompt ends: "refused", "ran" or the kind of error; and the sentence."""
    try:
        prompt = server.submit(graph)
    except Refused as refusal:
        return "refused", str(refusal)
    try:
        server.wait(prompt)
    except Failed as failure:
        messages = server.get(f"/history/{prompt}")[prompt]["status"]["messages"]
        return next(data["exception_type"] for kind, data in messages if kind == "execution_error"), str(failure)
    return "ran", ""


MUTED = {
    "load": "required_input_missing",
    "portrait": "there is no one to see: give a picture of the person",
    "voice": "there is a transcript but no reference voice it belongs to",
    "text": "required_input_missing",
    "conditions": "required_input_missing",
    "sampler": "required_input_missing",
    "video": "there are no pictures: connect images, or the source video",
    "sound": "required_input_missing",
    "mux": "required_input_missing",
}


@pytest.mark.case("Graph", "muted node upstream")
@pytest.mark.parametrize("gone", MUTED)
def test_a_muted_node_upstream(server, inputs, gone):
    graph = small("joint_voice")
    for node in ("overlay", "seen", "mel", "heard"):
        del graph[node]
    kind, sentence = ending(server, muted(graph, gone))
    assert kind in ("refused", "ValueError")
    assert MUTED[gone] in sentence
    assert ending(server, graph)[0] == "ran"


@pytest.mark.case("Graph", "bypassed node upstream")
@pytest.mark.parametrize("name", ["joint_voice", "dub", "custom_sampling"])
def test_a_bypassed_node_upstream(server, inputs, name):
    """Each in turn: the host refuses, a node says in a sentence what is missing, or the graph still makes sense."""
    graph = small(name)
    nodes = server.get("/object_info")
    ends = {gone: ending(server, bypassed(graph, gone, nodes)) for gone in graph if gone != "save"}
    assert {kind for kind, _ in ends.values()} <= {"refused", "ValueError", "ran"}, ends
    assert ends["load"][0] == ends["conditions"][0] == "refused"
    assert ending(server, graph)[0] == "ran"


@pytest.mark.case("Graph", "bypassed node upstream")
def test_a_bypassed_sampler_is_noticed(server, inputs):
    """What was to be filled then reaches the decoders as it is."""
    graph = bypassed(small("joint"), "sampler", server.get("/object_info"))
    assert "no sampler has made the sound of this latent: is one bypassed?" in hear(server, graph).texts_on("sound")[-1]


@pytest.mark.case("Graph", "bypassed node upstream")
def test_a_bypassed_lora_changes_nothing(server, inputs):
    (plain,) = clips(server, server.run(small("joint")))
    folder = server.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    with safe_open(TINY_WEIGHTS, framework="pt") as file:
        weight = file.get_tensor("blocks.0.ffn.0.weight")
    save_file({"diffusion_model.blocks.0.ffn.0.diff": weight.float()}, folder / "twice.safetensors")
    graph = small("joint", {"sampler.model": ["lora", 0]})
    settings = {"lora": "twice.safetensors", "strength": 1.0, "unknown_keys": "refuse"}
    graph["lora"] = {"class_type": "UniAVGenLora", "inputs": {"model": ["load", 0], **settings}}
    (changed,) = clips(server, server.run(graph))
    (after,) = clips(server, server.run(bypassed(graph, "lora", server.get("/object_info"))))
    assert not np.array_equal(plain, changed)
    assert np.array_equal(plain, after)


# reruns


@pytest.mark.case("Graph", "the same inputs again")
def test_cached_results_stay_as_they_were(server, inputs):
    """Two samplers on one latent and conditioning, with others before them, give what each gives in a graph of its
    own; the same prompt again runs nothing and names the same file."""

    def graph(*seeds: int) -> dict[str, Any]:
        made = small("joint", {"sampler.seed": seeds[0], "text.caption": "A face."})
        for number, seed in enumerate(seeds[1:]):
            for node in ("sampler", "video", "sound", "mux", "save"):
                made[f"{node}{number}"] = json.loads(json.dumps(made[node]))
            made[f"sampler{number}"]["inputs"]["seed"] = seed
            for node, name, source in (("video", "samples", "sampler"), ("sound", "latent", "sampler")):
                made[f"{node}{number}"]["inputs"][name] = [f"{source}{number}", 0]
            made[f"mux{number}"]["inputs"].update(images=[f"video{number}", 0], audio=[f"sound{number}", 0])
            made[f"save{number}"]["inputs"]["video"] = [f"mux{number}", 0]
        return made

    together = server.run(graph(41, 42, 43))
    files = [read(saved(server, together, node)) for node in ("save", "save0", "save1")]
    for seed, file in zip((41, 42, 43), files, strict=True):
        alone = graph(seed)
        # which a joint clip does not read, so that nothing comes from the cache
        alone["conditions"]["inputs"]["continued_latents"] = seed - 30
        result = read(run(server, alone))
        assert np.array_equal(result.frames, file.frames) and np.array_equal(result.sound, file.sound)
    assert not np.array_equal(files[0].frames, files[1].frames)
    last = graph(41)
    first, written = server.run(last), sorted((server.base / "output").rglob("*"))
    assert server.run(last).get("save", first["save"]) == first["save"]  # ComfyUI before 0.33 names none
    assert sorted((server.base / "output").rglob("*")) == written


# files that are gone


WORKFLOW = {"portrait": "joint", "sound": "joint_voice", "video": "dub"}
CHANGES = {
    "portrait": {**SMALL, "portrait.image": "gone.png"},
    "sound": {**SMALL, "voice.audio": "gone.wav"},
    "video": {"text.speech": "Hi.", "footage.file": "gone.mp4", "conditions.width": 64, "conditions.height": 64},
}


def write_input(folder: Path, kind: str, version: int) -> Path:
    """An input file that a second version replaces under the same name."""
    if kind == "portrait":
        Image.fromarray(np.full((64, 64, 3), 40 + 100 * version, np.uint8)).save(folder / "gone.png")
        return folder / "gone.png"
    if kind == "sound":
        sound = tone(1.0, 24_000, 300.0 + 500 * version)
        return write_sound(folder / "gone.wav", sound, 24_000, codec="pcm_s16le", sample_format="s16")
    return write_video(folder / "gone.mp4", [grey(i + 20 * version, (64, 64)) for i in range(9)], fps=16)


@pytest.mark.case("Graph", "deleted input file")
@pytest.mark.parametrize("kind", WORKFLOW)
def test_a_deleted_input_file_is_missed_and_a_new_one_is_read(server, inputs, kind):
    graph = load(WORKFLOW[kind], CHANGES[kind])
    path = write_input(inputs, kind, 0)
    first = read(run(server, graph))
    path.unlink()
    with pytest.raises(Refused, match=r"Invalid \w+ file: gone"):
        server.submit(graph)
    write_input(inputs, kind, 1)
    second = read(run(server, graph))
    same = np.array_equal(first.frames, second.frames) and np.array_equal(first.sound, second.sound)
    assert not same


@pytest.mark.case("Graph", "deleted input file")
@pytest.mark.parametrize("kind", WORKFLOW)
def test_an_input_file_deleted_while_its_prompt_waits(server, inputs, kind):
    """The prompt was taken, and its file is gone when its turn comes: an error names it; nothing comes from a cache."""
    graph = load(WORKFLOW[kind], CHANGES[kind])
    path = write_input(inputs, kind, 2)
    server.run(graph)
    busy = server.submit(small("joint", {"sampler.steps": 4, "sampler.seed": 70 + len(kind)}))
    waiting = server.submit(graph)
    path.unlink()
    with pytest.raises(Failed, match="gone"):
        server.wait(waiting)
    assert server.wait(busy)["save"]["images"]


@pytest.mark.case("Graph", "deleted input file")
def test_a_model_file_that_is_replaced_or_deleted(server, inputs):
    """Other weights under the same name are loaded; a file that is gone is refused, not answered from the cache."""
    path = server.base / "models" / "uniavgen" / "gone.safetensors"
    shutil.copy(TINY_WEIGHTS, path)
    graph = small("joint", {"load.file": path.name, "text.clip": ["tiny", 1], "sound.vocoder": ["tiny", 3]})
    graph["conditions"]["inputs"]["vae"] = graph["video"]["inputs"]["vae"] = ["tiny", 2]
    graph["tiny"] = {"class_type": "UniAVGenLoad", "inputs": {"file": "tiny (built in)", "weight_dtype": "default"}}
    (first,) = clips(server, server.run(graph))
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        described = file.metadata()
    changed = {name: 0.9 * x if name.endswith("ffn.2.weight") else x for name, x in tensors.items()}
    save_file(changed, path.with_suffix(".part"), described)
    path.with_suffix(".part").replace(path)
    (second,) = clips(server, server.run(graph))
    assert not np.array_equal(first, second)
    busy = server.submit(small("joint", {"sampler.steps": 4, "sampler.seed": 78}))
    waiting = server.submit(graph)
    path.unlink()
    with pytest.raises(Failed, match=r"gone\.safetensors is in none of the model folders"):
        server.wait(waiting)
    assert server.wait(busy)["save"]["images"]
    with pytest.raises(Refused, match="not in list"):
        server.submit(graph)
