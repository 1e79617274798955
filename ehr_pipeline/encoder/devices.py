"""Choose the device and precision of tensors, and run the process group of a job."""

import logging
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist

from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs
from ehr_pipeline.work.threads import cores, mallopt

_log = logging.getLogger("ehr_pipeline")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
BFLOAT16_VARIABLE = "EHR_BFLOAT16"
NVIDIA = Path("/dev/nvidia0")
"""This file exists if the driver of a GPU is loaded."""
LONGEST = timedelta(days=30)  # how long a process that has finished its share waits for the others


@contextmanager
def process_group(threads: int = 0, needs_gpu: bool = False) -> Iterator[torch.device]:
    """Yield the device of this process, inside the group of all processes of the job (NCCL on GPUs, Gloo on CPUs).

    No process leaves the block before all processes do. Otherwise, if one died, torchrun would restart all of them, which fails on
    a node whose processes have already ended. Raises UserError if `device_of_process` does, before anything starts.
    """
    device = device_of_process(needs_gpu)
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)  # else each process would also open a context on the first GPU
    else:
        torch.set_num_threads(threads or max(1, cores() // _local("WORLD_SIZE", 1)))
        keep_freed_memory()
    if jobs.world_size() == 1:
        yield device
        return
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    try:
        ending = dist.new_group(timeout=LONGEST)
        yield device
        dist.barrier(ending)
    except BaseException:
        if cuda and dist.group.WORLD is not None:
            dist.group.WORLD.abort()  # to destroy the group could wait for processes that wait for this one
        else:
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def device_of_process(needs_gpu: bool) -> torch.device:
    """Return the device of this process: the GPU with the process's number on this machine, or the CPU if torch finds no GPU.

    Raises UserError when a machine has fewer GPUs than processes, and when a GPU is needed and none is found.
    """
    if not torch.cuda.is_available():
        problem = (
            f"torch {torch.__version__} finds no GPU (CUDA of this build: {torch.version.cuda or 'none'};"
            f" CUDA_VISIBLE_DEVICES: {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Install the build of torch that fits"
            " the driver (docs/deployment.md, 'A GPU server')"
        )
        if needs_gpu:
            raise UserError(f"This job needs a GPU, but {problem}, or have the launcher ask for none.")
        if NVIDIA.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
            _log.warning("This machine has a GPU, but %s. The job runs on the CPU.", problem)
        return torch.device("cpu")
    number, there = _local("RANK", 0), torch.cuda.device_count()
    # Under Ray each process sees one GPU, its own, and is number 0; torchrun shows all GPUs of the machine to all processes.
    processes = _local("WORLD_SIZE", 1) if "TORCHELASTIC_RUN_ID" in os.environ else number + 1
    if processes > there:
        raise UserError(
            f"{processes} processes of this job run on one machine, where torch finds {there} GPU{'s' * (there > 1)}; each needs"
            f" one of its own. Set launcher.processes to {there} for each node, or CUDA_VISIBLE_DEVICES to '' to run on CPUs."
        )
    return torch.device("cuda", number)


def name_of(device: torch.device) -> str:
    """Return the name of a device for the log."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _local(what: str, default: int) -> int:
    """Return a number about the job on this machine: the index of this process (RANK), or the number of processes (WORLD_SIZE)."""
    return int(os.environ.get(f"LOCAL_{what}", default))


def from_first(number: int, device: torch.device) -> int:
    """Return, in all processes of the job, the number that the first process passed."""
    if not dist.is_initialized():
        return number
    shared = torch.tensor([number], device=device)
    dist.broadcast(shared, 0)
    return int(shared.item())


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Compute products in 'bfloat16', or everything in 'float32'. 'auto' must be resolved first (`encoder.hardware_choices`)."""
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"{precision!r} is not a precision to compute in")
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def as_written(array: torch.Tensor) -> AbstractContextManager[Any]:
    """Compute in the types of the arrays, without autocast."""
    kind = array.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def product_dtype(array: torch.Tensor) -> torch.dtype:
    """Return the type in which products of an array are computed here: that of autocast, if it is on."""
    kind = array.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return array.dtype


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware has bfloat16 matrix units: Ampere and newer GPUs, CPUs with AMX or AVX-512 BF16.

    The environment variable EHR_BFLOAT16 ('on' or 'off') overrides this, so tests can try both choices on one machine.
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
    """Let the C library keep freed memory instead of returning it to the system, on Linux with glibc.

    The arrays of a training run are large. Otherwise the kernel would map and zero each one again at every update, which takes a
    tenth of the time of a training run on a CPU.
    """
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Use only deterministic (bit-identical) algorithms on a CPU; GPUs use the fastest ones.

    With deterministic algorithms, torch by default also fills new arrays beforehand. This is switched off, because it takes 7 % of
    the training run of a small model.
    """
    before, options = torch.get_deterministic_debug_mode(), cast(Any, torch.utils.deterministic)
    fills = options.fill_uninitialized_memory
    # `torch.use_deterministic_algorithms` does the same, but imports torch's compiler first, which takes a second.
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else before)
    options.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        options.fill_uninitialized_memory = fills


def compiles(device: torch.device, wish: str) -> bool:
    """Return whether to compile, by the `wish` 'auto', 'on' or 'off'. Warns if compiling is wanted but something is missing."""
    if wish == "off" or (wish == "auto" and device.type == "cpu"):
        return False
    missing = []
    if not _exists("CXX", "g++", "clang++", "c++", "gcc"):
        missing.append("a C++ compiler ($CXX, g++, clang++)")
    if device.type == "cuda":  # Triton builds the code that starts its kernels, against the headers of Python
        if not _exists("CC", "gcc", "clang", "cc"):
            missing.append("a C compiler ($CC, gcc, clang)")
        if not Path(sysconfig.get_path("include"), "Python.h").is_file():
            missing.append("Python.h (the package python3-dev of distributions)")
    if missing:
        _log.warning("the training runs uncompiled, which is slower: %s not found", ", ".join(missing))
    return not missing


def _exists(variable: str, *names: str) -> bool:
    """Return whether one of these programs exists, or the program that an environment variable names."""
    return any(shutil.which(name) for name in (os.environ.get(variable, ""), *names) if name)
