"""Layers with some numbers for each row of channels, such as normalisation over them, and sums over everything.

A row is what one pixel has, or one image of an input (N, C): the elements along the last axis, in ``groups`` equal
parts where the layer has that attribute. Passes are functions of single numbers, written once for CPUs and GPUs:

- ``@per_row(direction, gives=...)`` gives terms of every element, whose sum (or maximum) each row has as a number;
- ``@per_element(direction, writes=...)`` gives a value for every element;
- ``@per_channel(direction, writes=..., rows=...)`` sums over all rows, see netspec.contract.channelwise.

Passes of ``per_row`` and ``per_element`` that follow one another are one kernel, which reads a row while it is in a
core's cache, or once into registers of a GPU's threads; a row's numbers go from one to the next in registers. Those
that backward asks for are saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from netspec.contract.channelwise import Channelwise, Pass, names_of, whole_rows
from netspec.contract.channelwise_code import Function, Rows
from netspec.contract.kernel import PHASES, Direction, Kernel, Kernels, Phase, marker_of, phases_of
from netspec.contract.layer import Scalar, Tensors
from netspec.contract.reduction import THREADS, lanes_of
from netspec.contract.rowwise_text import HELD, Program, Step
from netspec.contract.source_place import wrong
from netspec.contract.tensor import Tensor, Workspace
from netspec.errors import LayerError

_WHOLE = "read all of it on one device: {from: ..., connect: all}; or give the layer an attribute 'groups'"


@dataclass(frozen=True, slots=True)
class RowPass:
    """A function marked with ``per_row``; a Rowwise class makes kernels of it."""

    step: Step
    direction: Direction
    phases: tuple[Phase, ...]
    when: Mapping[str, Any] = field(default_factory=dict)
    rows: ClassVar[tuple[str, ...]] = ()
    __netspec_pass__: ClassVar[str] = "per_row is for layers that derive from Rowwise"


def per_row(
    direction: Direction,
    *,
    gives: str | tuple[str, ...] = (),
    total: str = "",
    by: Literal["sum", "max"] = "sum",
    finish: Function | None = None,
    sums: int | None = None,
    parts: int | None = None,
    channels: Sequence[str] = (),
    numbers: Sequence[str] = (),
    phases: Phase | tuple[Phase, ...] = PHASES,
    when: Mapping[str, Any] | None = None,
) -> Callable[[Function], RowPass]:
    """Mark a function in a Rowwise layer whose value, or tuple of values, is summed along each row.

    ``gives`` names the sums, or what ``finish`` makes of them and of further numbers; ``sums`` is then how many there
    are, one unless said. Later functions have them as parameters. ``total`` names an output instead, which has the sums
    of such numbers over all rows of valid images: ``parts`` of them, or as many as ``reports`` names. ``by="max"``
    takes maxima in place of sums. Parameters are elements of arrays of the input's shape, but for those in ``channels``
    (a number a channel), those in ``numbers`` (attributes and scalars), numbers of rows, and

    - ``width``: the elements of a row; ``images``: the valid images of the batch;
    - ``valid``: 1 in rows of valid images, 0 in the others.

    The order in which is summed depends on the shape alone, and there are no atomics.
    """
    given = names_of(gives)
    if bool(given) == bool(total):
        raise TypeError("per_row says what it gives, or the output of its total")
    if by not in ("sum", "max"):
        raise TypeError(f"per_row takes a sum or a max, not {by!r}")
    marker_of(direction)  # which refuses another direction
    chosen = phases_of(phases)

    def make(function: Function) -> RowPass:
        count = sums or (1 if finish or total else len(given))
        made = parts or (count if finish is None else 0)
        step = Step(function, tuple(channels), tuple(numbers), given, finish, count, by, total, made)
        return RowPass(step, direction, chosen, dict(when or {}))

    return make


class Rowwise(Channelwise):
    """A layer made of passes ``per_row``, ``per_element`` and ``per_channel``; its output has the input's shape."""

    channelwise = False
    whole_only: ClassVar[str | None] = _WHOLE
    kept: ClassVar[tuple[str, ...]] = ()
    """Numbers of rows that forward saves for backward."""
    totals: ClassVar[Mapping[tuple[Direction, Phase], int]] = {}
    """How many terms of each row are summed over everything."""
    marked: ClassVar[Mapping[str, RowPass | Pass]] = {}
    """The marked functions, inherited ones too, of which kernels are made anew where a class has some of its own."""
    assembled: ClassVar[frozenset[Function]] = frozenset()
    """The functions of the kernels that were made of several of them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "groups" in {**getattr(cls, "attrs_schema", {}), **cls.__dict__.get("attrs", {})}:
            cls.mixes_channels, cls.divided, cls.whole_only = True, ("groups", *cls.divided), None
        assembly = _Assembly(cls)
        assembly.build()
        super().__init_subclass__(**kwargs)
        if assembly.own:
            cls.kernels = assembly.ordered(cls.kernels)

    def outputs(self, *inputs: Tensor) -> Tensor:
        """The first input's shape. Raises LayerError where its channels do not divide into groups."""
        groups = getattr(self.attrs, "groups", None) or 1
        if inputs[0].shape[-1] % groups:
            raise LayerError(f"{inputs[0].shape[-1]} channels do not divide into {groups} groups", attr="groups")
        return Tensor(inputs[0].shape, inputs[0].dtype)

    def rows_of(self, x: Tensor) -> Rows:
        """How an input is cut into rows."""
        groups = getattr(self.attrs, "groups", None) or 1
        depth = x.shape[-1] // groups
        number, lanes = x.size // depth, min(lanes_of(depth, vectors) for vectors in HELD)
        return Rows(number, depth, groups, number // x.shape[0], lanes, lanes.bit_length() - 1)

    def saved(self, *inputs: Tensor) -> Mapping[str, Tensor]:
        """What backward asks for of the rows' numbers."""
        rows = (self.rows_of(inputs[0]).number,)
        return {name: Tensor(rows) for name in self.kept} if self.phase == "train" else {}

    def tensors(self, inputs: Sequence[Tensor | None]) -> Tensors:
        """With them ``rows``."""
        t = super().tensors(inputs)
        t.rows = self.rows_of(t.inputs[0])
        return t

    def workspace(self, t: Tensors, variant: str, direction: Direction) -> Mapping[str, Workspace]:
        """``terms``, so many numbers a row, where there are sums over everything, beside a Channelwise layer's."""
        count = self.totals.get((direction, self.phase), 0)
        terms = {"terms": Workspace((t.rows.number * count,))} if count else {}
        return {**terms, **super().workspace(t, variant, direction)}

    def scalars(self, t: Tensors, index: int | None = None) -> Mapping[str, Scalar]:
        """``rows`` and ``width``, beside a Channelwise layer's."""
        return {**super().scalars(t, index), "rows": t.rows, "width": float(t.rows.depth)}


class _Assembly:
    """Makes kernels of the marked functions of a class, in the places of the first of each run of them."""

    def __init__(self, cls: type[Rowwise]) -> None:
        self.cls = cls
        self.own = {name: one for name, one in cls.__dict__.items() if isinstance(one, RowPass | Pass)}
        self.marked = {**cls.marked, **self.own}
        self.gone: frozenset[Function] = frozenset()
        self.order: dict[Function, int] = {}
        passes = [one for one in self.marked.values() if isinstance(one, RowPass)]
        self.given = {name: one.direction for one in passes for name in one.step.gives}

    def build(self) -> None:
        """Set the class's attributes; nothing where it marks no function."""
        if not self.own:
            return
        runs = self.runs()
        self.cls.kept = tuple(dict.fromkeys(name for run in runs for name in self.asked(run)))
        totals: dict[tuple[Direction, Phase], int] = {}
        made: dict[Function, int] = {}
        for number, run in enumerate(runs):
            if run[0][1].step:
                self.check_channels([(name, one.step) for name, one in run if one.step])
                kernels = Kernels(self.kernels(number, [one for _, one in run], totals))
                for name, _ in run:
                    setattr(self.cls, name, Kernels())
                setattr(self.cls, run[0][0], kernels)
                made |= {kernel.function: number for kernel in kernels}
            else:
                made |= {kernel.function: number for _, one in run if isinstance(one, Pass) for kernel in one}
        self.gone, self.order = self.cls.assembled - made.keys(), made
        self.cls.totals, self.cls.marked, self.cls.assembled = totals, self.marked, frozenset(made)

    def ordered(self, kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
        """A class's kernels without those that were made for its base, in the order of the marked functions."""
        kept = [kernel for kernel in kernels if kernel.function not in self.gone]
        made = [kernel for kernel in kept if kernel.function in self.order]
        in_order = iter(sorted(made, key=lambda kernel: self.order[kernel.function]))
        return tuple(next(in_order) if kernel.function in self.order else kernel for kernel in kept)

    def runs(self) -> list[list[tuple[str, RowPass | Pass]]]:
        """The marked functions, those that follow one another in one direction and under one condition together."""
        found: list[list[tuple[str, RowPass | Pass]]] = []
        last: Any = None
        for name, one in self.marked.items():
            key = (one.direction, dict(one.when)) if one.step else object()
            if key != last:
                found.append([])
            found[-1].append((name, one))
            last = key
        return found

    def asked(self, run: Sequence[tuple[str, RowPass | Pass]]) -> list[str]:
        """Numbers of rows that functions of backward ask for and do not find in their own run.

        Raises TypeError where forward does not give them.
        """
        own = {name for _, one in run if isinstance(one, RowPass) for name in one.step.gives}
        names: list[str] = []
        above: set[str] = set()
        for name, one in run:
            function = one[0].function if isinstance(one, Pass) else one.step.function
            at = f"{self.cls.__name__}.{name}"
            for number in one.step.parameters if one.step else one.rows:
                if number in own - above:
                    raise wrong(function, f"{at}: '{number}' is given further down; put that first")
                if number not in self.given or number in own:
                    continue
                if one.direction == "forward" or self.given[number] == "backward":
                    raise wrong(function, f"{at}: '{number}' is of another pass; put both side by side")
                names.append(number)
            above |= {*one.step.gives} if one.step else set()
        return names

    def check_channels(self, steps: Sequence[tuple[str, Step]]) -> None:
        """Raise TypeError where functions of one kernel take a parameter for different things."""
        channels = {one: name for name, step in steps for one in step.channels}
        for name, step in steps:
            for one in (one for one in step.parameters if one in channels and one not in step.channels):
                words = f"takes '{one}' for an element, and to {channels[one]} it is a number of the channel"
                raise wrong(step.function, f"{self.cls.__name__}.{name} {words}: name it in channels=[...]")

    def counted(self, step: Step) -> Step:
        """With the number of its terms, which is that of the reports where nothing else is said."""
        return step if step.parts or not step.total else replace(step, parts=len(self.cls.reports))

    def kernels(
        self, number: int, run: Sequence[RowPass | Pass], totals: dict[tuple[Direction, Phase], int]
    ) -> list[Kernel]:
        """The kernels of one run, for each backend and for all phases with the same functions."""
        direction = run[0].direction
        cases: dict[tuple[Any, ...], list[Phase]] = {}
        for phase in PHASES if direction == "forward" else PHASES[:1]:
            steps = tuple(self.counted(one.step) for one in run if one.step and phase in one.phases)
            given = {name for step in steps for name in step.gives}
            kept = tuple(n for n in self.cls.kept if n in given) if (direction, phase) == ("forward", "train") else ()
            if steps:
                cases.setdefault((steps, kept), []).append(phase)
        found: list[Kernel] = []
        for case, ((steps, kept), phases) in enumerate(cases.items()):
            name = f"{steps[0].function.__name__}_{number}_{case}"
            program = Program(name, steps, kept, tuple(self.given), self.cls.__module__, self.cls.__qualname__)
            options = {"phases": tuple(phases), "when": run[0].when}
            found += _kernels(direction, program, options)
            totals |= dict.fromkeys([(direction, phase) for phase in phases], program.terms) if program.terms else {}
        return found


def _kernels(direction: Direction, program: Program, options: Mapping[str, Any]) -> list[Kernel]:
    mark = marker_of(direction)
    over = {"over": program.over, "writes": program.writes, **options}
    found = [
        mark("cpu", **over, block=whole_rows)(program.cpu()),
        mark("cuda", **over, threads=THREADS, grid=_grid, linear=True)(program.cuda()),
    ]
    for total in program.totals:
        own = {"over": total.output, "writes": total.output, **options}
        found.append(mark("cpu", **own)(total.cpu()))
        found.append(mark("cuda", **own, threads=THREADS, grid=total.grid, linear=True)(total.cuda()))
    return found


def _grid(t: Tensors) -> tuple[int]:
    return (-(-t.rows.number * t.rows.lanes // THREADS),)
