"""The folder of compiled kernels: machine code is run from it, so it is this user's alone."""

import os
import stat
import subprocess
import sys

import pytest

from netspec.errors import NetspecError
from netspec.kernels import cache
from netspec.report import health


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_one_user(root):
    old = os.umask(0)
    try:
        folder = cache.content_folder("digest", "target")
    finally:
        os.umask(old)
    assert folder.parent == root / "compiled" and mode(folder.parent) == 0o700
    assert not mode(root) & 0o022, "another could put another folder in its place"
    assert cache.content_folder("digest", "target") == folder


def foreign(path, monkeypatch):
    """Owned by another user, whoever runs the tests."""
    real = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: real + 1)


def writable(path, monkeypatch):
    path.chmod(0o770)


def linked(path, monkeypatch):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_file(path, monkeypatch):
    path.rmdir()
    path.touch()


@pytest.mark.parametrize("spoil", [foreign, writable, linked, a_file])
def test_one_that_is_not_ours_alone_is_refused_in_a_line(root, monkeypatch, spoil):
    assert cache.compiled_folder() == root / "compiled"
    spoil(root / "compiled", monkeypatch)
    with pytest.raises(NetspecError) as caught:
        cache.content_folder("digest", "target")
    line = str(caught.value)
    assert "\n" not in line and line.startswith(str(root)) and "NETSPEC_CACHE_DIR" in line
    finding = health.CHECKS["kernel cache"]()
    assert finding.status == "broken" and "NETSPEC_CACHE_DIR" in finding.remedy


def test_where_none_can_be_made_there_is_none(root):
    root.parent.joinpath("cache").touch()
    assert cache.content_folder("digest", "target") is None


SOFTMAX = """
import hashlib
import numpy as np
from netspec.kernels.cpu import compile_cpu
from netspec.kernels.lookup import find_kernel

x = np.random.default_rng(0).normal(size=(32, 1000)).astype(np.float32)
probs = np.empty_like(x)
kernel = compile_cpu(find_kernel("softmax_loss:probs_cpu").function, "float32")
kernel(0, 32, x, probs)
print(sum(kernel.stats.cache_hits.values()), hashlib.sha256(probs.tobytes()).hexdigest())
"""


def test_code_from_the_cache_gives_the_bits_of_code_just_compiled(root):
    """Its helpers stay functions: which of two copies of them a process calls must not depend on where it has them."""
    answers = [
        subprocess.run([sys.executable, "-c", SOFTMAX], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert [hits for hits, _ in answers] == ["0", "1"]
    assert answers[0][1] == answers[1][1]


CACHED = """
import sys
from netspec.kernels.cpu import compile_cpu
from netspec.layers._cpu.bias_row import bias_row
import numpy as np

kernel = compile_cpu(bias_row.function, "float32")
y = np.ones((1, 3), np.float32)
kernel(0, 1, np.arange(3, dtype=np.float32), y, 1)
loaded = [name for name in ("scipy.linalg", "numba.np.arraymath", "numba.np.linalg") if name in sys.modules]
print(sum(kernel.stats.cache_hits.values()), loaded, y.tolist())
"""


def test_cached_code_needs_nothing_of_what_compilations_are_made_of(root):
    """Importing that takes longer than all kernels of a network."""
    outcomes = [
        subprocess.run([sys.executable, "-c", CACHED], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert outcomes[1] == "1 [] [[0.0, 1.0, 2.0]]\n"
    assert outcomes[0].startswith("0 [") and outcomes[0].endswith("[[0.0, 1.0, 2.0]]\n")


UNEQUAL = """
import numpy as np
from netspec.kernels.cpu import compile_cpu
from numba.np import arrayobj
from slices import assign

own = arrayobj.raise_with_shape_context
kernel = compile_cpu(assign, "float32")
try:
    kernel(0, 1, np.zeros(3, np.float32), np.zeros(2, np.float32))
except ValueError as error:
    print(error)
print(arrayobj.raise_with_shape_context is own, len(kernel.overloads))
"""


def test_slices_of_unequal_shapes_are_an_error_without_numbas_strings(root):
    """Which take longer to compile than most kernels; whatever else the process compiles keeps numba's message."""
    root.mkdir()
    (root / "slices.py").write_text("def assign(start, stop, x, y):\n    y[:] = x[start:]\n")
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", UNEQUAL], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["cannot assign slice from input of different shape", "True 1"]
