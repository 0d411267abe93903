"""Rung one of the plugin ladder: a layer from two scalar functions, looped over all elements on CPU and CUDA."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar

from netspec.contract.kernel import Direction, Kernel, Kernels, cuda, load4, marker_of, store4
from netspec.contract.layer import Layer
from netspec.contract.parameter_names import parameter_names
from netspec.contract.source_place import wrong
from netspec.contract.tensor import Flops, Tensor
from netspec.errors import LayerError

# Slices first: numba lets an index that starts anywhere be negative, and such a loop is not vectorised.
_CPU = """
def {name}(start, stop, {params}):
    {slices}
    for i in range({first}.size):
        {store} = {call}
"""
# A block of threads does two vectors a thread, all loads before the first store; the last block goes by elements.
_CUDA = """
def {name}({params}):
    start = BLOCK * cuda.blockIdx.x
    if start + BLOCK <= {first}.size:
        i = start + 4 * cuda.threadIdx.x
        {loads}
        {calls}
        {stores}
    else:
        for i in range(start + cuda.threadIdx.x, {first}.size, THREADS):
            {store} = {call}
"""
_THREADS, _EACH = 128, 8
_BLOCK = _THREADS * _EACH


class Elementwise(Layer):
    """A layer whose every output element depends on the input elements at the same place only.

    ``forward(x, ...)`` returns y for one element; further parameters are more inputs or attributes, by name.
    ``backward(...)`` returns d_x (a tuple where there are several inputs) and names what it needs: inputs, ``y``,
    ``dy``, attributes. What it does not name is not kept; if no input is named the layer runs in place.
    Number literals, attributes and results are cast to the compute dtype.
    """

    channelwise = True
    scalar_forward: ClassVar[Callable[..., Any]]
    scalar_backward: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        functions = cls.__dict__.get("forward"), cls.__dict__.get("backward")
        if not all(inspect.isfunction(function) for function in functions):
            raise TypeError(f"{cls.__name__}: an elementwise layer defines the functions forward and backward")
        _build(cls, *functions)  # type: ignore[arg-type]

    def outputs(self, *inputs: Tensor) -> Tensor:
        """The inputs' shape, which must be the same for all."""
        for tensor in inputs[1:]:
            if tensor.shape != inputs[0].shape:
                shapes = " and ".join(str(t.shape) for t in inputs)
                raise LayerError(f"inputs must have one shape, got {shapes}")
        return Tensor(inputs[0].shape, inputs[0].dtype)

    def flops(self, t: Any) -> Flops:
        """One operation an element and direction, as is the custom."""
        return Flops(forward=t.y.size, d_inputs=t.y.size)


def _build(cls: type[Elementwise], fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
    for function in (fwd, bwd):
        function.__netspec_scalar__ = True  # type: ignore[attr-defined]
    cls.scalar_forward, cls.scalar_backward = staticmethod(fwd), staticmethod(bwd)
    parameters = parameter_names(fwd)
    if "self" in parameters:
        raise wrong(fwd, f"{cls.__name__}.forward: a function of numbers; leave out self")
    cls.inputs = tuple(name for name in parameters if name not in cls.attrs_schema)
    for name in cls.inputs[1:]:
        for meant in difflib.get_close_matches(name, cls.attrs_schema.keys() - set(parameters), 1, 0.75):
            told = f"'{name}' would be an input, since no attribute is called so; did you mean '{meant}'?"
            raise wrong(fwd, f"{cls.__name__}.forward: {told}")
    needs = parameter_names(bwd)
    unknown = set(needs) - set(cls.inputs) - set(cls.attrs_schema) - {"y", "dy"}
    if unknown:
        raise wrong(bwd, f"{cls.__name__}.backward: {sorted(unknown)} are neither inputs, y, dy nor attributes")
    cls.inplace = len(cls.inputs) == 1 and not set(needs) & set(cls.inputs)
    gradients = tuple(f"d_{name}" for name in cls.inputs)
    owner, numbers = (cls.__module__, cls.__qualname__), cls.attrs_schema
    cls.kernels = (
        *scalar_kernels(owner, "forward", fwd, ("y",), numbers, "y", "forward"),
        *scalar_kernels(owner, "backward", bwd, gradients, numbers, "y", "backward"),
    )


def on_elements(
    direction: Direction, *, writes: str | tuple[str, ...], numbers: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Kernels]:
    """Mark a function of numbers outside a class as a pass that gives what ``writes`` names, for every element.

    Its parameters are elements of arrays that are as large, but for those in ``numbers`` (attributes and scalars). It
    is compiled for CPUs and GPUs. For ``netspec.plugin.by_products``, or a class's ``kernels``.
    """
    names = (writes,) if isinstance(writes, str) else tuple(writes)
    marker_of(direction)  # which refuses another direction

    def make(function: Callable[..., Any]) -> Kernels:
        function.__netspec_scalar__ = True  # type: ignore[attr-defined]
        owner = function.__module__, ""
        return Kernels(scalar_kernels(owner, direction, function, names, numbers, names[0], function.__name__))

    return make


def scalar_kernels(
    owner: tuple[str, str],
    direction: Direction,
    function: Callable[..., Any],
    writes: tuple[str, ...],
    numbers: Collection[str],
    over: str,
    name: str,
    reads: Sequence[str] = (),
) -> tuple[Kernel, Kernel]:
    """The kernels of a function of numbers; ``reads``: arrays in its parameters' places, if these are others."""
    reads = reads or parameter_names(function)
    params = tuple(dict.fromkeys((*reads, *writes)))
    arrays = [name for name in params if name not in numbers]

    def call(place: str) -> str:
        return f"scalar({', '.join(name + place if name in arrays else name for name in reads)})"

    def results(place: str) -> str:
        return ", ".join(name + place for name in writes)

    words = {
        "slices": "; ".join(f"{name} = {name}[start:stop]" for name in arrays),
        "params": ", ".join(params),
        "first": writes[0],
        "store": results("[i]"),
        "call": call("[i]"),
        "loads": _halves("{parts} = load4({name}, i + {offset})", [name for name in arrays if name in reads]),
        "calls": "; ".join(f"{results(f'__{n}')} = {call(f'__{n}')}" for n in range(_EACH)),
        "stores": _halves("store4({name}, i + {offset}, {parts})", writes),
    }
    mark = marker_of(direction)
    return (
        mark("cpu", over=over, writes=writes)(_compile(owner, _CPU, function, f"{name}_cpu", words)),
        mark("cuda", over=over, writes=writes, threads=_THREADS, per_thread=_EACH)(
            _compile(owner, _CUDA, function, f"{name}_cuda", words)
        ),
    )


def scalar_of(kernel: Kernel) -> Callable[..., Any]:
    """The function of numbers that a kernel calls for every element; ``is_elementwise`` says whether it is one."""
    return kernel.function.__globals__["scalar"]  # type: ignore[no-any-return]


def is_elementwise(kernel: Kernel) -> bool:
    """Whether it is a kernel that ``scalar_kernels`` made."""
    return getattr(kernel.function, "__netspec_elementwise__", False)


def _halves(text: str, names: Iterable[str]) -> str:
    """The statement for both vectors of each array, whose elements are called ``x__0`` and so on."""
    return "; ".join(
        text.format(name=name, offset=4 * _THREADS * half, parts=", ".join(f"{name}__{4 * half + n}" for n in range(4)))
        for half in (0, 1)
        for name in names
    )


def _compile(
    owner: tuple[str, str], template: str, function: Callable[..., Any], name: str, words: dict[str, str]
) -> Callable[..., Any]:
    source = template.format(name=name, **words)
    scope: dict[str, Any] = {
        **{"scalar": function, "cuda": cuda, "load4": load4, "store4": store4, "BLOCK": _BLOCK, "THREADS": _THREADS},
        "__name__": owner[0],
    }
    exec(source, scope)  # the text is made of this module's templates and parameter names only
    loop = scope[name]
    loop.__qualname__ = f"{owner[1]}.{name}".lstrip(".")
    loop.__netspec_source__, loop.__netspec_elementwise__ = source, True
    return loop  # type: ignore[no-any-return]
