"""The kernels of a solver, made of its scalar functions: each reads and writes memory once, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import Any

from netspec.contract.kernel import Kernel, Lazy, cuda, device, forward, load4, store4, store_relaxed
from netspec.contract.parameter_names import parameter_names
from netspec.contract.reduction import THREADS, by_block, in_order

np = Lazy("numpy")

_LARGEST = 3.4028234663852886e38


@device
def is_finite(value: Any) -> Any:
    """Whether a number is finite."""
    return abs(value) <= _LARGEST


@device
def agreed(finite: Any) -> Any:
    """Whether no device's verdict is 0."""
    low = 1
    for number in range(finite.size):
        low = min(low, finite[number])
    return low != 0


# From 0, so that the loop is vectorised.
_UPDATE_CPU = """
def {name}(start, stop, {params}):
    if not agreed(finite):
        return
    {numbers}
    if n_rate == 0.0:
        return
    {slices}
    good = True
    for i in range(w.size):
        {call_i}
        {store_i}
        good &= {finite_new}
    if not good:
        overflow[0] = 1
"""
# Nothing is waited for before all loads are on their way.
_UPDATE_CUDA = """
def {name}({params}):
    i = 4 * cuda.grid(1)
    if i + 4 <= param.size:
        {loads}
        {numbers}
        if agreed(finite) and n_rate != 0.0:
            {calls}
            {stores}
            if not ({finite_4}):
                store_relaxed(overflow, 0, 1)
    elif agreed(finite):
        {numbers}
        if n_rate != 0.0:
            for i in range(i, param.size):
                {call_array}
                {store_array}
                if not ({finite_new}):
                    store_relaxed(overflow, 0, 1)
"""
_SCALE_CPU = """
def {name}(start, stop, {params}):
    if agreed(finite):
        {numbers}
        if n_rate != 0.0:
            {norms}
            {store} = {call}
"""
_SCALE_CUDA = """
def {name}({params}):
    {shared}
    if agreed(finite):
        {numbers}
        if n_rate != 0.0:
            {norms}
            if cuda.threadIdx.x == 0:
                {store} = {call}
"""
NORM_SOURCES = {"w_norm": "param_squares", "g_norm": "gradient_squares"}
"""What ``scale`` may ask for, and the partial sums that it comes from."""


def made_of(cls: Any) -> Iterator[Kernel]:
    """All kernels of a solver class: with and without clipped gradients, with and without shadows."""
    for clipped in (False, True):
        yield from _updates(cls, clipped, shadowed=False)
        yield from _updates(cls, clipped, shadowed=True)
        if cls.scales and (not clipped or "g_norm" in cls.norms):
            yield from _scales(cls, clipped)


def update_name(clipped: bool, shadowed: bool) -> str:
    """What an update's kernels are called, before their backend."""
    return ("clipped" if clipped else "update") + ("_shadow" if shadowed else "")


def _updates(cls: Any, clipped: bool, shadowed: bool) -> Iterator[Kernel]:
    names = parameter_names(cls.scalar_update)[2 + len(cls.state) :]
    extra = [*(["scales"] if cls.scales else []), *(["clip"] if clipped else []), *(["shadow"] if shadowed else [])]
    params = ["param", "gradient", *cls.state, "rates", "finite", "overflow", *extra, "rate", "decay"]
    local, arrays = ["w", "g", *(f"s{n}" for n in range(len(cls.state)))], ["param", "gradient", *cls.state]
    new = ["w", *local[2:]]
    cut = {**dict(zip(local, arrays, strict=True)), **({"narrow": "shadow"} if shadowed else {})}
    targets = [*zip(new, ["param", *cls.state], strict=True), *([("w", "shadow")] if shadowed else [])]
    factor = " * factor" if clipped else ""

    def call(values: Sequence[str], end: str = "") -> str:
        given = [values[0], f"{values[1]}{factor}", *values[2:], *map(_number, names)]
        return f"{', '.join(f'new_{one}{end}' for one in new)} = scalar({', '.join(given)})"

    def places(end: str) -> list[str]:
        return [f"{one}{end}" for one in local]

    words = {
        "params": ", ".join(params),
        "numbers": _numbers(cls, names, clipped),
        "slices": f"{', '.join(cut)} = {', '.join(f'{one}[start:stop]' for one in cut.values())}",
        "call_i": call(places("[i]")),
        "store_i": "; ".join([*(f"{one}[i] = new_{one}" for one in new), *(["narrow[i] = new_w"] if shadowed else [])]),
        "finite_new": _finite(f"new_{one}" for one in new),
        "loads": "; ".join(
            f"{', '.join(f'{one}_{n}' for n in range(4))} = load4({array}, i)"
            for one, array in zip(local, arrays, strict=True)
        ),
        "calls": "; ".join(call(places(f"_{n}"), f"_{n}") for n in range(4)),
        "stores": "; ".join(
            f"store4({array}, i, {', '.join(f'new_{one}_{n}' for n in range(4))})"
            for one, array in targets
        ),
        "finite_4": _finite(f"new_{one}_{n}" for one in new for n in range(4)),
        "call_array": call([f"{one}[i]" for one in arrays]),
        "store_array": "; ".join(f"{array}[i] = new_{one}" for one, array in targets),
    }
    writes, name = ("param", *cls.state, *(["shadow"] if shadowed else []), "overflow"), update_name(clipped, shadowed)
    function = _compile(cls, _UPDATE_CPU, cls.scalar_update, f"{name}_cpu", words)
    yield forward("cpu", over="param", writes=writes)(function)
    function = _compile(cls, _UPDATE_CUDA, cls.scalar_update, f"{name}_cuda", words)
    yield forward("cuda", over="param", writes=writes, threads=256, per_thread=4)(function)


def _scales(cls: Any, clipped: bool) -> Iterator[Kernel]:
    names = parameter_names(cls.scalar_scale)
    norms = [name for name in names if name in NORM_SOURCES]
    params = ["scales", *(NORM_SOURCES[name] for name in norms), "rates", "finite", *(["clip"] if clipped else [])]
    words = {
        "params": ", ".join([*params, "rate", "decay"]),
        "numbers": _numbers(cls, names, clipped),
        "call": f"scalar({', '.join(map(_number, names))})",
        "store": ", ".join(f"scales[0, {n}]" for n in range(len(cls.scales))),
        "shared": f"sums = cuda.shared.array(THREADS, {NORM_SOURCES[norms[0]]}.dtype)" if norms else "pass",
    }
    name = "clipped_scale" if clipped else "scale"
    words["norms"] = _norms(norms, clipped, "in_order({})")
    function = _compile(cls, _SCALE_CPU, cls.scalar_scale, f"{name}_cpu", words)
    yield forward("cpu", over="scales", axes=0, writes="scales")(function)
    words["norms"] = _norms(norms, clipped, "by_block({}, sums)")
    function = _compile(cls, _SCALE_CUDA, cls.scalar_scale, f"{name}_cuda", words)
    yield forward("cuda", over="scales", axes=0, writes="scales", threads=THREADS)(function)


def _norms(names: Sequence[str], clipped: bool, summed: str) -> str:
    found = []
    for name in names:
        factor = " * factor" if clipped and name == "g_norm" else ""
        found.append(f"n_{name} = np.float32(sqrt({summed.format(NORM_SOURCES[name])})){factor}")
    return "; ".join(found) or "pass"


def _numbers(cls: Any, names: Sequence[str], clipped: bool) -> str:
    """Statements for the numbers that a function asks for by name, and the rate."""
    found = ["n_rate = rates[0] * rate"]
    for place, name in enumerate(cls.numeric, 1):
        if name in names:
            found.append(f"n_{name} = rates[{place}]{' * decay' if name == 'weight_decay' else ''}")
    found += [f"n_{name} = scales[0, {place}]" for place, name in enumerate(cls.scales) if name in names]
    return "; ".join([*found, *(["factor = clip[0]"] if clipped else [])])


def _number(name: str) -> str:
    return f"n_{name}"


def _finite(names: Iterator[str]) -> str:
    return " & ".join(f"is_finite({name})" for name in names)


def _compile(
    cls: type, template: str, function: Callable[..., Any], name: str, words: dict[str, str]
) -> Callable[..., Any]:
    source = template.format(name=name, **words)
    scope: dict[str, Any] = {
        **{"scalar": function, "agreed": agreed, "is_finite": is_finite, "np": np, "sqrt": sqrt, "cuda": cuda},
        **{"load4": load4, "store4": store4, "store_relaxed": store_relaxed, "THREADS": THREADS},
        **{"in_order": in_order, "by_block": by_block, "__name__": cls.__module__},
    }
    exec(source, scope)  # the text is made of this module's templates and of names
    made = scope[name]
    made.__qualname__ = f"{cls.__qualname__}.{name}"
    made.__netspec_source__ = source
    return made  # type: ignore[no-any-return]
