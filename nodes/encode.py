"""UniAVGen Text Encode: what is seen and what is said -> positive, negative."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..uniavgen_core.config import RELEASE
from ..uniavgen_core.text.script import Script
from ..uniavgen_core.text.speech import LANGUAGES, check_written
from .adapter_conditioning import SCRIPT, SPEECH, Conditioning, with_values
from .files import released_vocabulary
from .notices import says_what_it_notices
from .remarks import on_caption
from .search import searched_as


class UniAVGenTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenTextEncode",
            display_name="UniAVGen Text Encode",
            category="UniAVGen",
            description="Encodes what is seen (caption), what is said (speech) and what a reference voice says before "
            "it (transcript). The negative has caption and speech empty.",
            **searched_as("prompt, script, dialogue, text to speech, TTS, 提示词, 台词"),
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="Reads the caption: umT5-xxl from 'Load CLIP' (type wan), or the tiny model's own CLIP.",
                ),
                io.String.Input(
                    "caption",
                    multiline=True,
                    default="A person looks into the camera and speaks.",
                    tooltip="What is seen and how it moves: the person, the expression, the place. May be empty.",
                ),
                io.String.Input(
                    "speech",
                    multiline=True,
                    default="Hello, this is a test of video and voice made together.",
                    tooltip="What the person says, word for word, in English or Chinese. In a long clip, a line of "
                    "dashes (---) begins what the next window says. May be empty with driving audio.",
                ),
                io.Combo.Input(
                    "language",
                    options=list(LANGUAGES),
                    default="auto",
                    tooltip="How the speech is read: en by letters, zh as pinyin; auto is zh if it holds Chinese.",
                ),
                io.String.Input(
                    "transcript",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="What is said in the reference voice, word for word. Empty without a reference voice.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="Caption and speech."),
                io.Conditioning.Output(display_name="negative", tooltip="The same with both empty, for guidance."),
            ],
        )

    @classmethod
    @says_what_it_notices
    def execute(cls, clip, caption: str, speech: str, language: str, transcript: str = "") -> io.NodeOutput:
        check_written("caption", caption)
        vocabulary = getattr(clip, "speech_vocabulary", None) or released_vocabulary()
        script = Script(speech, vocabulary, language, transcript.strip())
        said, unsaid = script.ids(), script.negative_ids()
        script.tell_unknown()

        def encode(text: str, ids: Tensor) -> Conditioning:
            entries = clip.encode_from_tokens_scheduled(clip.tokenize(text))
            on_caption(entries[0][0], RELEASE.text_len)
            return with_values(entries, **{SPEECH: ids, SCRIPT: script})

        return io.NodeOutput(encode(caption, said), encode("", unsaid))
