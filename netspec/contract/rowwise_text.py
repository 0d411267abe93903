"""The text of a Rowwise layer's kernels: functions of numbers, one after the other, on each row.

On CPUs a call has whole rows, one after the other. On GPUs a row has some lanes of a block, a power of two, with two
or three vectors of four neighbouring elements each, which stay in registers from step to step. Rows that are longer
than a block holds so, and those that are no whole vectors, are read again by each step, from the cache. Lanes' sums
meet always in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

from netspec.contract.channelwise_code import Function, Rows, alone, defined
from netspec.contract.kernel import cuda, load4, quotient, store4
from netspec.contract.parameter_names import parameter_names
from netspec.contract.reduction import THREADS, WARPS, max_of_row, over_block, sum_of_row

HELD = 2, 3
"""Vectors of a lane that stay in registers: rows of three quarters of a power of two have whole lanes of three."""
SPECIAL = ("width", "valid", "images")
"""Numbers of rows and of the batch that functions may ask for."""


@dataclass(frozen=True)
class Step:
    """One function: what its parameters are; what it gives for a row, or writes for every element, or totals."""

    function: Function
    channels: tuple[str, ...]
    numbers: tuple[str, ...]
    gives: tuple[str, ...] = ()
    finish: Function | None = None
    count: int = 0
    by: Literal["sum", "max"] = "sum"
    total: str = ""
    parts: int = 0
    writes: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """Of the function, and of ``finish`` behind its sums."""
        of_finish = parameter_names(self.finish)[self.count :] if self.finish else ()
        return (*parameter_names(self.function), *of_finish)


class Program:
    """The kernel of functions that are run on one row after the other; ``given`` names all numbers of rows."""

    def __init__(
        self, name: str, steps: tuple[Step, ...], kept: tuple[str, ...], given: tuple[str, ...], module: str,
        owner: str,
    ) -> None:  # fmt: skip
        self.name, self.steps, self.kept, self.given = name, steps, kept, given
        self.module, self.owner = module, owner
        for function in [one for step in steps for one in (step.function, step.finish) if one is not None]:
            function.__netspec_scalar__ = True  # type: ignore[attr-defined]
        own = [name for step in steps for name in step.gives]
        asked = list(dict.fromkeys(name for step in steps for name in step.parameters))
        self.channels = [name for name in asked if any(name in step.channels for step in steps)]
        self.numbers = [name for name in asked if any(name in step.numbers for step in steps) or name == "width"]
        self.read = [name for name in asked if name in given and name not in own]
        self.special = [name for name in asked if name in ("valid", "images")]
        known = {*self.channels, *self.numbers, *given, *SPECIAL}
        self.elements = [name for name in asked if name not in known]
        self.results = [name for step in steps for name in step.writes]

    @property
    def over(self) -> str:
        """The array whose rows are worked through."""
        return self.results[0] if self.results else self.elements[0]

    @cached_property
    def totals(self) -> list[Total]:
        """The sums over everything, each with the first of its terms."""
        found: list[Total] = []
        for step in self.steps:
            if step.total:
                found.append(Total(step.total, sum(one.count for one in found), step.parts, self))
        return found

    @property
    def terms(self) -> int:
        """How many terms a row has."""
        return sum(total.count for total in self.totals)

    @property
    def writes(self) -> tuple[str, ...]:
        """Every array that is written."""
        return (*self.results, *self.kept, *(("terms",) if self.totals else ()))

    def cpu(self) -> Function:
        """The kernel for CPUs."""
        arrays = dict.fromkeys((*self.elements, *self.results))
        lines = [f"{one}_ = {one}[start:stop].reshape(-1, rows.depth)" for one in arrays]
        lines += [f"{one}_ = {one}.reshape(-1, rows.depth)" for one in self.channels]
        lines += ["first = start // rows.depth", f"for pixel in range({self.over}_.shape[0] // rows.groups):"]
        lines += ["    for g in range(rows.groups):"]
        body = ["r = pixel * rows.groups + g", "row = first + r"]
        body += [f"{one}_r = {one}_[r]" for one in arrays]
        body += [f"{one}_r = {one}_[g]" for one in self.channels]
        body += self.numbers_of_row()
        for loop in self.loops:
            body += self.looped(loop, "range(rows.depth)", "{}_r[j]", "{}_r[j]")
            for number in loop:
                body += [*self.finished(number), *self.stored(self.steps[number])]
        return self.defined("cpu", ["start", "stop"], [*lines, *("        " + line for line in body)])

    def cuda(self) -> Function:
        """The kernel for GPUs."""
        body = [
            f"shared, thread = cuda.shared.array(WARPS, {self.over}.dtype), cuda.threadIdx.x",
            "lane_, row = thread & (rows.lanes - 1), (cuda.blockIdx.x * THREADS + thread) >> rows.shift",
            "inside_, row = row < rows.number, min(row, rows.number - 1)",
            "base = row * rows.depth",
            "channel = base - quotient(row, rows.groups) * (rows.groups * rows.depth) if rows.groups > 1 else 0",
            *self.numbers_of_row("quotient(row, rows.an_image)"),
        ]
        for word, held in zip(("if", "elif"), HELD, strict=True):
            body.append(f"{word} rows.depth % 4 == 0 and rows.depth <= {4 * held} * rows.lanes:")
            body += ["    " + line for line in self.held(held)]
        body.append("else:")
        for loop in self.loops:
            over = "range(lane_, rows.depth if inside_ else 0, rows.lanes)"
            one_by_one = self.looped(loop, over, "{}[base + j]", "{}[channel + j]")
            body += ["    " + line for line in (*one_by_one, *self.met(loop))]
        return self.defined("cuda", [], body)

    def held(self, vectors: int) -> list[str]:
        """All steps for a row of which each lane holds so many vectors."""
        lines = []
        for n in range(vectors):
            place = f"4 * (lane_ + {n} * rows.lanes)"
            lines.append(f"at{n}_, held{n}_ = min({place}, rows.depth - 4), inside_ and {place} < rows.depth")
        for n in range(vectors):
            lines += self.loaded(f"__{n}", f"at{n}_", [*self.elements, *self.channels])
        for loop in self.loops:
            lines += [*self.in_registers(loop, vectors), *self.met(loop)]
        return lines

    def in_registers(self, loop: list[int], vectors: int) -> list[str]:
        """Some steps for a lane's vectors."""
        steps = [(number, self.steps[number]) for number in loop]
        lines = self.cleared(steps)
        for n, (number, step) in product(range(vectors), steps):
            lines += self.by_four(number, step, f"__{n}", f"at{n}_", f"held{n}_")
        return lines

    def loaded(self, mark: str, at: str, names: list[str]) -> list[str]:
        """Statements that load four elements of each array that is not written here."""
        pairs = [(name, "channel" if name in self.channels else "base") for name in names if name not in self.results]
        return [f"{_four(name, mark)} = load4({name}, {start} + {at})" for name, start in pairs]

    def by_four(self, number: int, step: Step, mark: str, at: str, held: str) -> list[str]:
        """A step for four neighbouring elements: their values are added up, or written; where they are ``held``."""
        calls = [self.call(number, step, "{}" + f"{mark}{n}", "{}" + f"{mark}{n}") for n in range(4)]
        names = [f"a{n}" for n in range(step.count)] or list(step.writes)
        lines = [f"{', '.join(f'{one}{mark}{n}' for one in names)} = {call}" for n, call in enumerate(calls)]
        lines += [f"if {held}: store4({one}, base + {at}, {_four(one, mark)})" for one in step.writes]
        for total, term in zip(_sums(number, step), names, strict=False):
            a, b, c, d = (f"{term}{mark}{n}" for n in range(4))
            largest = step.by == "max"
            four = f"max(max({a}, {b}), max({c}, {d}))" if largest else f"(({a} + {b}) + ({c} + {d}))"
            value = f"({four} if {held} else {'LOWEST' if largest else '0.0'})"
            lines.append(f"{total} = max({total}, {value})" if largest else f"{total} += {value}")
        return lines

    def met(self, loop: list[int]) -> list[str]:
        """Statements that make a row's numbers of its lanes' sums."""
        lines: list[str] = []
        for number in loop:
            step = self.steps[number]
            lines += [f"{one} = {step.by}_of_row({one}, rows.lanes, shared)" for one in _sums(number, step)]
            lines += self.finished(number)
            stored = self.stored(step)
            lines += [*(["if lane_ == 0 and inside_:"] if stored else []), *("    " + line for line in stored)]
        return lines

    @property
    def loops(self) -> list[list[int]]:
        """Numbers of the steps that share a loop over a row: none asks for what another one of them gives."""
        found: list[list[int]] = []
        given: set[str] = set()
        for number, step in enumerate(self.steps):
            if not found or given & set(parameter_names(step.function)):
                found.append([])
                given = set()
            found[-1].append(number)
            given |= set(step.gives)
        return found

    def numbers_of_row(self, image: str = "row // rows.an_image") -> list[str]:
        """Statements that fetch the numbers of a row which other kernels gave."""
        lines = [f"row_{name} = {name}[row]" for name in self.read]
        if "valid" in self.special or self.totals:
            lines.append(f"row_valid = 1.0 if {image} < counters[1] else 0.0")
        if "images" in self.special:
            lines.append(f"row_images = {self.over}.dtype.type(counters[1])")
        return lines

    def call(self, number: int, step: Step, element: str, channel: str) -> str:
        """A call of a step's function for the element at j."""
        names = parameter_names(step.function)
        return f"f{number}({', '.join(self.place(name, step, element, channel) for name in names)})"

    def place(self, name: str, step: Step, element: str = "", channel: str = "") -> str:
        """How a parameter is found."""
        if name in step.channels:
            return channel.format(name)
        if name in step.numbers or name == "width":
            return name
        return f"row_{name}" if name in (*self.given, *SPECIAL) else element.format(name)

    def looped(self, numbers: list[int], over: str, element: str, channel: str) -> list[str]:
        """A loop over a row in which some functions are called: their values are added up or written."""
        steps = [(number, self.steps[number]) for number in numbers]
        lines = [*self.cleared(steps), f"for j in {over}:"]
        for number, step in steps:
            call, sums = self.call(number, step, element, channel), _sums(number, step)
            terms = [f"a{n}" for n in range(step.count)] or [element.format(one) for one in step.writes]
            add = "{0} = max({0}, {1})" if step.by == "max" else "{0} += {1}"
            added = [add.format(total, term) for total, term in zip(sums, terms, strict=False)]
            lines += [f"    {line}" for line in (f"{', '.join(terms)} = {call}", *added)]
        return lines

    def cleared(self, steps: list[tuple[int, Step]]) -> list[str]:
        """Statements that start the steps' sums."""
        return [f"{one} = {'LOWEST' if step.by == 'max' else '0.0'}" for n, step in steps for one in _sums(n, step)]

    def finished(self, number: int) -> list[str]:
        """The statement that makes a row's numbers of its sums; none for a function that writes."""
        step = self.steps[number]
        if not step.count:
            return []
        more = parameter_names(step.finish)[step.count :] if step.finish else ()
        given = [f"row_{name}" for name in step.gives] or [f"term{n}" for n in range(step.parts)]
        arguments = [*_sums(number, step), *(self.place(name, step) for name in more)]
        return [f"{', '.join(given)} = g{number}({', '.join(arguments)})"]

    def stored(self, step: Step) -> list[str]:
        """Statements that leave a row's numbers for other kernels."""
        lines = [f"{name}[row] = row_{name}" for name in step.gives if name in self.kept]
        first = next((one.first for one in self.totals if one.output == step.total), 0)
        term = f"terms[row * {self.terms} + {{}}] = term{{}} if row_valid > 0.0 else 0.0"
        return [*lines, *(term.format(first + n, n) for n in range(step.parts if step.total else 0))]

    def defined(self, backend: str, lead: list[str], lines: list[str]) -> Function:
        """The function of that text."""
        counters = ["counters"] if self.special or self.totals else []
        arrays = [*self.elements, *self.channels, *self.read, *self.writes]
        params = ", ".join([*lead, *dict.fromkeys([*arrays, *self.numbers, *counters])])
        name = f"{self.name}_{backend}"
        text = f"def {name}({params}, rows: Rows):\n" + "".join(f"    {line}\n" for line in lines)
        scope: dict[str, Any] = {f"f{n}": step.function for n, step in enumerate(self.steps)}
        scope |= {f"g{n}": step.finish or alone(step.count) for n, step in enumerate(self.steps) if step.count}
        named = ((one, step) for step in self.steps for one in (*step.writes, *step.gives, step.total))
        scope["writers"] = {name: step.function for name, step in named}
        scope["scalars"] = tuple(one for step in self.steps for one in (step.function, step.finish) if one is not None)
        function = self.made(name, text, scope)
        kinds = {"elements": (*self.elements, *self.results), "channels": tuple(self.channels)}
        function.__netspec_arrays__ = kinds  # type: ignore[attr-defined]
        return function

    def made(self, name: str, text: str, scope: dict[str, Any]) -> Function:
        """A kernel of the layer, of that text."""
        helpers = {"cuda": cuda, "Rows": Rows, "THREADS": THREADS, "WARPS": WARPS, "LOWEST": -math.inf}
        helpers |= {"block_sum": over_block, "sum_of_row": sum_of_row, "max_of_row": max_of_row}
        helpers |= {"load4": load4, "store4": store4, "quotient": quotient}
        kernel = defined(name, text, {**helpers, **scope, "__name__": self.module})
        kernel.__qualname__ = f"{self.owner}.{name}"
        return kernel


@dataclass(frozen=True)
class Total:
    """A sum of ``count`` terms, from ``first`` on, over all rows."""

    output: str
    first: int
    count: int
    program: Program

    def grid(self, t: Any) -> tuple[int]:
        """A block a term."""
        return (self.count,)

    @property
    def scope(self) -> dict[str, Any]:
        """The function whose terms are summed, which messages name."""
        return {"scalars": tuple(step.function for step in self.program.steps if step.total == self.output)}

    def cpu(self) -> Function:
        """The kernel for CPUs: rows in their order."""
        text = f"""
def {self.program.name}_{self.output}_cpu(start, stop, terms, {self.output}, rows: Rows):
    for n in range(start, stop):
        total = 0.0
        for row in range(rows.number):
            total += terms[row * {self.program.terms} + {self.first} + n]
        {self.output}[n] = total
"""
        return self.program.made(f"{self.program.name}_{self.output}_cpu", text, self.scope)

    def cuda(self) -> Function:
        """The kernel for GPUs: a block a term."""
        text = f"""
def {self.program.name}_{self.output}_cuda(terms, {self.output}, rows: Rows):
    shared = cuda.shared.array(THREADS, terms.dtype)
    n, thread = cuda.blockIdx.x, cuda.threadIdx.x
    total = 0.0
    for row in range(thread, rows.number, THREADS):
        total += terms[row * {self.program.terms} + {self.first} + n]
    total = block_sum(total, shared)
    if thread == 0:
        {self.output}[n] = total
"""
        return self.program.made(f"{self.program.name}_{self.output}_cuda", text, self.scope)


def _sums(number: int, step: Step) -> list[str]:
    """What a step's sums are called."""
    return [f"s{number}_{n}" for n in range(step.count)]


def _four(name: str, mark: str) -> str:
    """What four elements of an array are called."""
    return ", ".join(f"{name}{mark}{n}" for n in range(4))
