"""The solver contract: how a parameter is renewed from its gradient, element by element, and what is kept beside it.

A solver is one file with one class. Its function ``update`` works on numbers, and is compiled for CPUs and GPUs into
one pass over a parameter, its gradient and its state.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import Attr, check_attrs, filled, number
from netspec.contract.kernel import Kernel
from netspec.contract.naming import Argument
from netspec.contract.parameter_names import parameter_names
from netspec.contract.solver_kernels import made_of, update_name
from netspec.contract.source_place import wrong

NORMS = ("w_norm", "g_norm")
"""What ``scale`` may ask for: the Euclidean norms of a parameter and of its gradient, as a device holds them."""
SCALES = "scales"
"""The name in checkpoints of the numbers beside a parameter."""
SHADOW = "shadow"
"""What an update writes beside a parameter that products read in bfloat16: its new value, rounded."""
_TAKEN = (
    *("param", "gradient", "rates", "finite", "overflow", "clip", "rate", "decay", "start", "stop"),
    *(SCALES, SHADOW, "average", "param_squares", "gradient_squares"),
)
"""What a kernel's other arguments are called, and averages in checkpoints."""


def learning_rate(default: float) -> dict[str, Any]:
    """The schema of ``learning_rate``, which every solver has."""
    return number("Base learning rate.", default=default, minimum=0)


def weight_decay(default: float, description: str = "Weight decay, multiplied by the rate.") -> dict[str, Any]:
    """The schema of ``weight_decay``, on which layers may have a factor."""
    return number(description, default=default, minimum=0)


class _Kernels:
    """A solver's kernels, made when they are first asked for: a spec is validated without."""

    def __get__(self, one: object, cls: type[Solver]) -> tuple[Kernel, ...]:
        if "_made" not in cls.__dict__:
            cls._made = tuple(made_of(cls))
        return cls._made


class Solver:
    """A rule by which parameters are trained.

    ``update(w, g, ...)`` gives the new value of one element of a parameter from its value, its gradient (that of the
    mean loss of the batch, clipped where ``train.clip_norm`` says so) and its ``state``, in that order; further
    parameters are asked for by name: ``rate``, the learning rate of this iteration and parameter; numeric ``attrs``,
    ``weight_decay`` times the parameter's factor; ``scales``. It returns w, or w and all of the state.

    ``state`` names arrays of the parameter's shape, which begin at 0, are held in checkpoints as ``conv1.weight.NAME``
    and lie on devices as the parameter does. ``scales`` names numbers of a parameter as a whole, which begin at 0 and
    are in checkpoints too; ``scale(...)`` gives their next values before each update and asks by name for these,
    ``rate``, numeric ``attrs``, ``w_norm`` and ``g_norm``. Of a parameter that is cut over devices each part has its
    own scales and norms. Where the rate is 0, or an iteration is not finite, nothing changes.

    Number literals are cast to float32; ``math`` is there.
    """

    type: ClassVar[str]
    attrs: ClassVar[Mapping[str, Attr]] = {"learning_rate": learning_rate(0.01)}
    """The JSON Schema of each attribute, ``learning_rate`` among them; see netspec.contract.attrs."""
    state: ClassVar[tuple[str, ...]] = ()
    scales: ClassVar[tuple[str, ...]] = ()
    flops: ClassVar[int] = 6
    """Operations that an element takes."""
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Attributes that the contract suite tries."""
    numeric: ClassVar[tuple[str, ...]] = ()
    """The numeric attributes but the learning rate, in the order in which kernels are given them."""
    norms: ClassVar[tuple[str, ...]] = ()
    """Those of ``NORMS`` that ``scale`` asks for."""
    kernels: ClassVar[_Kernels] = _Kernels()
    _made: ClassVar[tuple[Kernel, ...]]
    scalar_update: ClassVar[Callable[..., Any]]
    scalar_scale: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_attrs(cls.__name__, cls.attrs, reserved={"type": "", "rate": "", "decay": ""})
        if "learning_rate" not in cls.attrs:
            raise TypeError(f"{cls.__name__}.attrs has no 'learning_rate': add \"learning_rate\": learning_rate(0.01)")
        kinds = {name: schema.get("type") for name, schema in cls.attrs.items() if name != "learning_rate"}
        cls.numeric = tuple(name for name, kind in kinds.items() if kind in ("number", "integer"))
        _check_names(cls)
        cls.scalar_update = staticmethod(_function(cls, "update", ("w", "g", *cls.state)))
        if cls.scales:
            cls.scalar_scale = staticmethod(_function(cls, "scale", ()))
            cls.norms = tuple(name for name in parameter_names(cls.scalar_scale) if name in NORMS)
        elif "scale" in cls.__dict__:
            raise TypeError(f"{cls.__name__}.scale gives nothing: name what it gives, scales = (...)")

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self.settings = filled(self.attrs, {name: value for name, value in attrs.items() if name != "type"})

    @property
    def learning_rate(self) -> float:
        """What schedules multiply."""
        return float(self.settings["learning_rate"])

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values of ``numeric``."""
        return tuple(float(self.settings[name]) for name in self.numeric)

    @staticmethod
    def bindings(args: Sequence[Argument]) -> Sequence[tuple[str, Mapping[str, Argument]]]:
        """The pass of a step with these arguments: an update, or the scales before it."""
        clipped = Argument("clip") in args
        if Argument("param") in args:
            return [(update_name(clipped, Argument(SHADOW) in args), {})]
        return [("clipped_scale" if clipped else "scale", {})]


def _check_names(cls: type[Solver]) -> None:
    for what, names in (("state", cls.state), (SCALES, cls.scales)):
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"{cls.__name__}.{what} must be a tuple of names, got {names!r}")
        for name in names:
            if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN or names.count(name) > 1:
                raise TypeError(f"{cls.__name__}.{what}: nothing can be called '{name}' there; rename it")
    if clash := [name for name in cls.scales if name in (*cls.attrs, *NORMS)]:
        raise TypeError(f"{cls.__name__}.scales: '{clash[0]}' is the name of something else; rename it")


def _function(cls: type[Solver], name: str, first: tuple[str, ...]) -> Callable[..., Any]:
    """The class's own or inherited scalar function. Raises TypeError where its parameters are not what they must be."""
    function = inspect.getattr_static(cls, name, None) or inspect.getattr_static(cls, f"scalar_{name}", None)
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        raise TypeError(f"{cls.__name__}: a solver defines the function {name}({', '.join(first)}, ...)")
    names = parameter_names(function)
    if names[:1] == ("self",):
        raise wrong(function, f"{cls.__name__}.{name}: a function of numbers; leave out self")
    if len(names) < len(first):
        raise wrong(function, f"{cls.__name__}.{name} takes {', '.join(first)} first, in this order")
    known = ("rate", *cls.numeric, *cls.scales, *(NORMS if name == "scale" else ()))
    unknown = [one for one in names[len(first) :] if one not in known]
    if unknown:
        raise wrong(function, f"{cls.__name__}.{name}: '{unknown[0]}' is none of {', '.join(known)}")
    function.__netspec_scalar__ = True  # type: ignore[attr-defined]
    return function
