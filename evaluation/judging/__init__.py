"""A multimodal model as judge of a clip: clip -> `Media` -> a `Service`, asked several times -> `Judgement`.

No part of the command line is needed: ``await judge(of_file(data, "video/mp4"), Gemini(model, key), RUBRIC)``.
"""

from .answers import Answer, Declined, Unusable
from .asking import Patience, Stop
from .judgement import RUBRIC, Judgement, judge, request
from .media import Media, of_file, of_file_and_sound, of_frames
from .services import SERVICES, Gemini, OpenAI, Service

__all__ = [
    "RUBRIC",
    "SERVICES",
    "Answer",
    "Declined",
    "Gemini",
    "Judgement",
    "Media",
    "OpenAI",
    "Patience",
    "Service",
    "Stop",
    "Unusable",
    "judge",
    "of_file",
    "of_file_and_sound",
    "of_frames",
    "request",
]
