"""What a compiler refuses, told by file, line and text of the source instead of by the compiler's own steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from netspec.contract.source_place import place_of, text_at
from netspec.errors import KernelError, NetspecError
from netspec.kernels.lookup import find_kernel

_PLACE = re.compile(r"\b(?:at|from) (\S[^\n]*?) \((\d+)\)")
"""Where numba says that it stood, innermost first: ``During: typing of call at /path/file.py (12)``."""
_CALL = re.compile(r"No implementation of function \S*?<(?:built-in )?\w+ ([\w.]+).*?>>> \w+(\([^\n]+)", re.DOTALL)
_LITERAL = re.compile(r"Literal\[\w+\]\(([^)]*)\)")
_ALLOCATES = "kernels allocate nothing: take cuda.local.array, cuda.shared.array or workspace()"
_HINTS = {
    **dict.fromkeys(("zeros", "ones", "empty", "full", "array"), _ALLOCATES),
    "shared.array": "its shape must be a constant, a number or a name of the module, and its type one of numba's",
    "local.array": "its shape must be a constant, a number or a name of the module, and its type one of numba's",
    "getitem": "arrays and tuples alone have elements",
    "setitem": "arrays alone can be stored to",
}
_SPECIFIC = "raised a specific error:"
_STEPS = ("Failed in ", "During: ", "File ", "Enable logging ", "^")
_KIND = re.compile(r"(?:Numba)?(?:Typing|Type|Value)Error: ")
_PLAIN = {
    "NRT required but not enabled": "it allocates, which kernels for GPUs cannot: arrays of several axes take an index "
    "for each, and numbers are stored one by one",
    r"failed to unpack (float|int)\d+": "one number is taken for several: a function gives as many as its mark says "
    "(writes, gives, sums, total)",
}
"""The compiler's words that mean nothing to who has not read its source, and what stands for them."""
Place = tuple[str, int]


@contextmanager
def told_of(function: Callable[..., Any], kind: str, name: str = "") -> Iterator[None]:
    """Within it a kernel is compiled: whatever the compiler raises becomes a KernelError.

    ``kind`` says for what it is compiled, "CPUs" or "GPUs", ``name`` what it is called where not by its own name.
    """
    try:
        yield
    except NetspecError:
        raise
    except Exception as error:
        name = name or getattr(function, "__name__", "a kernel")
        raise _compile_error(error, function, name, kind) from error


def _compile_error(error: Exception, function: Callable[..., Any], name: str, kind: str) -> KernelError:
    what = f"{name} cannot be compiled for {kind}"
    place = _place(error)
    where = f"{place[0]}:{place[1]}" if place else place_of(function) if hasattr(function, "__code__") else ""
    if where.startswith("<"):
        where = _made_around(name)
    text = text_at(*place) if place else ""
    message = f"{what}: {_reason(error)}"
    headline = message if not where or where.startswith("<") else f"{where}: {message}"
    return KernelError(f"{headline}\n    {text}" if text else headline, where if place else f"{where} {_reason(error)}")


def _made_around(kernel: str) -> str:
    """``file:line`` of the author's function in a kernel whose text is made; "" where it is not known."""
    try:
        return place_of(find_kernel(kernel).function)
    except (NetspecError, KeyError):
        return ""


def _reason(error: Exception) -> str:
    """The compiler's words without its steps and candidates."""
    text = str(error)
    if call := _CALL.search(text):
        called = call[1] + _LITERAL.sub(r"\1", call[2])
        specific = _told(text.partition(_SPECIFIC)[2])
        remark = _HINTS.get(call[1]) if not specific or specific.startswith("No implementation") else specific
        return f"no implementation of {called}" + (f" ({remark})" if remark else "")
    told = _told(text.partition(" Raised from ")[0]) or f"{type(error).__name__} {text}".strip()
    return next((words for found, words in _PLAIN.items() if re.fullmatch(found, told)), told)


def _told(text: str) -> str:
    """The first line that says more than what the compiler was doing; "" where none does."""
    lines = (_KIND.sub("", line.strip(), count=1) for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith(_STEPS)), "")


def _place(error: Exception) -> Place | None:
    """Where in the source the compiler stood: as its message says, else as what it was about to do knows."""
    places = [(file, int(line)) for file, line in _PLACE.findall(str(error))]
    found = [*places, *reversed(list(_held(error.__traceback__)))]
    return next(((file, line) for file, line in found if not file.startswith("<") and line), None)


def _held(traceback: TracebackType | None) -> Iterator[Place]:
    """Places that the frames of numba hold (``Loc``), outermost first."""
    while traceback is not None:
        held = traceback.tb_frame.f_locals
        loc: Any = getattr(held.get("self"), "loc", None) or held.get("loc")
        if isinstance(getattr(loc, "filename", None), str) and isinstance(getattr(loc, "line", None), int):
            yield loc.filename, loc.line
        traceback = traceback.tb_next
