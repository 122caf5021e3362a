"""UniAVGen Judge: a VIDEO -> timbre and emotion consistency, by a multimodal model of a service."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from .adapter_recording import file_for, recording_of, told_why
from .adapter_video import open_video
from .checks import check_number, verdict
from .notices import says_what_it_notices, tell_state
from .search import searched_as

SERVICES = ("gemini", "openai")
FILE, APART, FRAMES = "file", "file+sound", "frames"
GOOGLES, OWN = "GEMINI_API_KEY", "UNIAVGEN_"  # names of environment variables: of one, and how others begin
TIMEOUT = 180.0  # seconds for a request
MOST_RUNS = 20
LOOKS = 0.1  # seconds until it is seen again whether the run is cancelled


class UniAVGenJudge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenJudge",
            display_name="UniAVGen Judge",
            category="UniAVGen",
            description="Asks a multimodal model how well the voice fits the person: timbre and emotion consistency, "
            "0 to 1. Sends nothing until 'send' is on.",
            **searched_as("evaluate, score, Gemini, timbre consistency, emotion consistency, 评分"),
            is_output_node=True,
            inputs=[
                io.Video.Input(
                    "video", tooltip="The clip with its sound. It shows a face and holds a voice: ask the person first."
                ),
                io.Combo.Input(
                    "service",
                    options=list(SERVICES),
                    default=SERVICES[0],
                    tooltip="gemini: the Gemini API. openai: any address with OpenAI's chat completions, such as "
                    "OpenRouter or your own vLLM.",
                ),
                io.String.Input("model", default="", tooltip="The model's name at the service."),
                io.String.Input(
                    "endpoint",
                    default="",
                    tooltip="Where requests go, as https://HOST/v1. Empty with gemini: Google's.",
                ),
                io.String.Input(
                    "key_variable",
                    default="",
                    tooltip="Name of the environment variable of ComfyUI that holds the key, never the key itself, "
                    f"which would be saved in the workflow. It begins with {OWN}. Empty with gemini: {GOOGLES}, which "
                    "goes to Google alone.",
                ),
                io.Int.Input(
                    "runs",
                    default=3,
                    min=1,
                    max=MOST_RUNS,
                    tooltip="Independent requests, whose mean counts. Each holds the whole clip and may cost money.",
                ),
                io.Combo.Input(
                    "form",
                    options=[FILE, APART, FRAMES],
                    default=FILE,
                    tooltip="How the clip travels. file: as a video, for models that hear its sound. file+sound: both "
                    "apart, for servers that take only the pictures of a video (vLLM). frames: single pictures and "
                    "the sound.",
                ),
                io.Boolean.Input(
                    "send",
                    default=False,
                    tooltip="Off: nothing is sent; the node says what would go where, and how much. On: the clip is "
                    "sent to the service.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="TC", tooltip="Timbre consistency, 0 to 1: could this voice be this person's?"
                ),
                io.Float.Output(
                    display_name="EC", tooltip="Emotion consistency, 0 to 1: do voice and face feel the same?"
                ),
                io.String.Output(
                    display_name="reasons",
                    tooltip="Scores and reason of each run; with send off, what would be sent, and no numbers.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        service: str | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        key_variable: str | None = None,
        runs: int | None = None,
        form: str | None = None,
        send: bool | None = None,
    ) -> bool | str:
        return verdict(judge_of, service, model, endpoint, key_variable, runs, form, send)

    @classmethod
    @says_what_it_notices
    def execute(
        cls, video, service: str, model: str, endpoint: str, key_variable: str, runs: int, form: str, send: bool
    ) -> io.NodeOutput:
        from ..evaluation.judge import announced
        from ..evaluation.judging import Stop, judge, request

        asked = judge_of(service, model, endpoint, key_variable, runs, form, send)
        source = open_video(video)
        with told_why("the clip cannot be judged"), TemporaryDirectory() as folder:
            path = Path() if form == FRAMES else file_for(source, Path(folder))
            media = asked.media(recording_of(source), path)
            size = len(request(media, asked.service, asked.rubric))
            plan = "\n".join(announced(asked, [size], 1))
            if not send:
                plan = f"{plan}\nNothing was sent: switch 'send' on to do it."
                tell_state(plan)
                return io.NodeOutput(ExecutionBlocker(None), ExecutionBlocker(None), plan, ui=ui.PreviewText(plan))
            tell_state(plan)
            try:
                judged = until_cancelled(judge(media, asked.service, asked.rubric, asked.runs, asked.patience))
            except Stop as error:
                raise ValueError(f"the clip cannot be judged: {error}") from error
        told = f"TC {judged.timbre:.3f}, EC {judged.emotion:.3f}"
        tell_state(told)
        reasons = "\n".join(
            f"{number}. TC {answer.timbre:g}, EC {answer.emotion:g}: {answer.reason}"
            for number, answer in enumerate(judged.runs, 1)
        )
        return io.NodeOutput(judged.timbre, judged.emotion, reasons, ui=ui.PreviewText(f"{told}\n{reasons}"))


def judge_of(service: str, model: str, endpoint: str, key_variable: str, runs: int, form: str, send: bool) -> Any:
    """The judge of `evaluation` for the node's inputs. Raises ``ValueError`` with a sentence if they do not fit."""
    from ..evaluation import judge

    model, endpoint, variable = model.strip(), endpoint.strip(), key_variable.strip()
    check_number("runs", runs, 1, MOST_RUNS)
    for name, value, known in (("service", service, SERVICES), ("form", form, (FILE, APART, FRAMES))):
        if value not in known:
            raise ValueError(f"there is no {name} {value!r}: choose {', '.join(known)}")
    variable = variable or (GOOGLES if service == "gemini" else "")
    to_google = service == "gemini" and not endpoint and variable == GOOGLES
    if variable and not to_google and not variable.startswith(OWN):
        raise ValueError(
            f"key_variable must be the name of an environment variable that begins with {OWN}: any other could be a "
            f"secret that a workflow from elsewhere sends anywhere. {GOOGLES} goes to Google alone, without an endpoint"
        )
    given = {"service": service, "model": model, "endpoint": endpoint, "key_variable": variable}
    return judge.judge_of(Namespace(**given, runs=runs, form=form, send=send, fps=None, rubric=None, timeout=TIMEOUT))


def until_cancelled(judging: Coroutine[Any, Any, Any]) -> Any:
    """What it gives; the host's cancelling ends it. A thread of its own runs it: this one's loop is the host's."""

    async def watched() -> Any:
        task = asyncio.ensure_future(judging)
        while not (await asyncio.wait([task], timeout=LOOKS))[0]:
            throw_exception_if_processing_interrupted()
        return task.result()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, watched()).result()
