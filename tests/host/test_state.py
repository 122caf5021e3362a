"""What the pack leaves as it finds it in the host's process, and what it does without optional packages."""

from __future__ import annotations

from typing import Any

import pytest
from host.hosts import Host, run_inside
from host.released_files import vocoder_files, write
from vocoders import save_vocos, vocos_config

from uniavgen_core.parts import VOCODER_FOLDER
from uniavgen_core.vocoder import vocos

CHINESE = "run `pip install jieba pypinyin`"
NEEDS = {  # what is lost without a package, and what is said then
    "jieba": {"Chinese": CHINESE},
    "pypinyin": {"Chinese": CHINESE},
    "vocos": {"Vocos": "pip install vocos"},
    "transformers.models.qwen2_5_omni": {"BigVGAN": "pip install -U transformers"},  # an older transformers
}


@pytest.fixture(scope="module")
def vocoders(tmp_path_factory: pytest.TempPathFactory):
    """A BigVGAN and a Vocos."""
    folder = tmp_path_factory.mktemp("vocoders")
    write(vocoder_files(), folder)
    (folder / VOCODER_FOLDER).rename(folder / "bigvgan")
    save_vocos(folder / "vocos", vocos_config(vocos.OWN))
    return folder


@pytest.fixture(scope="module")
def measured(host: Host, vocoders, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process_life.py", str(vocoders))


@pytest.mark.case("Life", "global state after import and after a run")
def test_the_hosts_process_stays_as_it_was(measured):
    assert measured["changed by import"] == {}
    assert measured["changed by runs"] == {}


@pytest.mark.case("Life", "no flash attention")
@pytest.mark.case("Life", "no CUDA")
def test_each_of_the_hosts_attentions_gives_the_same(measured):
    """On the CPU, as all tests of the host run."""
    assert set(measured["attentions"]) == {"basic", "split", "sub_quad", "pytorch"}
    assert max(measured["attentions"].values()) < 1e-5


@pytest.mark.case("Life", "a missing optional package disables only what needs it")
def test_a_missing_package_takes_only_what_needs_it(host, measured, vocoders, tmp_path):
    """Every node is there, and says which package it lacks when that is needed."""
    hidden = run_inside(host, tmp_path, "in_process_life.py", str(vocoders), *NEEDS)
    lost = {job: words for jobs in NEEDS.values() for job, words in jobs.items()}
    assert hidden["nodes"] == measured["nodes"] > 10
    assert len(hidden["jobs"]) == 7
    assert {job for job, said in hidden["jobs"].items() if said} == set(lost)
    assert {job for job, said in measured["jobs"].items() if said} <= set(lost)  # what this Python lacks anyway
    for job, words in lost.items():
        assert words in hidden["jobs"][job]
