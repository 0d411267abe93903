"""Compilation for CPUs with numba, cached on disk by content."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from llvmlite import binding
from numba.core import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from netspec.kernels.cache import Locator, SharedFiles, content_folder
from netspec.kernels.extrema import EXTREMA
from netspec.kernels.specialise import Prepared, prepare
from netspec.machine.environment import choosing_variables

# Contraction and reassociation let reductions be vectorised. NaN and infinities are not lost; as quotients are taken by
# estimates of reciprocals, what is divided by an infinity may be NaN where IEEE 754 has 0.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _FASTMATH}


@functools.cache
def compile_cpu(function: Callable[..., Any], dtype: str, checked: bool = False) -> Any:
    """The numba dispatcher of a marked kernel for a compute dtype; ``checked``: see netspec.kernels.index_checks."""
    return _jit(prepare(function, dtype, vectorised=True, checked=checked))


@functools.cache
def compile_host(function: Callable[..., Any], dtype: str) -> Any:
    """A ``host=True`` pass: it stays Python, the helpers that it calls are compiled."""
    return prepare(function, dtype).build(lambda helper: _CalledFromPython(_jit(helper)))


def llvm_of(function: Callable[..., Any], dtype: str, signature: tuple[Any, ...]) -> str:
    """A marked kernel as LLVM IR, its helpers linked in; it was not yet optimised as a whole, nor for a processor."""
    compiled = _kernel(prepare(function, dtype, vectorised=True), _Keeping, no_cpython_wrapper=True)
    compiled.compile(signature)
    kept: str = compiled.overloads[signature].library.linked
    return kept


def type_of(value: Any) -> Any:
    """The compiler's type of an argument; of arrays of bfloat16 the one in netspec.kernels.stored_arrays."""
    if type(value) is not np.ndarray:
        return numba.typeof(value)
    flags = value.flags
    kind = (value.dtype, value.ndim, flags.c_contiguous, flags.f_contiguous, flags.writeable, flags.aligned)
    if kind not in _array_types:
        _array_types[kind] = _stored_type(value) if is_bfloat16(value) else numba.typeof(value)
    return _array_types[kind]


_array_types: dict[tuple[Any, ...], Any] = {}


def _stored_type(value: Any) -> Any:
    from netspec.kernels.stored_arrays import StoredArray

    return StoredArray(value.ndim, "C" if value.flags.c_contiguous else "A", not value.flags.writeable)


def is_bfloat16(value: Any) -> bool:
    """Whether it is an array of bfloat16, which numba's dispatchers do not know."""
    # The kind comes first: of every argument of every kernel the name, which numpy puts together, would take too long.
    return isinstance(value, np.ndarray) and value.dtype.kind == "V" and value.dtype.name == "bfloat16"


class Entry:
    """A kernel for one signature, called past its dispatcher; it is compiled by the first call at the latest."""

    def __init__(self, dispatcher: Any, signature: tuple[Any, ...]) -> None:
        self.dispatcher, self.signature = dispatcher, signature
        self._code: Any = None

    def __call__(self, *args: Any) -> Any:
        """What the kernel gives."""
        if self._code is None:
            self.dispatcher.compile(self.signature)
            self._code = self.dispatcher.overloads[self.signature].entry_point
        return self._code(*args)


class _CalledFromPython:
    """A compiled helper of a ``host=True`` pass, which may be given arrays of bfloat16."""

    def __init__(self, dispatcher: Any) -> None:
        self.dispatcher = dispatcher

    def __call__(self, *args: Any) -> Any:
        if any(map(is_bfloat16, args)):
            return Entry(self.dispatcher, tuple(map(type_of, args)))(*args)
        return self.dispatcher(*args)


_compiled: dict[tuple[str, str], Any] = {}


def _jit(prepared: Prepared) -> Any:
    """A dispatcher that Python calls: cached on disk, helpers compiled in."""
    key = (prepared.digest, "kernel")
    if key not in _compiled:
        dispatcher = _kernel(prepared, _KernelCompiler)
        folder = content_folder(prepared.digest, _target())
        if folder is not None:
            dispatcher._cache = _ContentCache(dispatcher.py_func, folder)
        _compiled[key] = dispatcher
    return _compiled[key]


def _kernel(prepared: Prepared, compiler: type[_KernelCompiler], **options: bool) -> Any:
    plain = prepared.build(_helper)
    plain.__netspec_prepared__ = prepared  # type: ignore[attr-defined]
    return numba.njit(**_OPTIONS, **options, _nrt=False, no_cfunc_wrapper=True, pipeline_class=compiler)(plain)


def _helper(prepared: Prepared, counts: bool = False) -> Any:
    """A dispatcher that kernels call: without a Python wrapper and not cached, as each kernel holds its own copy.

    ``counts``: with reference counts, as what allocates memory needs them.
    """
    key = (prepared.digest, "counting helper" if counts else "helper")
    if prepared.digest in _extrema():
        return _extrema()[prepared.digest]
    if key not in _compiled:
        wrappers = {"no_cfunc_wrapper": True, "no_cpython_wrapper": True}
        options = {**_OPTIONS, **wrappers, "_nrt": counts, "forceinline": prepared.inlined}
        plain = prepared.build(functools.partial(_helper, counts=counts))
        _compiled[key] = numba.njit(**options, pipeline_class=_HelperCompiler)(plain)
    return _compiled[key]


@functools.cache
def _extrema() -> dict[str, Any]:
    """Helpers that are instructions, by their hash."""
    from netspec.kernels import cpu_extrema

    own = [prepare(one, dtype, vectorised=True) for one in EXTREMA.values() for dtype in ("float32", "float64")]
    return {one.digest: getattr(cpu_extrema, one.name.rpartition("_")[0]) for one in own}


def is_stored(dispatcher: Any, signature: tuple[Any, ...]) -> bool | None:
    """Whether the cache on disk holds the kernel for a signature; None where there is no cache."""
    cache = dispatcher._cache
    return cache.holds(signature) if isinstance(cache, _ContentCache) else None


@functools.cache
def _target() -> str:
    """Everything beside the source that decides the machine code."""
    features = sorted(name for name, on in binding.get_host_cpu_features().items() if on)
    parts = (numba.__version__, llvmlite.__version__, sys.version, binding.get_host_cpu_name(), *features)
    told = (f"{name}={value}" for name, value in choosing_variables().items() if name.startswith("NUMBA_"))
    ways = ("helpers are optimised with their kernel", "references are counted where memory is allocated", "extrema")
    return "\n".join((*parts, *sorted(_FASTMATH), *ways, *told))


class _HelperLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A helper's code as kernels take it in: no machine code is made of it, and its functions are optimised singly.

    The whole is optimised with each kernel. What a kernel takes in line is before, too: loops around it are vectorised.
    """

    inlined = False

    def _optimize_final_module(self) -> None:
        if self.inlined:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Null: nothing calls it but kernels."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """What numba would tell the helper's constants, which kernels hold."""
        return _Nowhere


class _Nowhere:
    @staticmethod
    def set_env(name: str, environment: Any) -> None:
        """Nothing: see _KernelCompiler."""


class _KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A kernel's code, whose copies of its helpers have names of their own.

    Under the names that numba gives them another kernel's copies would be taken for them, which were optimised with
    that kernel, where one process holds both. The two do not always give the same bits.
    """

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            is_copy = int(function.linkage) == binding.Linkage.linkonce_odr and not function.is_declaration
            if is_copy and not function.name.startswith("NRT_"):  # the runtime's own, which a pass of numba looks for
                function.name = f"{function.name}.{self.name}"
        super()._optimize_final_module()


class _KeepingLibrary(_KernelLibrary):
    linked = ""

    def _optimize_final_module(self) -> None:
        self.linked = str(self._final_module)
        super()._optimize_final_module()


class _HelperCompiler(Compiler):  # type: ignore[misc]
    def compile_extra(self, func: Any) -> Any:
        self.state.library = _HelperLibrary(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.inlined = bool(self.state.flags.forceinline)
        return super().compile_extra(func)


class _KernelCompiler(Compiler):  # type: ignore[misc]
    library = _KernelLibrary

    def __init__(self, *args: Any) -> None:
        from netspec.kernels.slice_errors import short_shape_error

        self._short_shape_error, self._arguments = short_shape_error, args
        super().__init__(*args)  # which takes note of the overload above

    def compile_extra(self, func: Any) -> Any:
        """Without reference counts where that can be: less to compile, and nothing to count at each call."""
        with contextlib.suppress(Exception):  # memory is allocated; any other fault is met again below
            compiled = self._compile(func)
            if not isinstance(compiled.signature.return_type, types.Array | types.BaseTuple):  # type: ignore[attr-defined]
                return compiled
        return self._counting()._compile(func.__netspec_prepared__.build(functools.partial(_helper, counts=True)))

    def _counting(self) -> _KernelCompiler:
        typing, target, library, arguments, result, flags, local = self._arguments
        flags = flags.copy()
        flags.nrt = True
        return type(self)(typing, target, library, arguments, result, flags, local)

    def _compile(self, func: Any) -> Any:
        signature = blake2b(repr(self.state.args).encode(), digest_size=6).hexdigest()
        self.state.library = self.library(self.state.targetctx.codegen(), f"{func.__qualname__}.{signature}")
        self.state.library.enable_object_caching()
        with self._short_shape_error():  # no other thread compiles meanwhile: numba's lock is held
            compiled = super().compile_extra(func)
        for environment in compiled._find_referenced_environments():  # those of its helpers, too
            compiled.codegen.set_env(environment.env_name, environment)
        return compiled


class _Keeping(_KernelCompiler):
    library = _KeepingLibrary


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self._lineno = 0
        self._locator = Locator(folder)
        self._filename_base = "kernel"

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        """As numba does; its runtime, which allocates and counts, is compiled for code that names its functions."""
        _, _, (code, _) = payload[0]
        if b"NRT_" in code:
            rtsys.initialize(target_context)
        return super().rebuild(target_context, payload)

    def reduce(self, cres: Any) -> Any:
        """As numba does; of the IR, which other kernels could take in and none does, the symbols that are looked up."""
        (name, kind, (code, _)), described, *rest = super().reduce(cres)
        return (name, kind, (code, _symbols(described))), described, *rest


def _symbols(described: Any) -> bytes:
    """A module that defines what numba looks up of a kernel's code: its entry and where its constants lie."""
    entry, constants = described.llvm_cpython_wrapper_name, described.env_name
    text = f'define void @"{entry}"() {{ ret void }}\n@"{constants}" = global ptr null'
    return bytes(binding.parse_assembly(text).as_bitcode())


class _Files(SharedFiles, IndexDataCacheFile):  # type: ignore[misc]
    """numba's files, shared by processes."""


class _ContentCache(FunctionCache):  # type: ignore[misc]
    """numba's function cache on a folder of our own."""

    def __init__(self, function: Any, folder: Path) -> None:
        self._impl_class = lambda _: _Impl(folder)
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def load_overload(self, signature: Any, context: Any) -> Any:
        """As numba does, but without all that compilations are made of, which takes longer to import than the code."""
        return self._load_overload(signature, context)

    def save_overload(self, signature: Any, data: Any) -> None:
        """As numba does; a full disk or a folder that is gone costs the next process a compilation."""
        with contextlib.suppress(OSError):
            super().save_overload(signature, data)

    def holds(self, signature: tuple[Any, ...]) -> bool:
        """Whether there is machine code for the signature."""
        found: bool = self._cache_file.holds(self._index_key(signature, cpu_target.target_context.codegen()))
        return found
