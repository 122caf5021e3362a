"""UniAVGen Lip-Sync Score: a VIDEO -> LSE-C, LSE-D and the offset, and the curve they are read from."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..uniavgen_core.interruption import check_interruption
from .adapter_recording import recording_of, told_why
from .adapter_video import open_video
from .checks import verdict
from .download import published_syncnet
from .files import SYNCNET, SYNCNET_FOLDER, syncnet_choices, syncnet_path
from .notices import says_what_it_notices, tell_state
from .search import searched_as

PACKAGES = {"dlib": "dlib-bin", "python_speech_features": "python_speech_features"}  # module -> what pip calls it


class UniAVGenLipSyncScore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenLipSyncScore",
            display_name="UniAVGen Lip-Sync Score",
            category="UniAVGen",
            description="Measures by SyncNet how well lips and sound go together. "
            f"Needs two small packages: pip install {' '.join(PACKAGES.values())}.",
            **searched_as("lip sync, SyncNet, LSE-C, LSE-D, evaluate, 对口型, 口型同步评分"),
            is_output_node=True,
            inputs=[
                io.Video.Input(
                    "video",
                    tooltip="The clip with its sound, from 'UniAVGen Mux' or 'Load Video'. One face must look at the "
                    "camera, about 100 pixels tall; the one seen longest counts.",
                ),
                io.Combo.Input(
                    "weights",
                    options=syncnet_choices(),
                    default=SYNCNET,
                    tooltip=f"SyncNet's file in models/{SYNCNET_FOLDER}: {SYNCNET} as published.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    tooltip=f"Fetch {SYNCNET} (55 MB) from www.robots.ox.ac.uk if it is missing. Off: nothing is asked "
                    "of the network.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="LSE-C",
                    tooltip="Confidence, higher is better: how far the least distance lies below the median.",
                ),
                io.Float.Output(
                    display_name="LSE-D",
                    tooltip="Distance, lower is better: the least mean distance of lips and sound.",
                ),
                io.Int.Output(
                    display_name="offset",
                    tooltip="Where it is least, in pictures of 1/25 s. Above 0: the lips come after the sound.",
                ),
                io.Image.Output(
                    display_name="plot",
                    tooltip="The mean distance at offsets from -15 to 15, the least marked, for 'Preview Image'.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None = None, download: bool | None = None) -> bool | str:
        packages = verdict(check_packages)
        if packages is not True or (weights == SYNCNET and download is not False):
            return packages
        return verdict(syncnet_path, weights)

    @classmethod
    @says_what_it_notices
    def execute(cls, video, weights: str, download: bool) -> io.NodeOutput:
        check_packages()
        from ..evaluation.sync import detector, network, plot, score, sound

        detect, _ = detector.dlib_detector(), sound.library()
        source = open_video(video)
        syncnet = network.load(published_syncnet() if download and weights == SYNCNET else syncnet_path(weights))
        syncnet.netcnnlip.register_forward_pre_hook(lambda *_: check_interruption())
        recording = recording_of(source)
        bar = comfy.utils.ProgressBar(round(len(recording.frames) * score.FPS / recording.fps))

        def find(picture):
            check_interruption()
            bar.update(1)
            return detect(picture)

        with told_why("the clip has no lip-sync score"):
            found = score.lip_sync(recording, syncnet, find)
        told = f"LSE-C {found.confidence:.2f}, LSE-D {found.distance:.2f}, {in_words(found.offset)}"
        tell_state(told)
        shown = torch.from_numpy(plot.picture(found))[None].float() / 255
        return io.NodeOutput(found.confidence, found.distance, found.offset, shown, ui=ui.PreviewText(told))


def check_packages() -> None:
    """Raises ``ValueError`` unless the packages that ComfyUI does not bring are installed. None is imported."""
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise ValueError(
            f"the lip-sync score needs {' and '.join(missing)}, which ComfyUI does not bring along: "
            f'run "{sys.executable}" -m pip install {" ".join(missing)}'
        )


def in_words(offset: int) -> str:
    """offset: in pictures of 1/25 s, the sound before the lips"""
    if not offset:
        return "offset 0: lips and sound come together"
    order = "after" if offset > 0 else "before"
    return f"offset {offset:+d}: the lips come {abs(offset) / 25:.2f} s {order} the sound"
