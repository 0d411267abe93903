"""Content identity: a digest of whatever compiled code depends on, from the values that a kernel reaches.

Constants count with their values, functions that run at compile time (numba intrinsics and all that they call) with
their bytecode, constants, defaults, closure cells and the globals that the bytecode loads, classes with their methods.
What comes with the standard library or with a compiler's packages counts with its name and version. A value that none
of this describes is refused: two of its kind could not be told apart, and one kernel be taken for another.
"""

from __future__ import annotations

import dis
import functools
import importlib
import itertools
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from hashlib import blake2b
from importlib.util import resolve_name
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from netspec.contract.kernel import Lazy

LIBRARIES = frozenset({*sys.stdlib_module_names, "numpy", "numba", "numba_cuda", "numba_cuda_mlir", "llvmlite", "cuda"})
"""Top-level packages whose contents are told by name and version."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, slice, range, type(...), np.dtype)
_CONTAINERS = (tuple, list, set, frozenset)
_MISSING = object()
_MADE_BY_CLASS = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class statement, or its like, made the type."""


class Unidentified(TypeError):
    """A value whose content cannot be told; the message says what it is and how it was reached."""


def digest_of(parts: Mapping[str, Any]) -> str:
    """A hash of named values; raises Unidentified with the way to the one that cannot be told."""
    return _Identity().digest({name: parts[name] for name in sorted(parts)})


def follow(value: Any, attributes: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    """What ``value.a.b`` names, as far as modules and classes go: the attributes that were taken, and the value."""
    taken: list[str] = []
    for attribute in attributes:
        if not isinstance(value, ModuleType | type) or is_library(value):
            break
        found = getattr(value, attribute, _MISSING)
        if found is _MISSING:
            break
        value = found.resolve() if isinstance(found, Lazy) else found
        taken.append(attribute)
    return tuple(taken), value


class _Identity:
    """One walk over values; those that are reached again on their own way count by the depth at which they began."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        self.done: dict[int, tuple[Any, str]] = {}  # the values too, so that no id is used again meanwhile

    def digest(self, named: Mapping[str, Any]) -> str:
        total = blake2b(digest_size=16)
        for name, value in named.items():
            try:
                total.update(f"{name}={self.of(value)}\n".encode())
            except Unidentified as error:
                raise Unidentified(f"{name}: {error}" if str(error).startswith("a ") else f"{name}.{error}") from None
        return total.hexdigest()

    def of(self, value: Any) -> str:
        """The identity of any value, as text."""
        if isinstance(value, _PLAIN) and not isinstance(value, Enum):
            return f"{type(value).__name__} {value!r}"
        if id(value) in self.open:
            return f"again {self.open[id(value)]}"
        if id(value) not in self.done:
            self.open[id(value)] = len(self.open)
            try:
                self.done[id(value)] = value, self._of(value)
            finally:
                del self.open[id(value)]
        return self.done[id(value)][1]

    def _of(self, value: Any) -> str:
        if isinstance(value, Lazy):
            return self.of(value.resolve())
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype.hasobject:
                raise Unidentified("a numpy array of Python objects")
            return f"{value.dtype} {value.shape} {blake2b(value.tobytes(), digest_size=16).hexdigest()}"
        if isinstance(value, Enum):
            return f"{self.of(type(value))} {value.name} {self.of(value.value)}"
        if type(value) in _CONTAINERS:
            items = [self.of(item) for item in value]
            return f"{type(value).__name__} {sorted(items) if isinstance(value, set | frozenset) else items}"
        if isinstance(value, Mapping):
            return f"{type(value).__name__} {[(self.of(key), self.of(item)) for key, item in value.items()]}"
        return self._of_code(value)

    def _of_code(self, value: Any) -> str:
        if isinstance(value, FunctionType | type | ModuleType) and is_library(value):
            return _named(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, functools.partial):
            return self.digest({"func": value.func, "args": value.args, "keywords": value.keywords})
        if isinstance(value, MethodType):
            return self.digest({"__func__": value.__func__, "__self__": value.__self__})
        if isinstance(value, property):
            return self.digest({"get": value.fget, "set": value.fset, "del": value.fdel})
        for attribute in ("_defn", "py_func", "__wrapped__", "__func__"):  # intrinsics, dispatchers, decorated, static
            inner = _own(value, attribute)
            if callable(inner):
                return f"{type(value).__name__} {self.of(inner)} {self.of(getattr(value, 'targetoptions', None))}"
        if isinstance(value, type | ModuleType):
            return self._room(value)
        return self._object(value)

    def _function(self, function: FunctionType) -> str:
        cells = dict(zip(function.__code__.co_freevars, _cells(function), strict=True))
        reached = dict(_loaded(function, cells))
        return self.digest(
            {
                "code": _bytecode(function.__code__),
                "defaults": function.__defaults__,
                "kwdefaults": function.__kwdefaults__,
                **reached,
            }
        )

    def _room(self, value: type | ModuleType) -> str:
        """A class of its own package with all that it holds; a module, taken as a whole, with its file's text."""
        if isinstance(value, ModuleType):
            file = getattr(value, "__file__", None)
            if file is None:
                raise Unidentified(f"a module without a file, {value.__name__}")
            return f"{value.__name__} {blake2b(_text(value, file), digest_size=16).hexdigest()}"
        held = {name: item for name, item in vars(value).items() if _counts(name, item)}
        bases = {f"base {number}": base for number, base in enumerate(value.__bases__)}
        return f"{value.__qualname__} {self.digest({**bases, **held})}"

    def _object(self, value: Any) -> str:
        kind = type(value)
        if is_library(kind):
            is_function = callable(value) and hasattr(value, "__qualname__") and is_library(value)
            return _named(value) if is_function else _described(value)
        if isinstance(value, tuple):  # a named tuple
            return f"{self.of(kind)} {[self.of(item) for item in value]}"
        if all(base is object or not is_library(base) for base in kind.__mro__):
            slots = {name: getattr(value, name, _NOTHING) for base in kind.__mro__ for name in _slots(base)}
            return f"{self.of(kind)} {self.digest({**slots, **getattr(value, '__dict__', {})})}"
        raise Unidentified(f"a {kind.__module__}.{kind.__qualname__}")


def _text(module: ModuleType, file: str) -> bytes:
    """The text that a module was run from, which its loader may have kept: the file may have another by now."""
    read = getattr(getattr(module, "__loader__", None), "get_data", None)
    if read is not None:
        return bytes(read(file))
    with open(file, "rb") as handle:
        return handle.read()


_NOTHING = "nothing"


def _slots(base: type) -> tuple[str, ...]:
    slots = vars(base).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _own(value: Any, attribute: str) -> Any:
    """An attribute, but for objects that make up any that they are asked for."""
    try:
        return getattr(value, attribute, None)
    except Exception:
        return None


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet: a function that names itself before it is bound
            yield _NOTHING


def _counts(name: str, item: Any) -> bool:
    """Whether what a class holds is its author's: methods, and attributes that Python did not put there."""
    if isinstance(item, MemberDescriptorType | GetSetDescriptorType) or type(item).__name__ == "_tuplegetter":
        return False
    return callable(item) or not (name.startswith("__") or name == "_abc_impl")


def _top(name: str | None) -> str:
    return (name or "builtins").partition(".")[0]


def is_library(value: Any) -> bool:
    """Whether a value comes with the standard library or a compiler's packages."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if isinstance(value, FunctionType) and vars(sys.modules.get(name or "", sys)) is not value.__globals__:
        return False  # made by exec, under whatever name
    if isinstance(value, type) and name == "builtins" and value.__flags__ & _MADE_BY_CLASS:
        return False
    return _top(name) in LIBRARIES


def _named(value: Any) -> str:
    """A library's class, function or module: its name and its package's version."""
    if isinstance(value, ModuleType):
        return f"{value.__name__} {_version(value.__name__)}"
    module = getattr(value, "__module__", None) or "builtins"
    return f"{module}.{value.__qualname__} {_version(module)}"


def _version(module: str | None) -> str:
    top = sys.modules.get(_top(module))
    return str(getattr(top, "__version__", sys.version))


def _described(value: Any) -> str:
    """An object of a library by its text, which must not be an address."""
    text = repr(value)
    if " at 0x" not in text:
        return f"{type(value).__qualname__} {text} {_version(type(value).__module__)}"
    kind = type(value)
    if kind is not object and (_slots(kind) or not hasattr(value, "__dict__") or vars(value)):
        raise Unidentified(f"a {type(value).__module__}.{type(value).__qualname__}")
    return _named(type(value))  # a sentinel, which has nothing but its class


@functools.cache
def _bytecode(code: CodeType) -> str:
    """Code with its constants and that of the functions inside; lines and files do not count."""
    inner = [_bytecode(one) if isinstance(one, CodeType) else f"{type(one).__name__} {one!r}" for one in code.co_consts]
    text = (code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, code.co_flags, inner)
    return blake2b(repr(text).encode(), digest_size=16).hexdigest()


def _loaded(function: FunctionType, cells: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Globals and closure cells that a function loads, followed through modules and classes, and what it imports."""
    scope = function.__globals__
    for load in _loads(function.__code__):
        found = cells if load.is_cell else scope
        if load.module is not None:
            module = importlib.import_module(resolve_name(load.module, scope.get("__package__") or ""))
            value = getattr(module, load.name, _NOTHING) if load.name else module
            yield f"{load.module}.{load.name}", value
        elif load.name in found:
            taken, value = follow(found[load.name], load.attributes)
            yield ".".join((load.name, *taken)), value


class _Load(NamedTuple):
    """A name that bytecode loads, with the attributes taken of it; or one that it imports from a module."""

    name: str
    attributes: tuple[str, ...] = ()
    is_cell: bool = False
    module: str | None = None


@functools.cache
def _loads(code: CodeType) -> tuple[_Load, ...]:
    """What code and the functions inside it load."""
    found: list[_Load] = []
    instructions = [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "PUSH_NULL")]
    for place, one in enumerate(instructions):
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
            following = itertools.takewhile(_takes_attribute, instructions[place + 1 :])
            attributes = tuple(str(each.argval) for each in following)
            found.append(_Load(one.argval, attributes, is_cell=one.opname == "LOAD_DEREF"))
        elif one.opname == "IMPORT_NAME":
            found += _imports(one.argval, instructions, place)
    inner = [load for one in code.co_consts if isinstance(one, CodeType) for load in _loads(one)]
    return (*found, *inner)


def _takes_attribute(instruction: dis.Instruction) -> bool:
    return instruction.opname in ("LOAD_ATTR", "LOAD_METHOD")


def _imports(name: str, instructions: list[dis.Instruction], place: int) -> list[_Load]:
    """What an import inside a function brings: names from a module, or the module."""
    level = next((one.argval for one in instructions[max(place - 2, 0) : place] if isinstance(one.argval, int)), 0)
    module = "." * level + name
    after = itertools.takewhile(lambda one: one.opname.startswith(("STORE", "IMPORT_FROM")), instructions[place + 1 :])
    names = [str(one.argval) for one in after if one.opname == "IMPORT_FROM"]
    parts = module.split(".")
    if names:
        return [_Load(each, module=module) for each in names]
    return [_Load("", module=".".join(parts[: number + 1])) for number in range(len(parts))]  # ``import a.b`` binds a
