"""The device and precision of tensors, and the process group of a job."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs
from ehr_pipeline.work.threads import cores, mallopt

_log = logging.getLogger("ehr_pipeline")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
BFLOAT16_VARIABLE = "EHR_BFLOAT16"
LONGEST = timedelta(days=30)  # how long a process that has done its share waits for the others


@contextmanager
def process_group(threads: int = 0) -> Iterator[torch.device]:
    """Yield the device of this process, inside the group of all processes of the job (NCCL on GPUs, Gloo on CPUs).

    The block ends for all at once: when a process dies, torchrun restarts all, which fails on a node whose processes have ended.
    """
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if not cuda:
        torch.set_num_threads(threads or max(1, cores() // local_size))
        keep_freed_memory()
    if jobs.world_size() == 1:
        yield device
        return
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    try:
        ending = dist.new_group(timeout=LONGEST)
        yield device
        dist.barrier(ending)
    finally:
        dist.destroy_process_group()


def from_first(number: int, device: torch.device) -> int:
    """Return, in all processes of the job, the number that the first process passed."""
    if not dist.is_initialized():
        return number
    told = torch.tensor([number], device=device)
    dist.broadcast(told, 0)
    return int(told.item())


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Compute products in 'bfloat16', or everything in 'float32'. Resolve 'auto' before (`encoder.machine`)."""
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"{precision!r} is no precision to compute in")
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 matrix units: Ampere and newer GPUs, CPUs with AMX or AVX-512 BF16.

    The environment variable EHR_BFLOAT16 ('on' or 'off') overrides this, so that tests can try both choices on one machine.
    """
    forced = os.environ.get(BFLOAT16_VARIABLE, "")
    if forced not in ("", "on", "off"):
        raise UserError(
            f"The environment variable {BFLOAT16_VARIABLE} is {forced!r}: set it to 'on' or 'off', or unset it."
        )
    if forced:
        return forced == "on"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def keep_freed_memory() -> None:
    """Have the C library keep freed memory instead of returning it to the system, on Linux with glibc.

    The arrays of a training are large. Without this, the kernel would map and zero each one anew at every update, which takes a
    tenth of the time of a training on a CPU.
    """
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Use only deterministic (bit-identical) algorithms on a CPU; GPUs use the fastest ones."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(device.type == "cpu" or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compiles(device: torch.device, wish: str) -> bool:
    """Whether to compile: `wish` is 'auto', 'on' or 'off'. Logs a warning if it should, but there is no compiler."""
    if wish == "off" or (wish == "auto" and device.type == "cpu"):
        return False
    named = os.environ.get("CXX", "")
    if shutil.which(named) or any(shutil.which(name) for name in ("g++", "clang++", "c++", "gcc")):
        return True
    _log.warning("no C++ compiler is found ($CXX, g++, clang++): the training runs uncompiled, which is slower")
    return False
