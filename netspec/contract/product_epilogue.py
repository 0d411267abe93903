"""An author's function at the end of a matrix product: in the product's kernels on GPUs, a pass behind it on CPUs.

``ProductEpilogue`` is what ``epilogue=`` and ``derivative=`` of netspec.plugin.matrix_product describe.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from netspec.contract.elementwise import scalar_kernels
from netspec.contract.kernel import PHASES, Kernel, Lazy, Phase, device, epilogue, finish, put_others
from netspec.contract.parameter_names import parameter_names
from netspec.contract.source_place import wrong

_load, _store = (Lazy("netspec.kernels.epilogue", name) for name in ("operand4", "store_operand4"))


@dataclass(frozen=True)
class ProductEpilogue:
    """y = function(u, ...) of a product's element u, bias added, and of elements of other arrays at its place.

    ``derivative`` gives the gradients of u and of these arrays, and may ask for dy, y, u and these arrays.
    """

    function: Any
    derivative: Any
    numbers: Collection[str]
    names: Mapping[str, str]
    """What the layer calls the product's y and the gradient of it."""

    def __post_init__(self) -> None:
        function, derivative = (getattr(one, "__name__", str(one)) for one in (self.function, self.derivative))
        if not callable(self.function) or not callable(self.derivative):
            raise TypeError(f"matrix_product takes functions as epilogue and derivative, not {function}, {derivative}")
        for one in (self.function, self.derivative):
            one.__netspec_scalar__ = True
        if not parameter_names(self.function) or self.argument in self.numbers:
            raise wrong(self.function, f"{function}: its first parameter is the product's element")
        known = {self.argument, "dy", self.names["y"], self.names["dy"], *self.others, *self.numbers}
        if unknown := [name for name in parameter_names(self.derivative) if name not in known]:
            raise wrong(self.derivative, f"{derivative}: {', '.join(unknown)} is none of {', '.join(sorted(known))}")

    @property
    def argument(self) -> str:
        """What the author calls the product's element, and the saved tensor of them, if there is one."""
        return parameter_names(self.function)[0]

    @property
    def others(self) -> list[str]:
        """Further arrays that are read, each as large as y."""
        return [name for name in parameter_names(self.function)[1:] if name not in self.numbers]

    @property
    def is_kept(self) -> bool:
        """Whether forward saves what the derivative asks for: the product's elements."""
        return self.argument in parameter_names(self.derivative)

    @property
    def slope(self) -> str:
        """What their gradient is called: workspace, which the products of the backward pass read."""
        return f"to_{self.argument}"

    @property
    def phases(self) -> list[tuple[tuple[Phase, ...], bool]]:
        """Phases whose kernels differ, and whether these save the product's elements."""
        return [(("train",), True), (("eval", "predict"), False)] if self.is_kept else [(PHASES, False)]

    def in_kernel(self, kernel: Kernel, phases: tuple[Phase, ...], saves: bool) -> Kernel:
        """A GPU's kernel, which stores through ``finish``, with the function in its place."""
        reads, code = parameter_names(self.function)[1:], self._saving if saves else self._plain
        function = kernel.function
        function.__netspec_operands__ = (*reads, *((self.argument,) if saves else ()))  # type: ignore[attr-defined]
        function.__netspec_hooks__ = code  # type: ignore[attr-defined]
        writes = (*kernel.writes, self.argument) if saves else kernel.writes
        return replace(kernel, function=function, writes=writes, phases=phases)

    @cached_property
    def behind(self) -> list[Kernel]:
        """On CPUs, for each of ``phases``: the pass behind a product that has written its elements to be saved, or to
        y."""
        y, reads, found = self.names["y"], parameter_names(self.function)[1:], []
        for phases, saves in self.phases:
            given = (self.argument if saves else y, *reads)
            made = self._pass("forward", self.function, given, (y,), f"_{phases[0]}")
            found.append(replace(made[0], phases=phases))
        return found

    @cached_property
    def before(self) -> tuple[Kernel, ...]:
        """The pass of the derivative, for CPUs and GPUs."""
        asked = [self.names["dy"] if name == "dy" else name for name in parameter_names(self.derivative)]
        writes = (self.slope, *(f"d_{name}" for name in self.others))
        return self._pass("backward", self.derivative, tuple(asked), writes, "")

    def _pass(self, direction: Any, function: Any, reads: Any, writes: Any, mark: str) -> tuple[Kernel, ...]:
        name, owner = f"{self.names['y']}_{function.__name__}{mark}", (function.__module__, "")
        return scalar_kernels(owner, direction, function, writes, self.numbers, writes[0], name, reads)

    @cached_property
    def _plain(self) -> dict[Any, Any]:
        return {finish: self._finish(False)}

    @cached_property
    def _saving(self) -> dict[Any, Any]:
        place = len(parameter_names(self.function)) - 1
        text = f"""
def put_others(values, index, count, aligned, operands):
    store(operands[{place}], index, count, aligned, values[4], values[5], values[6], values[7])
"""
        return {finish: self._finish(True), put_others: _made("put_others", text, {"store": _store})}

    def _finish(self, saves: bool) -> Any:
        """Generated code: loads of four elements of each array, and four calls of the author's function."""
        names = parameter_names(self.function)[1:]
        lines = ["def finish(a, b, c, d, index, count, aligned, operands):"]
        lines += self._loads(names)
        results = []
        for place, value in enumerate("abcd"):
            words = [value, *(f"p{n}" if name in self.numbers else f"p{n}_{place}" for n, name in enumerate(names))]
            results.append(f"epilogue(_netspec_cast(function({', '.join(words)})))")
        lines.append(f"    return {', '.join([*results, *('abcd' if saves else '')])}")
        return _made("finish", "\n".join(lines), {"function": self.function, "load": _load, "epilogue": epilogue})

    def _loads(self, names: Collection[str]) -> Iterator[str]:
        for n, name in enumerate(names):
            if name in self.numbers:
                yield f"    p{n} = operands[{n}]"
            else:
                four = ", ".join(f"p{n}_{place}" for place in range(4))
                yield f"    {four} = load(operands[{n}], index, count, aligned)"


def _made(name: str, text: str, scope: dict[str, Any]) -> Any:
    found: dict[str, Any] = {**scope, "__name__": __name__}
    exec(text, found)  # the text is made of this module's words only
    function = device(found[name])
    function.__netspec_source__ = text  # type: ignore[attr-defined]
    return function
