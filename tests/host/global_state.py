"""What a library must leave as it finds it, as texts that can be compared."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import sys
import threading
import warnings

import numpy
import torch


def state() -> dict[str, str]:
    """Random generators, PyTorch's settings, warnings, logging, signals, environment and threads of this process."""
    backends, cuda = torch.backends, torch.backends.cuda
    return {
        "random state of torch": digest(torch.random.get_rng_state().numpy().tobytes()),
        "random state of CUDA": digest(*(x.numpy().tobytes() for x in cuda_random_states())),
        "random state of numpy": digest(repr(numpy.random.get_state(legacy=False)).encode()),
        "random state of Python": digest(repr(random.getstate()).encode()),
        "cudnn": repr([getattr(backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")]),
        "tf32": repr((backends.cudnn.allow_tf32, cuda.matmul.allow_tf32, torch.get_float32_matmul_precision())),
        "reduced sums": repr(
            [getattr(cuda.matmul, f"allow_{dtype}_reduced_precision_reduction") for dtype in ("fp16", "bf16")]
        ),
        "kinds of attention": repr(
            [getattr(cuda, f"{name}_sdp_enabled")() for name in ("flash", "mem_efficient", "math", "cudnn")]
        ),
        "mkldnn": repr(backends.mkldnn.enabled),
        "deterministic": repr(
            (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
        ),
        "threads of torch": repr((torch.get_num_threads(), torch.get_num_interop_threads())),
        "default dtype and device": repr((torch.get_default_dtype(), torch.get_default_device())),
        "gradients": repr((torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled())),
        "autocast": repr([torch.is_autocast_enabled(device) for device in ("cpu", "cuda")]),
        "warnings": repr((warnings.filters, warnings.showwarning)),
        "numpy errors": repr((numpy.geterr(), numpy.get_printoptions())),
        "logging": repr((logging.root.level, logging.root.handlers, logging.root.manager.disable)),
        "signals": repr([(number, signal.getsignal(number)) for number in sorted(signal.valid_signals())]),
        "environment": repr(sorted(os.environ.items())),
        "folder": os.getcwd(),
        "import path": repr((sys.path, sys.meta_path, sys.path_hooks)),
        "hooks": repr((sys.excepthook, threading.excepthook, sys.getrecursionlimit(), sys.displayhook)),
        "threads": repr(sorted(thread.name for thread in threading.enumerate())),
    }


def cuda_random_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def changed(before: dict[str, str]) -> dict[str, list[str]]:
    """What is no longer as it was: then and now."""
    now = state()
    return {name: [text, now[name]] for name, text in before.items() if now[name] != text}
