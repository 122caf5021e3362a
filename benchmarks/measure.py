"""Time and memory of calls, side by side in one process."""

from __future__ import annotations

import ctypes
import platform
import sys
import time
from collections.abc import Callable, Mapping

import torch

Call = Callable[[], object]


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's


def keep_memory() -> None:
    """Lets the process keep memory that it has once had, as PyTorch does on a GPU.

    By default large blocks go back to the system after each use and are cleared anew for the next. That costs code
    with many large intermediate results more than other code.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def seconds(calls: Mapping[str, Call], repeats: int, device: str = "cpu", *, warm: bool = True) -> dict[str, float]:
    """The shortest of ``repeats`` runs of each call; the calls take turns, with ``warm`` after a round for nothing."""
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(not warm, repeats + 1):
        for name, call in calls.items():
            start = _now(device)
            call()
            taken = _now(device) - start
            if turn:
                best[name] = min(best[name], taken)
    return best


def peak_bytes(call: Call, device: str = "cpu") -> int:
    """The most memory that tensors made during a call hold at once, beside what was held before.

    On the CPU from every allocation and release that PyTorch's profiler sees.
    """
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def machine(device: str) -> str:
    """Processor, threads and PyTorch, in a line."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = platform.processor()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()
