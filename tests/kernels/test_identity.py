"""The hash of compiled code: whatever a kernel can reach counts, whatever it cannot reach does not."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from netspec.errors import NetspecError
from netspec.kernels.cpu import compile_cpu
from netspec.kernels.specialise import prepare

numbers = itertools.count()

FILES = {
    "sizes/__init__.py": "from . import deep\nfrom .deep import MORE\nWIDTH = 3\nclass Named:\n    VALUE = 4\n",
    "sizes/deep.py": "MORE = 5\nDEEP = 6\ndef plain(): return 7.0\n",
    "kinds.py": """\
import enum, functools, typing
import numpy as np
import numba
from dataclasses import dataclass
import sizes
class Mode(enum.IntEnum):
    A = 8
    B = 9
class Pair(typing.NamedTuple):
    left: int
    right: int = 10
@dataclass(frozen=True)
class Tile:
    rows: int
    def area(self): return self.rows * 11
PAIR, TILE = Pair(12), Tile(13)
TABLE = np.arange(14.0)
NESTED = ((15, 16), "word17")
@numba.njit
def jitted(x): return x + 18 + sizes.WIDTH
@numba.njit(fastmath=False)
def flagged(x): return x + 19
FACTOR = 20
""",
    "codes.py": """\
import functools
from numba.core import types
from numba.extending import intrinsic
from llvmlite import ir
import sizes, kinds
from kinds import TILE
LIMIT = 21.0
SCALE = {"a": 22.0}
def other(value=23.0, *, more=24.0): return value + more + LIMIT
def twice(function):
    @functools.wraps(function)
    def wrapped(*args): return function(*args) + 25.0
    return wrapped
@twice
def decorated(): return 26.0
bound = functools.partial(other, 27.0)
def make(step):
    extra = step + 28.0
    @intrinsic
    def add(typing, x):
        def code(context, builder, signature, args):
            from kinds import FACTOR
            import sizes.deep
            values = (n + 29.0 for n in (extra, other(), decorated(), bound(), float(TILE.area()), SCALE["a"]))
            total = sum(values) + sizes.deep.DEEP + sizes.deep.plain() + sizes.Named.VALUE + FACTOR
            return builder.fadd(args[0], ir.Constant(args[0].type, total))
        return types.float32(types.float32), code
    return add
add = make(30.0)
""",
    "kernel.py": """\
import sizes, sizes.deep, kinds
from kinds import Mode, PAIR, TABLE, NESTED, jitted
from codes import add
from netspec.plugin import device
BASE = 31.0
@device
def helper(x, n=32):
    return add(x) + n + BASE
def make(cell):
    def kernel(start, stop, x, y):
        for i in range(start, stop):
            wide = sizes.WIDTH + sizes.deep.DEEP + sizes.MORE + Mode.A.value + PAIR.right + NESTED[0][1]
            y[i] = helper(x[i]) + jitted(x[i]) + kinds.flagged(x[i]) + TABLE[i] + cell * 33.0 + wide
    return kernel
kernel = make(34.0)
""",
}

EDITS = [
    *[(file, text, text.replace(number, "77")) for file, text, number in (
        ("sizes/__init__.py", "WIDTH = 3", "3"), ("sizes/__init__.py", "VALUE = 4", "4"),
        ("sizes/deep.py", "MORE = 5", "5"), ("sizes/deep.py", "DEEP = 6", "6"), ("sizes/deep.py", "7.0", "7"),
        ("kinds.py", "A = 8", "8"), ("kinds.py", "right: int = 10", "10"),
        ("kinds.py", "* 11", "11"), ("kinds.py", "Pair(12)", "12"), ("kinds.py", "Tile(13)", "13"),
        ("kinds.py", "arange(14.0)", "14"), ("kinds.py", "(15, 16)", "16"), ("kinds.py", "x + 18", "18"),
        ("kinds.py", "x + 19", "19"), ("kinds.py", "FACTOR = 20", "20"),
        ("codes.py", "LIMIT = 21.0", "21"), ("codes.py", '"a": 22.0', "22"), ("codes.py", "value=23.0", "23"),
        ("codes.py", "more=24.0", "24"), ("codes.py", "+ 25.0", "25"), ("codes.py", "return 26.0", "26"),
        ("codes.py", "other, 27.0", "27"), ("codes.py", "step + 28.0", "28"), ("codes.py", "n + 29.0", "29"),
        ("codes.py", "make(30.0)", "30"), ("kernel.py", "BASE = 31.0", "31"), ("kernel.py", "n=32", "32"),
        ("kernel.py", "* 33.0", "33"), ("kernel.py", "make(34.0)", "34"),
    )],
    ("kinds.py", "fastmath=False", "fastmath=True"),
    ("kinds.py", "np.arange(14.0)", "np.arange(14.0).astype('float32')"),
    ("kinds.py", "word17", "word18"),
    ("codes.py", "builder.fadd", "builder.fsub"),
]  # fmt: skip
"""A file, a text in it, and what takes its place."""

SAME = [
    ("kernel.py", "BASE = 31.0", "BASE = 31.0  # why\n\n"),
    ("kernel.py", "BASE = 31.0", "UNUSED = 1\nBASE = 31.0"),
    ("codes.py", "LIMIT = 21.0", "UNUSED = 1\nLIMIT = 21.0  # why"),
    ("kinds.py", "FACTOR = 20", "FACTOR = 20\nUNUSED = 3"),
]


def packages(folder: Path, edit: tuple[str, str, str] | None = None) -> ModuleType:
    """The kernel's module, all its files imported anew from a folder, one of them edited."""
    for name, text in FILES.items():
        if edit and edit[0] == name:
            assert text.count(edit[1]) == 1
            text = text.replace(edit[1], edit[2])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("sizes", "kinds", "codes", "kernel")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("kernel")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """The hash of the kernel, with an edit or without."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(edit=None):
        folder = tmp_path / str(next(numbers))
        return prepare(packages(folder, edit).kernel, "float32").digest

    yield of
    for name in [name for name in sys.modules if name.partition(".")[0] in ("sizes", "kinds", "codes", "kernel")]:
        del sys.modules[name]


def test_it_is_the_same_in_another_folder(digest):
    assert digest() == digest()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit[1])
def test_an_edit_of_anything_reached_changes_it(digest, edit):
    assert digest(edit) != digest()


@pytest.mark.parametrize("edit", SAME, ids=lambda edit: f"{edit[0]} {edit[2]}")
def test_an_edit_of_what_is_not_reached_does_not(digest, edit):
    assert digest(edit) == digest()


def test_two_intrinsics_of_one_factory_are_two(tmp_path):
    """Both closures are compiled, and each runs its own constant."""
    path = tmp_path / "factory.py"
    path.write_text(FACTORY)
    scope: dict = {}
    exec(compile(FACTORY, str(path), "exec"), scope)
    for step in (1, 100):
        x, y = np.zeros(3, "float32"), np.zeros(3, "float32")
        compile_cpu(scope["kernel"](step), "float32")(0, 3, x, y)
        assert y.tolist() == [step] * 3


FACTORY = """
from numba.core import types
from numba.extending import intrinsic
from netspec.plugin import device
def kernel(step):
    @intrinsic
    def add(typing, x):
        def code(context, builder, signature, args):
            return builder.fadd(args[0], args[0].type(float(step)))
        return types.float32(types.float32), code
    @device
    def helper(x):
        return add(x)
    def run(start, stop, x, y):
        for i in range(start, stop):
            y[i] = helper(x[i])
    return run
"""

REFUSED = {
    "THING: a _thread.lock": "import threading\nTHING = threading.Lock()",
    "THING: a builtins.generator": "THING = (i for i in range(3))",
    "THING.callback: a ctypes": (
        "import ctypes\nclass Holder: pass\nTHING = Holder()\nTHING.callback = ctypes.CDLL(None).abs"
    ),
    "a numpy array of Python objects": "import numpy as np\nTHING = np.array([object()])",
}


@pytest.mark.parametrize(("told", "text"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_told_apart_is_refused_by_its_name(tmp_path, told, text):
    with pytest.raises(NetspecError) as caught:
        prepare(function_of(tmp_path, text + "\ndef f(x): return x + THING"), "float32")
    assert "f reaches " in str(caught.value) and told in str(caught.value)


def test_helpers_are_imported_by_their_names(tmp_path):
    text = "import types\nroom = types.ModuleType('room')\ndef g(x): return x\nroom.g = g\ndef f(x): return room.g(x)"
    with pytest.raises(NetspecError, match=r"f calls room\.g\(\): a helper must be marked @device and imported"):
        prepare(function_of(tmp_path, text), "float32")


def function_of(folder: Path, text: str):
    """The function ``f`` of a source text."""
    path = folder / f"made{next(numbers)}.py"
    path.write_text(text)
    scope = {"__name__": "made"}
    exec(compile(text, str(path), "exec"), scope)
    return scope["f"]
