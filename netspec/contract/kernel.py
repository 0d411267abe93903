"""Marks: a decorated function becomes a kernel, which is compiled only when a device needs it.

A kernel's parameters are named after what they receive (see netspec.plugin); nothing here imports numba.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from netspec.contract.parameter_names import parameter_names
from netspec.contract.tensor_map import TensorMap

Backend = Literal["cpu", "cuda"]
Direction = Literal["forward", "backward"]
Phase = Literal["train", "eval", "predict"]
PHASES: tuple[Phase, ...] = ("train", "eval", "predict")
Axes = tuple[int, ...] | None
Count = int | Callable[[Any], int]


@dataclass(frozen=True)
class Kernel:
    """One pass of a layer: a marked function and how its work is cut.

    On CPUs the pass covers ``extent`` positions along ``axes`` of ``over`` in blocks of ``block``; the function gets
    ``start, stop`` first and is called once a block by a team member. On CUDA it is launched with ``threads`` threads
    a block and a thread for every ``per_thread`` positions, or with the ``grid`` it names. ``host`` functions are
    ordinary Python made of the primitives in ``ops``, their first parameter. Kernels are equal that do the same,
    whatever variants they belong to.
    """

    function: Callable[..., Any]
    backends: tuple[Backend, ...]
    direction: Direction
    writes: tuple[str, ...]
    over: str
    axes: Axes
    block: Count
    threads: int | tuple[int, int]
    per_thread: int
    grid: Callable[[Any], tuple[int, ...]] | None
    host: bool
    variant: str = field(compare=False)
    each: str | None
    when: Mapping[str, Any] = field(hash=False)
    phases: tuple[Phase, ...]
    linear: bool = False
    shared: Count = 0
    """Bytes of dynamic shared memory of a block on CUDA."""
    maps: Callable[[Any], Mapping[str, TensorMap]] | None = None
    """Parameters that take tensor maps, and what each describes."""
    borrowed: bool = False
    """Whether it is another layer's, whose numbers it takes: see netspec.contract.borrowed."""
    args: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = parameter_names(self.function)
        lead = (("ops",) if self.host else ()) + (("start", "stop") if self.host or "cpu" in self.backends else ())
        if names[: len(lead)] != lead:
            raise TypeError(f"{self.name}: the first parameters of this kernel must be {', '.join(lead)}")
        args = tuple(RESIDUAL if name == _RESIDUAL_IN_0_1 else name for name in names[len(lead) :])
        object.__setattr__(self, "args", args)

    @property
    def name(self) -> str:
        """``module:Class.function``."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def flat(self) -> bool:
        """Whether positions count elements: the tensors of ``over``'s shape are then given as one axis."""
        return self.axes is None and self.grid is None

    @property
    def has_epilogue(self) -> bool:
        """Whether it, or a helper of its, stores through ``epilogue``, or ``backward_epilogue``."""
        marker = epilogue if self.direction == "forward" else backward_epilogue
        return not self.host and _reaches(self.function, marker)

    @property
    def finishes(self) -> bool:
        """Whether it, or a helper of its, stores through ``finish``."""
        return not self.host and _reaches(self.function, finish)

    def applies(self, conditions: Mapping[str, Any], phase: Phase) -> bool:
        """Whether a layer of these conditions (``Layer.conditions``) runs this kernel in this phase."""
        return phase in self.phases and all(_holds(one, conditions[key]) for key, one in self.when.items())


class Kernels(tuple[Kernel, ...]):
    """Kernels that one function of a layer class stands for, in the order of their passes."""

    __slots__ = ()


def _holds(wanted: Any, value: Any) -> bool:
    """Whether an attribute has the value, or the function of it is true, that ``when`` names."""
    return bool(wanted(value) if callable(wanted) else value == wanted)


def forward(*backends: Backend, **options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Mark a function of a layer class as a forward pass; see ``netspec.plugin`` for the options."""
    _check_options("forward", backends, options)
    return _marker(backends, "forward", **options)


def backward(*backends: Backend, **options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Mark a function of a layer class as a backward pass; see ``netspec.plugin`` for the options."""
    _check_options("backward", backends, options)
    return _marker(backends, "backward", **options)


def marker_of(direction: Direction) -> Callable[..., Callable[[Callable[..., Any]], Kernel]]:
    """``forward`` or ``backward``. Raises TypeError for another direction."""
    if direction not in ("forward", "backward"):
        raise TypeError(f"a pass is 'forward' or 'backward', not {direction!r}")
    return forward if direction == "forward" else backward


def phases_of(phases: Phase | tuple[Phase, ...]) -> tuple[Phase, ...]:
    """One phase, or several, as several. Raises TypeError for what is none."""
    chosen = (phases,) if isinstance(phases, str) else tuple(phases)
    if not chosen or set(chosen) - set(PHASES):
        raise TypeError(f"phases are {', '.join(PHASES)}, not {phases!r}")
    return chosen


def _check_options(direction: Direction, backends: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """TypeError for an option that there is not, for one that is missing, and for a mark without parentheses."""
    if any(map(callable, backends)):
        raise TypeError(f"a {direction} kernel is marked @{direction}('cpu' or 'cuda', over=..., writes=...)")
    names = _options()
    for name in options:
        if name not in names:
            meant = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean '{meant[0]}'? " if meant else ""
            raise TypeError(f"a {direction} kernel has no option '{name}' ({hint}there are {', '.join(names)})")
    for name, what in _NEEDED.items():
        if name not in options:
            raise TypeError(f"a {direction} kernel needs the option '{name}': {what}")


_NEEDED = {"over": "the tensor whose positions are worked through", "writes": "what it writes"}


@cache
def _options() -> tuple[str, ...]:
    """Those that marks take."""
    return tuple(one.name for one in inspect.signature(_marker).parameters.values() if one.kind == one.KEYWORD_ONLY)


def _marker(
    backends: tuple[Backend, ...],
    direction: Direction,
    *,
    over: str,
    writes: str | tuple[str, ...],
    axes: int | tuple[int, ...] | None = None,
    block: Count | None = None,
    threads: int | tuple[int, int] = 128,
    per_thread: int = 1,
    grid: Callable[[Any], tuple[int, ...]] | None = None,
    host: bool = False,
    variant: str = "plain",
    each: str | None = None,
    when: Mapping[str, Any] | None = None,
    phases: Phase | tuple[Phase, ...] = PHASES,
    linear: bool = False,
    shared: Count = 0,
    maps: Callable[[Any], Mapping[str, TensorMap]] | None = None,
) -> Callable[[Callable[..., Any]], Kernel]:
    if not backends or set(backends) - {"cpu", "cuda"}:
        raise TypeError(f"kernels are marked 'cpu' or 'cuda', not {backends!r}")
    if len(backends) > 1 and not host:
        raise TypeError("only host=True functions, made of primitives, serve several backends")
    axes, chosen = (axes,) if isinstance(axes, int) else axes, phases_of(phases)
    return lambda function: Kernel(
        function=function,
        backends=backends,
        direction=direction,
        writes=(writes,) if isinstance(writes, str) else tuple(writes),
        over=over,
        axes=axes,
        block=block or (DEFAULT_BLOCK if axes is None else 1),
        threads=threads,
        per_thread=per_thread,
        grid=grid,
        host=host,
        variant=variant,
        each=each,
        when=dict(when or {}),
        phases=chosen,
        linear=linear,
        shared=shared,
        maps=maps,
    )


DEFAULT_BLOCK = 65536
"""Elements in one block of a flat CPU pass: 256 KiB of float32, which stays in a core's second-level cache."""


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a helper that kernels call: compiled for CPU or CUDA with the kernel that reaches it, plain Python else."""
    function.__netspec_device__ = True  # type: ignore[attr-defined]
    return function


@device
def epilogue(value: Any) -> Any:
    """What a CUDA kernel stores its results through, ``y[i] = epilogue(total)``: the value as it is.

    Where elementwise layers follow, the Program puts their functions in its place.
    """
    return value


@device
def backward_epilogue(a: Any, b: Any, c: Any, d: Any, residual: Any, index: Any, count: Any, aligned: Any) -> Any:
    """What a CUDA kernel stores gradients through, four neighbouring ones: the values as they are.

    ``residual`` is a parameter of the kernel, an array of the gradients' shape, in which they stand at ``index``. Where
    an elementwise layer's backward pass follows, the Program puts its function in this one's place, and the tensor that
    it reads, such as the layer's y, in the array's; else that is what the kernel writes, and nothing reads it.
    ``count`` of them are there, all where they are ``aligned``.
    """
    return a, b, c, d


@device
def finish(a: Any, b: Any, c: Any, d: Any, index: Any, count: Any, aligned: Any, operands: Any) -> Any:
    """What a CUDA kernel of matrix products makes of four neighbouring sums, through ``epilogue``: these sums.

    ``operands`` is the kernel's starred parameter. A product that a plugin gives an epilogue has its function in this
    one's place, see netspec.contract.product_epilogue: more arrays at ``index``, and four values for each result.
    """
    return epilogue(a), epilogue(b), epilogue(c), epilogue(d)


@device
def put_others(values: Any, index: Any, count: Any, aligned: Any, operands: Any) -> None:
    """Stores what ``finish`` gives beyond the first four values: there is nothing."""


RESIDUAL, _RESIDUAL_IN_0_1 = "residual", "beside"
"""The parameter's name, and that in plugins of version 0.1."""


def _reaches(function: Any, target: Any, seen: tuple[Any, ...] = ()) -> bool:
    """Whether a kernel's function names the target, or a helper that does."""
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    named = [*held, *(function.__globals__.get(name) for name in function.__code__.co_names)]
    helpers = [one for one in named if hasattr(one, "__netspec_device__") and one not in seen]
    return any(one is target for one in named) or any(_reaches(one, target, (*seen, function)) for one in helpers)


@dataclass(frozen=True)
class Lazy:
    """A name that is imported only when a kernel that uses it is compiled: ``Lazy("package.module", "name")``.

    With ``args`` it is what the function of that name gives for them.
    """

    module: str
    name: str | None = None
    args: tuple[Any, ...] | None = None

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(self.resolve(), attribute)

    def resolve(self) -> Any:
        """Import the module and return what is named."""
        import importlib

        module = importlib.import_module(self.module)
        value: Any = module if self.name is None else getattr(module, self.name)
        return value if self.args is None else value(*self.args)


cuda = Lazy("netspec.kernels.numba_cuda", "cuda")
"""``numba.cuda``, imported when the first CUDA kernel is compiled."""

load4, store4, copy16, store_relaxed, quotient = (
    Lazy("netspec.kernels.instructions", name) for name in ("load4", "store4", "copy16", "store_relaxed", "quotient")
)
"""Instructions that operations use too, see netspec.kernels.instructions."""
