"""Compiled CUDA kernels on disk, without a GPU: the driver's part is stood in for, in processes of their own."""

import subprocess
import sys

import pytest

from netspec.device.gpus import finds_compiler

_SCRIPT = """
from types import SimpleNamespace
from numba.cuda import codegen, dispatcher

card = (9, 0)
dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=card)
dispatcher._Kernel.bind = lambda self: None
codegen.JITCUDACodegen.magic_tuple = lambda self: ("13.0", card)
codegen.CUDACodeLibrary._ensure_cc = lambda self, cc: cc or card

from netspec.kernels.numba_cuda import array_type
from netspec.kernels.cuda import compile_cuda
from netspec.kernels.lookup import find_kernel

kernel = find_kernel("tanh:forward_cuda")
compiled = compile_cuda(kernel.function, "float32")
library = compiled.compile((array_type("float32", 1),) * 2)._codelibrary
library.get_cubin(card)
assert ".visible .entry" in library.get_asm_str(cc=card)
assert not library._ltoir_cache and not library._lto, "what runs is not the PTX that was looked at"
print(sum(compiled._cache_hits.values()), sum(compiled._cache_misses.values()))
"""


@pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed: pip install 'netspec[gates]'")
def test_a_second_process_finds_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", _SCRIPT]
    seen = [subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout for _ in range(2)]
    assert [line.split() for line in seen] == [["0", "1"], ["1", "0"]]
    assert len(list((tmp_path / "compiled").iterdir())) == 1


@pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed: pip install 'netspec[gates]'")
def test_kernels_compile_with_a_numpy_that_numba_cuda_does_not_know_yet(monkeypatch, tmp_path):
    """NumPy 2.5 has no row_stack, of which numba-cuda 0.30 wants to know."""
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    code = (
        "import numpy\n"
        "vars(numpy).pop('row_stack', None)\n"
        "from netspec.kernels.cuda import ptx_of\n"
        "from netspec.kernels.lookup import find_kernel\n"
        "from netspec.kernels.numba_cuda import array_type\n"
        "types = (array_type('float32', 1),) * 2\n"
        "text = ptx_of(find_kernel('tanh:forward_cuda').function, 'float32', None, types, (9, 0))\n"
        "assert '.visible .entry' in text\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


_A_NUMPY_THAT_WARNS = """
import sys
import warnings
import numpy

class Timedelta(numpy.timedelta64):
    def __new__(cls, *args):
        if len(args) == 1 and sys._getframe(1).f_globals["__name__"].startswith("numba.cuda."):
            warnings.warn("a unit is wanted", DeprecationWarning, stacklevel=2)
        with warnings.catch_warnings(action="ignore"):  # NumPy's own, of which this class is the place
            return super().__new__(cls, *args)

numpy.timedelta64 = Timedelta
import netspec.kernels.numba_cuda

place = ("numba/cuda/np/npdatetime_helpers.py", 31, "numba.cuda.np.npdatetime_helpers")
try:
    warnings.warn_explicit("another one", DeprecationWarning, *place)
except DeprecationWarning:
    print("later ones are told")
"""


@pytest.mark.parametrize("code", [_A_NUMPY_THAT_WARNS, "import netspec.kernels.numba_cuda"])
def test_numba_cuda_is_imported_where_warnings_are_errors(monkeypatch, code):
    """NumPy 2.5 deprecates a timedelta without a unit, of which numba-cuda 0.30 makes one when it is imported."""
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("later ones are told\n" if "place" in code else "")
