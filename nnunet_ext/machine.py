"""The machine and the installed versions, for reports and manifests. Imports nothing heavy."""

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("nnunet-ext", "nnunetv2", "dynamic-network-architectures", "torch", "monai", "timm", "numpy")


def hardware(device: str) -> str:
    """Return the processor, its cores, the memory and, on CUDA, the GPU in a line."""
    words = [processor(), f"{cpu_cores()} CPU cores", f"{_memory_gib():.0f} GiB memory", f"device {device}"]
    if device == "cuda":
        import torch

        words.append(torch.cuda.get_device_name())
    return ", ".join(words)


def versions() -> str:
    """Return the versions of Python and of the packages that decide the results, in a line."""
    return ", ".join(f"{name} {found}" for name, found in installed_versions().items())


def installed_versions() -> dict[str, str]:
    """Return Python's version and those of the packages that decide a result; absent ones are left out."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def cpu_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reset_peak_memory(device: str) -> None:
    """Begin to measure anew, where that is possible: on CUDA. The peak of a process is that since its start."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> dict[str, int | str]:
    """Return the most memory that was in use, in bytes, and what that is of.

    On CUDA the tensors of this process on the device (`torch.cuda.max_memory_allocated`), since `reset_peak_memory`;
    else the resident memory of this process since its start, without its workers; empty where neither is known.
    """
    if device.startswith("cuda"):
        import torch

        return {"peak_memory_bytes": torch.cuda.max_memory_allocated(device), "peak_memory_of": "tensors on the GPU"}
    try:
        import resource
    except ImportError:  # Windows
        return {}
    unit = 1 if platform.system() == "Darwin" else 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"peak_memory_bytes": used, "peak_memory_of": "resident, the process"}


def device_name(device: str) -> str:
    """Return the name of the GPU on CUDA, else of the processor."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return processor()


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
