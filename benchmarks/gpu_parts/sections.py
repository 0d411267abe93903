"""What is measured, in order of value: what is compiled, whole iterations beside PyTorch's, steps, then the rest."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from gpu_parts import kernels, learning, libraries, machine, network, outside, questions
from gpu_parts.network import iterations as train
from gpu_parts.rivals import Mode

Found = dict[str, Any]
Done = Mapping[str, Mapping[str, Any]]


class Section(NamedTuple):
    """What is measured; where: in a worker of ours, in PyTorch's, or here, what touches no card in its own process."""

    measure: Callable[[], Found]
    seconds: float = 90.0
    """The longest that its worker is waited for."""
    where: Literal["ours", "torch", "here", "rival"] = "ours"
    timed: bool = True
    """Whether it needs the card for itself: PyTorch compiles its modes meanwhile otherwise."""


def rivals(options: argparse.Namespace) -> dict[str, Mode]:
    """PyTorch's modes by section, the best known first."""
    best, small, large = "compiled graph", options.batch, options.large_batch
    return {
        "torch, bf16": Mode(f"bf16 {best}", small),
        "torch, bf16, large batch": Mode(f"bf16 {best}", large),
        "torch, tf32": Mode(f"tf32 {best}", small),
        "torch, bf16, large batch, shifted norm": Mode(f"bf16 {best} shifted", large),
        "torch, bf16, not compiled": Mode("bf16 graph", small),
    }


def sections(options: argparse.Namespace, done: Done, end: float) -> dict[str, Section]:
    """By name; a later section may use what an earlier one found. ``end``: of the whole run, by the clock."""
    found: dict[str, Section] = {}
    for part in (_card_sections, _training_sections, _other_sections):
        found.update(part(options, done, lambda share: share * max(0.0, end - time.perf_counter())))
    return {name: one for name, one in found.items() if find_spec("torch") or not name.startswith("torch")}


def _card_sections(options: argparse.Namespace, done: Done, left: Callable[[float], float]) -> dict[str, Section]:
    """What the card can do, and the network compiled."""
    check, one, sizes = options.check, options.one_device, (options.batch, options.large_batch)
    modes = network.precisions(one)
    fast = _fast(modes)
    return {
        "machine": _here(machine.describe),
        "architecture": Section(lambda: questions.architecture(_card()), timed=False),
        "graphs": Section(lambda: questions.graphs(_card()), timed=False),
        # this compiles all that AlexNet needs, by all cores; and PyTorch compiles its modes meanwhile
        "memory": Section(lambda: network.memory_by_precision(one, sizes, fast), 120.0, timed=False),
        **{_named("right", mode): Section(partial(network.right, check, 16, mode), timed=False) for mode in modes},
        "launches": Section(lambda: questions.launches(_card())),
        "ceilings": Section(lambda: questions.ceilings(_card())),
    }


def _training_sections(options: argparse.Namespace, done: Done, left: Callable[[float], float]) -> dict[str, Section]:
    """AlexNet's iterations and its steps, ours and PyTorch's."""
    one, two, batch, large = options.one_device, options.two_devices, options.batch, options.large_batch
    modes, theirs = network.precisions(one), rivals(options)
    first, fast = modes[-1], _fast(modes)

    def steps(mode: str | None) -> Found:
        return network.steps(one, batch, mode, _ceilings(done), time.perf_counter() + left(0.15))

    return {
        **{_named("training", mode): Section(partial(train, one, batch, "cuda:0", mode)) for mode in fast},
        "training, two devices on one card": Section(lambda: train(two, batch, "cuda:0,cuda:0", first)),
        "torch, bf16": _rival(theirs["torch, bf16"]),
        "torch, products": Section(libraries.products, where="torch"),
        **_steps_and_convolutions(batch, fast[:1], steps),
        "training, large batch": Section(lambda: train(one, large, "cuda:0", first)),
        "torch, bf16, large batch": _rival(theirs["torch, bf16, large batch"]),
        "iteration": Section(lambda: questions.iteration(train(options.check, 16, "cuda", first, budget=2.0))),
        "torch, tf32": _rival(theirs["torch, tf32"]),
        "torch, bf16, large batch, shifted norm": _rival(theirs["torch, bf16, large batch, shifted norm"]),
        **_steps_and_convolutions(batch, fast[1:], steps),
        "learns": Section(lambda: _learns(options, first, min(60.0, left(0.5))), 120.0),
    }


def _other_sections(options: argparse.Namespace, done: Done, left: Callable[[float], float]) -> dict[str, Section]:
    """What takes longer than it tells."""
    one, two, batch = options.one_device, options.two_devices, options.batch
    modes, theirs = network.precisions(one), rivals(options)
    first = modes[-1]

    def steps(mode: str | None) -> Found:
        return network.steps(one, batch, mode, _ceilings(done), time.perf_counter() + left(0.15))

    return {
        "kernels": Section(lambda: kernels.compile_all(_card(), within=left(0.4)), 180.0, timed=False),
        "tests": _here(lambda: outside.tests(min(90.0, left(0.5))), timed=False),
        "sanitizer": _here(lambda: outside.sanitizer(min(60.0, left(0.5))), timed=False),
        _named("tuned", first): Section(
            lambda: network.tuned(one, batch, "cuda:0", first, min(60.0, left(0.4))), 150.0
        ),
        "training, float32": Section(lambda: train(one, batch, "cuda:0", "float32", budget=2.0)),
        **_steps_and_convolutions(batch, [mode for mode in modes if mode == "float32"], steps),
        "torch, bf16, not compiled": _rival(theirs["torch, bf16, not compiled"]),
        "training, two devices, serial": Section(
            lambda: train(two, batch, "cuda:0,cuda:0", first, runner="serial", budget=2.0)
        ),
        "curves": Section(lambda: network.curves(options.check, 16), timed=False),
    }


def _fast(modes: Sequence[str | None]) -> list[str | None]:
    return [mode for mode in reversed(modes) if mode != "float32"]


def _steps_and_convolutions(
    batch: int, modes: list[str | None], steps: Callable[[str | None], Found]
) -> dict[str, Section]:
    """Our steps, and the same convolutions by cuDNN."""

    def both() -> Iterator[tuple[str, Section]]:
        for mode in modes:
            yield _named("steps", mode), Section(partial(steps, mode), 120.0)
            theirs = partial(libraries.convolutions, batch, mode or "float32")
            yield _named("torch, convolutions", mode), Section(theirs, where="torch")

    return dict(both())


def _learns(options: argparse.Namespace, precision: str | None, seconds: float) -> Found:
    name, target = ("cifar10-quick", 0.26) if options.data else (options.learns, options.target)
    return learning.to_an_error(name, target, seconds, options.data, precision)


def _ceilings(done: Done) -> network.Ceilings:
    found = {key.removesuffix("_TFLOPs"): value for key, value in done.get("torch, products", {}).items()}
    products = {key: value for key, value in found.items() if key in network.PRECISIONS}
    return network.Ceilings(done.get("ceilings", {}).get("copy_GBs"), products)


def _here(measure: Callable[[], Found], timed: bool = False) -> Section:
    return Section(measure, where="here", timed=timed)


def _rival(mode: Mode) -> Section:
    return Section(lambda: {"mode": mode.words}, 150.0, where="rival", timed=False)


@cache
def _card() -> Any:
    from netspec.device.binding import open_device

    return open_device("cuda:0")


def _named(section: str, mode: str | None) -> str:
    return section if mode is None else f"{section}, {mode}"
