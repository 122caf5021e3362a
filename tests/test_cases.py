"""The page of cases, which is made from the tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("cases_page", ROOT / "scripts" / "cases.py")
cases_page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases_page)


def test_the_page_is_that_of_these_tests():
    assert cases_page.PAGE.read_text() == cases_page.page(ROOT / "tests"), "make it anew: python scripts/cases.py"


def test_marks_of_tests_and_of_their_parameters_are_found(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(
        '@pytest.mark.case("Files", "empty file")\n'
        '@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.case("Text", "NUL"))])\n'
        "def test_it(x): ...\n"
    )
    found = set(cases_page.cases(tmp_path / "tests"))
    assert found == {
        (group, case, "tests/test_one.py::test_it") for group, case in (("Files", "empty file"), ("Text", "NUL"))
    }


def test_a_mark_without_a_known_group_is_refused(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text('@pytest.mark.case("Fils", "empty file")\ndef test_it(): ...\n')
    with pytest.raises(ValueError, match="must name one of Files"):
        list(cases_page.cases(tmp_path / "tests"))
