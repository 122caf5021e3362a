"""The loop of every training: it goes on as if it had not been stopped, and averages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from training.loop import Loop, adam, average, schedule


def train(folder, steps: int, end: int = 40, every: int = 10) -> nn.Module:
    """A line through points, towards ``end`` steps, stopped after ``steps``."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1)

    def losses(step: int) -> dict[str, torch.Tensor]:
        if step == steps:
            raise KeyboardInterrupt
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
        return {"loss": (model(x) - 2 * x - 1).square().mean(), "bias": model.bias.detach()[0]}

    return Loop(folder, every=every).run("line", model, losses, end, [adam(model.parameters(), 3.0)])


def test_what_was_interrupted_ends_as_what_was_not(tmp_path):
    whole = train(tmp_path / "whole", 999)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", 25)
    parts = train(tmp_path / "parts", 999)
    for ours, theirs in zip(parts.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert not any(parameter.requires_grad for parameter in parts.parameters())
    rows = [json.loads(line) for line in (tmp_path / "parts" / "line.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40] and rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["line.jsonl", "line.png", "line.pt"]


def test_a_damaged_state_is_named(tmp_path):
    train(tmp_path, 999)
    state = tmp_path / "line.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"line\.pt cannot be gone on from .*: delete it to begin anew"):
        train(tmp_path, 999)


def test_a_torn_line_of_the_log_is_passed_over(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 25)
    with (tmp_path / "line.jsonl").open("a") as log:
        log.write('{"step": 2\n')
    train(tmp_path, 999)
    assert (tmp_path / "line.jsonl").read_text().count("\n") == 5


# A plane through points, of which each process sees its own; one that is alone sees all. Only the last uses the bias.
TOGETHER = """
import sys
from pathlib import Path
import torch
import torch.distributed as distributed
from training.loop import Loop, adam

number, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
if count > 1:
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=number, world_size=count)
torch.manual_seed(0)
model = torch.nn.Linear(2, 1)

def losses(step):
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(step))
    parts = [x[:4] @ model.weight.T, model(x[4:])]
    seen = parts if count == 1 else [parts[number]]
    return {"loss": torch.cat(seen).sub(1).square().mean()}

found = Loop(folder / str(number), every=20).run("plane", model, losses, 40, [adam(model.parameters(), 0.1)])
torch.save(found.state_dict(), folder / f"{number}.pt")
"""


def test_processes_together_learn_what_one_does_alone(tmp_path):
    def learn(name: str, count: int) -> tuple[Path, list[dict[str, torch.Tensor]]]:
        folder = tmp_path / name
        folder.mkdir()
        root = Path(__file__).parents[2]
        words = [[sys.executable, "-c", TOGETHER, str(number), str(count), str(folder)] for number in range(count)]
        for process in [subprocess.Popen(one, cwd=root) for one in words]:
            assert process.wait(timeout=120) == 0
        return folder, [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(count)]

    _, (alone,) = learn("alone", 1)
    folder, (first, second) = learn("together", 2)
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor)
        assert torch.equal(first[name], second[name])
    assert (folder / "0" / "plane.pt").exists() and not (folder / "1" / "plane.pt").exists()


def test_a_gradient_that_is_not_finite_ends_it(tmp_path):
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="gradient of step 0 is not finite"):
        Loop(tmp_path).run(
            "line", model, lambda step: {"loss": model.weight.sum() / 0}, 3, [adam(model.parameters(), 0.1)]
        )
    assert not (tmp_path / "line.pt").exists()


def test_the_learning_rate_rises_and_falls():
    rates = [schedule(step, 10_000) for step in range(10_000)]
    assert rates[0] == pytest.approx(1 / 200, rel=1e-3) and max(rates) == pytest.approx(1, rel=1e-2)
    assert rates[199:] == sorted(rates[199:], reverse=True) and rates[-1] == pytest.approx(0.02, rel=1e-3)


def test_the_average_follows_faster_in_the_beginning():
    for count, share in ((0, 0.9), (90, 9 / 100), (10**6, 0.001)):
        averaged = [torch.zeros(2)]
        average(averaged, [torch.ones(2)], torch.tensor(count))
        torch.testing.assert_close(averaged[0], torch.full((2,), share))
