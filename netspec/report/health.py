"""Is this machine ready? One finding for each thing that a run needs, with the remedy where it is missing."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from netspec.errors import NetspecError
from netspec.machine.cleanup import on_exit
from netspec.units import duration, many, size

Status = Literal["ok", "remark", "broken"]
_SMALL_SHM = 64 * 2**20
_LITTLE_DISK = 2 * 2**30
_FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "neon", "asimd", "sve")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: ``remark`` is worth knowing, ``broken`` stops runs; ``remedy`` says what to do."""

    name: str
    status: Status
    text: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """All findings, each as soon as it is made; a check that fails is a finding, not an error."""
    for name, check in CHECKS.items():
        try:
            yield check()
        except NetspecError as error:
            yield Finding(name, "broken", str(error))
        except Exception as error:
            yield Finding(name, "broken", f"{type(error).__name__}: {error}", "see the message")


def _python() -> Finding:
    return Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _packages() -> Finding:
    missing, found = [], []
    for name in _required():
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", "broken", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Finding("packages", "ok", ", ".join(found))


def _required() -> list[str]:
    """Names of the packages that netspec needs here, as its metadata has them; the main ones in a bare checkout."""
    try:
        lines = [line for line in requires("netspec") or () if "extra ==" not in line]
    except PackageNotFoundError:
        names = "numpy numba pyyaml jsonschema pillow simplejpeg click rich threadpoolctl"
        return names.split()
    kept = [line for line in lines if not ("darwin" in line and sys.platform == "darwin")]
    return [line.partition(";")[0].partition(">")[0].partition("[")[0].strip() for line in kept]


def _processor() -> Finding:
    from llvmlite import binding

    from netspec.device.cpu.bfloat16_unit import cpu_bfloat16
    from netspec.machine.environment import cores
    from netspec.planning.storage import bf16_on

    on = {name for name, there in binding.get_host_cpu_features().items() if there}
    features = ", ".join(name for name in _FEATURES if name in on) or "no vector extensions known"
    known = f"{binding.get_host_cpu_name()}, {many(cores(), 'core')}, {features}"
    return Finding("processor", "ok", f"{known}; bf16: {bf16_on(cpu_bfloat16())}")


def _memory() -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Finding("memory", "ok", f"{size(total)}; netspec info SPEC says what a network takes")


def _gpus() -> Finding:
    from netspec.device.gpus import gpus, obstacle

    cards = gpus()
    if not cards:
        text = "no NVIDIA driver that shows a card; networks run on CPUs"
        return Finding("GPUs", "remark", text, "with a card in this machine: install its driver, and netspec[cuda13]")
    names = ", ".join(f"cuda:{index} {card.name} ({size(card.memory)})" for index, card in enumerate(cards))
    line = obstacle()
    return Finding("GPUs", "broken", names, line) if line else Finding("GPUs", "ok", names)


def _cache() -> Finding:
    from netspec.kernels.cache import cache_root, compiled_folder

    try:
        folder = compiled_folder()
    except NetspecError as error:
        text, _, remedy = str(error).partition("; ")
        return Finding("kernel cache", "broken", text, remedy)
    if folder is None or not os.access(folder, os.W_OK):
        text = f"{cache_root()} cannot be written; kernels are compiled anew in each run"
        return Finding("kernel cache", "remark", text, "set NETSPEC_CACHE_DIR")
    return Finding("kernel cache", "ok", str(cache_root()))


def _shared_memory() -> Finding:
    shm = Path("/dev/shm")
    if not shm.is_dir():
        return Finding("shared memory", "ok", "no /dev/shm here; none is needed")
    free = shutil.disk_usage(shm).free
    small = " (small; data workers do not use it)" if free < _SMALL_SHM else ""
    return Finding("shared memory", "ok", f"/dev/shm has {size(free) or 'nothing'} free{small}")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{size(free)} free in {Path.cwd()}"
    if free < _LITTLE_DISK:
        return Finding("disk", "remark", text, "a checkpoint of AlexNet takes 466 MiB; --out puts runs elsewhere")
    return Finding("disk", "ok", text)


def _kernel() -> Finding:
    import numpy as np

    from netspec.check.single import SingleLayer
    from netspec.contract.tensor import Tensor
    from netspec.device.cpu.device import CpuDevice

    begin, x = time.perf_counter(), np.array([[-1.0, 0.0, 2.0]], np.float32)
    device = CpuDevice(0)
    with on_exit(device.close):
        y = SingleLayer("relu", {}, [Tensor(x.shape)], device).forward({"x": x})["y"]
    if not np.array_equal(y, np.maximum(x, 0)):
        raise NetspecError(f"relu of {x.tolist()} gave {y.tolist()}")
    return Finding("kernels", "ok", f"compiled and run on the CPU in {duration(time.perf_counter() - begin)}")


def _layers() -> Finding:
    from netspec.registry import installed_faults, layer_types

    faults = "; ".join(installed_faults())
    if faults:
        return Finding("layers", "remark", faults, "update or uninstall that package; all other layers work")
    return Finding("layers", "ok", f"{len(layer_types())} types")


def _plugins() -> Finding:
    """Those that the environment names, which run with every command, and where trust in runs' plugins is kept."""
    from netspec.registry import trust
    from netspec.registry.plugin_code import VARIABLE, load_environment, named_in_environment

    folder, named = trust.trusted_folder(), named_in_environment()
    try:
        load_environment()
    except NetspecError as error:
        return Finding("plugins", "broken", str(error), f"mend it, or unset {VARIABLE}")
    if folder is None or (folder.exists() and not trust.is_safe(folder)):
        text = f"{folder or 'no home folder'}: what you trust cannot be kept there, since others can write to it"
        return Finding("plugins", "remark", text, "make the folder your own, or set NETSPEC_STATE_DIR")
    known = many(len(list(folder.iterdir())) if folder.exists() else 0, "plugin")
    here = f"{VARIABLE} names {', '.join(named)}; " if named else ""
    return Finding("plugins", "ok", f"{here}{known} that you have run or trusted, by {folder}")


def _environment() -> Finding:
    from netspec.machine.environment import choosing_variables

    found = " ".join(f"{name}={value}" for name, value in choosing_variables().items())
    if found:
        return Finding("environment", "remark", f"{found}: set, and choose machine code", "unset what you did not mean")
    return Finding("environment", "ok", "no variable chooses machine code")


CHECKS: dict[str, Callable[[], Finding]] = {
    "python": _python,
    "packages": _packages,
    "processor": _processor,
    "memory": _memory,
    "GPUs": _gpus,
    "kernel cache": _cache,
    "shared memory": _shared_memory,
    "disk": _disk,
    "environment": _environment,
    "plugins": _plugins,
    "layers": _layers,
    "kernels": _kernel,
}
"""What is looked at, in order."""
