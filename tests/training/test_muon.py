"""The optimizer of large matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5)])
def test_changes_are_those_of_pytorch_up_to_its_precision(shape):
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    library = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.02, adjust_lr_fn="match_rms_adamw", ns_steps=4)
    own = Muon([ours], 0.1, 0.02)
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        before = ours.detach().clone()
        own.step()
        library.step()
        change = (ours - before).norm()
        assert (ours - theirs).norm() < 0.02 * change  # bfloat16 has 8 bits
        theirs.data.copy_(ours.data)


def test_singular_values_are_brought_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(1, 40, 24))[0])
    assert values.min() > 0.3 and values.max() < 1.3


def test_what_has_no_gradient_stays(tmp_path):
    idle, used = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3, 4))
    optimizer = Muon([idle, used], 0.1, 0.5)
    used.grad = torch.randn(3, 4)
    optimizer.step()
    assert torch.equal(idle, torch.ones(3, 4)) and not torch.equal(used, torch.ones(3, 4))
