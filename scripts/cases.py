"""Writes docs/cases.md, the table of what must not break and the tests that show it: ``python scripts/cases.py``.

A test says what it covers by ``@pytest.mark.case("Files", "truncated weights")``, one mark a case; a mark on one of its
parameters counts as well. The tests are read and not run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cases.md"
GROUPS = ("Files", "Media", "Text", "Parameters", "Graph", "Life", "Disk and network", "Concurrency")
HEAD = """# What must not break

Each line is something that goes wrong in the world, and the tests that show what happens then: a refusal that says what
to do, or nothing worse than before. `python scripts/cases.py` makes this page from the tests.
"""


def cases(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Group, case and test (as pytest names it) of every mark in the test files of a folder."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    for group, case in marks(decorator):
                        yield group, case, f"{path.relative_to(folder.parent).as_posix()}::{node.name}"


def marks(decorator: ast.expr) -> Iterator[tuple[str, str]]:
    """The arguments of all ``pytest.mark.case`` in a decorator. Raises ``ValueError`` for other than two texts."""
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.case":
            values = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            if len(values) != 2 or values[0] not in GROUPS:
                raise ValueError(f"{ast.unparse(node)} must name one of {', '.join(GROUPS)}, and a case")
            yield values[0], values[1]


def page(folder: Path) -> str:
    """The whole page as Markdown."""
    found: dict[str, dict[str, list[str]]] = {group: {} for group in GROUPS}
    for group, case, test in cases(folder):
        found[group].setdefault(case, []).append(test)
    parts = [HEAD]
    for group, rows in found.items():
        lines = [
            f"| {case} | {' <br> '.join(f'`{test}`' for test in dict.fromkeys(tests))} |"
            for case, tests in rows.items()
        ]
        parts.append("\n".join([f"## {group}\n", "| case | tests |", "|---|---|", *sorted(lines), ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(ROOT / "tests"))
