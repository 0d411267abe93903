"""A shared library with the driver's name, whose functions are Python's; a C compiler makes it."""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

_MOST = 15
"""Arguments of a function."""
_WORDS = ", ".join(f"word a{number}" for number in range(_MOST))
_GIVEN = ", ".join(f"a{number}" for number in range(_MOST))
_HEAD = f"""
#include <string.h>
typedef long word;
typedef int (*function)({_WORDS});
int gone({_WORDS}) {{ return 0; }}
"""
_FUNCTION = f"""
function slot_{{name}};
int {{name}}({_WORDS}) {{{{ return slot_{{name}}({_GIVEN}); }}}}
"""
_FIND = """
int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long flags, int *status)
{{
    *found = 0;
{cases}
    if (status) *status = *found ? 0 : 1;
    return *found ? 0 : 500;
}}
"""


def compiler() -> str | None:
    """A C compiler, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def load(functions: Mapping[str, Callable[..., int]]) -> ctypes.CDLL:
    """Build and load ``libcuda.so.1``, and keep it loaded; later searches for that name find it.

    ``functions`` are ctypes' callbacks by the driver's names, without endings such as ``_v2``.
    """
    found = compiler()
    assert found is not None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "driver.c", Path(folder) / "libcuda.so.1"
        source.write_text(_source(list(functions)))
        command = [found, "-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-o", library, source]
        subprocess.run(command, check=True, capture_output=True, text=True)
        loaded = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    for name, function in functions.items():
        _slot(loaded, name).value = ctypes.cast(function, ctypes.c_void_p).value
    atexit.register(_close, loaded, list(functions))
    return loaded


def _slot(loaded: ctypes.CDLL, name: str) -> ctypes.c_void_p:
    return ctypes.c_void_p.in_dll(loaded, f"slot_{name}")


def _close(loaded: ctypes.CDLL, names: list[str]) -> None:
    """What is freed after Python's own end must not call Python: there is nothing left to free then."""
    for name in names:
        _slot(loaded, name).value = ctypes.cast(loaded.gone, ctypes.c_void_p).value


def _source(names: list[str]) -> str:
    cases = "\n".join(f'    if (!strcmp(name, "{name}")) *found = (void *){name};' for name in names)
    later = [f"int {name}_v2() __attribute__((alias(\"{name}\")));" for name in names if name != "cuGetProcAddress"]
    return "\n".join([_HEAD, *(_FUNCTION.format(name=name) for name in names), _FIND.format(cases=cases), *later])
