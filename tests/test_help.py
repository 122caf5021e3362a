"""Every node is explained in English and in Chinese: help pages and translations. What they say is in tests/host."""

from __future__ import annotations

import ast
import json
import re
from functools import lru_cache
from itertools import chain, product
from typing import Any

import pytest
from interface import OPEN, RECORD, ROOT, present

LANGUAGES = ("en", "zh")
PAGES = {"en": "{}.md", "zh": "{}/zh.md"}
SECTIONS = {
    "en": ("## Inputs", "## Outputs", "## Example", "## When it refuses"),
    "zh": ("## 输入", "## 输出", "## 示例", "## 报错时怎么办"),
}
HAN = re.compile("[\u4e00-\u9fff]")
BOTH = list(product(LANGUAGES, present()))


def locale(language: str, file: str = "nodeDefs") -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / f"{file}.json").read_text("utf-8"))


def page(language: str, node: str) -> str:
    return (ROOT / "web/docs" / PAGES[language].format(node)).read_text("utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_and_nothing_else(language):
    assert set(locale(language)) == set(present())
    pages = {path.relative_to(ROOT / "web/docs").as_posix() for path in (ROOT / "web").rglob("*.*")}
    assert pages == {PAGES[language].format(node) for language, node in BOTH}
    assert set(locale(language, "main")["dataTypes"]) == {"UNIAVGEN_VOCODER"}


@pytest.mark.parametrize(("language", "node"), BOTH)
def test_every_input_output_and_choice_has_its_words(language, node):
    recorded, words = RECORD[node], locale(language)[node]
    assert words["display_name"] and words["description"]
    assert list(words["inputs"]) == list(recorded["inputs"])
    assert list(words["outputs"]) == [str(i) for i in range(len(recorded["outputs"]))]
    for texts in (*words["inputs"].values(), *words["outputs"].values()):
        assert texts["name"] and texts["tooltip"]
        assert language == "en" or HAN.search(texts["tooltip"])
    offered = {name: list(texts["options"]) for name, texts in words["inputs"].items() if "options" in texts}
    assert offered == {name: choices for name, choices in recorded["choices"].items() if name not in OPEN}


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_hold_no_sign_of_the_front_ends_messages(language):
    """It reads { } @ and | in a text as placeholders, links and plurals."""
    text = (ROOT / "locales" / language / "nodeDefs.json").read_text("utf-8")
    assert not [line for line in text.splitlines() if re.search(r': ".*[{}@|]', line)]


@pytest.mark.parametrize(("language", "node"), BOTH)
def test_help_page_tells_everything(language, node):
    """What it does, each input and output, an example, and what to do when it refuses."""
    text, words = page(language, node), locale(language)[node]
    assert text.startswith(f"# {words['display_name']}\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS[language])
    inputs, outputs = text.split("## ")[1:3]
    assert re.findall(r"^\| `(\w+)`", inputs, re.MULTILINE) == list(words["inputs"])
    rows = re.findall(r"^\| ([^|`]+) \|", outputs, re.MULTILINE)[1:]
    assert [row for row in rows if "---" not in row] == [output["name"] for output in words["outputs"].values()]
    assert not [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]


@lru_cache(maxsize=1)
def sentences() -> str:
    """All texts in the code, one a line; what is put into them is a dot."""
    found = []
    files = (ROOT.glob(pattern) for pattern in ("nodes/*.py", "uniavgen_core/**/*.py", "evaluation/**/*.py"))
    for path in chain.from_iterable(files):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "." for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize(("language", "node"), BOTH)
def test_quoted_sentences_are_the_programs(language, node):
    """The longest piece of each between what is put in: numbers, names and lists."""
    section = page(language, node).split("## ")[-1]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)[1:]
    assert rows
    for quote in (quote for row in rows for quote in re.split(", or: |，或 ", row)):
        piece = max(re.split(r"…|\d+(?:\.\d+)?", quote), key=len).strip()
        assert piece in sentences(), quote
