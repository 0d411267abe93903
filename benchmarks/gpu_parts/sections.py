"""What is measured, in order of value: what is compiled, whole iterations beside PyTorch's, steps, then the rest."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from gpu_parts import kernels, learning, libraries, machine, network, outside, questions
from gpu_parts.network import iterations as train
from gpu_parts.rivals import Mode

Found = dict[str, Any]
BEST, FAST = "bf16", ("bf16", "tf32")
"""Of what ``train.precision`` may be: what sections of one precision have, and those of tensor cores."""
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

    def left(share: float) -> float:
        return share * max(0.0, end - time.perf_counter())

    found = {
        **_card_sections(options),
        **_training_sections(options, done, left),
        **_other_sections(options, done, left),
    }
    return {name: one for name, one in found.items() if find_spec("torch") or not name.startswith("torch")}


def _card_sections(options: argparse.Namespace) -> dict[str, Section]:
    """What the card can do, and the network compiled."""
    check, one, sizes = options.check, options.one_device, (options.batch, options.large_batch)
    return {
        "machine": _here(machine.describe),
        "architecture": Section(lambda: questions.architecture(_card()), timed=False),
        "graphs": Section(lambda: questions.graphs(_card()), timed=False),
        # this compiles all that AlexNet needs, by all cores; and PyTorch compiles its modes meanwhile
        "memory": Section(lambda: network.memory_by_precision(one, sizes, FAST), 120.0, timed=False),
        **{
            f"right, {mode}": Section(partial(network.right, check, 16, mode), timed=False)
            for mode in network.PRECISIONS
        },
        "launches": Section(lambda: questions.launches(_card())),
        "ceilings": Section(lambda: questions.ceilings(_card())),
    }


def _training_sections(options: argparse.Namespace, done: Done, left: Callable[[float], float]) -> dict[str, Section]:
    """AlexNet's iterations and its steps, ours and PyTorch's."""
    one, two, batch, large = options.one_device, options.two_devices, options.batch, options.large_batch
    theirs, steps = rivals(options), partial(_steps_and_convolutions, options, done, left)
    return {
        **{f"training, {mode}": Section(partial(train, one, batch, "cuda:0", mode)) for mode in FAST},
        "training, two devices on one card": Section(lambda: train(two, batch, "cuda:0,cuda:0", BEST)),
        "torch, bf16": _rival(theirs["torch, bf16"]),
        "torch, products": Section(libraries.products, where="torch"),
        **steps(BEST),
        "training, large batch": Section(lambda: train(one, large, "cuda:0", BEST)),
        "torch, bf16, large batch": _rival(theirs["torch, bf16, large batch"]),
        "iteration": Section(lambda: questions.iteration(train(options.check, 16, "cuda", BEST, budget=2.0))),
        "torch, tf32": _rival(theirs["torch, tf32"]),
        "torch, bf16, large batch, shifted norm": _rival(theirs["torch, bf16, large batch, shifted norm"]),
        **steps("tf32"),
        "from JPEGs": Section(lambda: learning.from_jpegs(one, BEST), 120.0),
        "learns": Section(lambda: _learns(options, min(60.0, left(0.5))), 120.0),
    }


def _other_sections(options: argparse.Namespace, done: Done, left: Callable[[float], float]) -> dict[str, Section]:
    """What takes longer than it tells."""
    one, two, batch = options.one_device, options.two_devices, options.batch
    return {
        "kernels": Section(lambda: kernels.compile_all(_card(), within=left(0.4)), 180.0, timed=False),
        "tests": _here(lambda: outside.tests(min(90.0, left(0.5))), timed=False),
        "sanitizer": _here(lambda: outside.sanitizer(min(60.0, left(0.5))), timed=False),
        f"tuned, {BEST}": Section(lambda: network.tuned(one, batch, "cuda:0", BEST, min(60.0, left(0.4))), 150.0),
        "training, float32": Section(lambda: train(one, batch, "cuda:0", "float32", budget=2.0)),
        **_steps_and_convolutions(options, done, left, "float32"),
        "torch, bf16, not compiled": _rival(rivals(options)["torch, bf16, not compiled"]),
        "training, two devices, serial": Section(
            lambda: train(two, batch, "cuda:0,cuda:0", BEST, runner="serial", budget=2.0)
        ),
        "curves": Section(lambda: network.curves(options.check, 16), timed=False),
    }


def _steps_and_convolutions(
    options: argparse.Namespace, done: Done, left: Callable[[float], float], mode: str
) -> dict[str, Section]:
    """Our steps, and the same convolutions by cuDNN."""
    batch = options.batch

    def steps() -> Found:
        until = time.perf_counter() + left(0.15)
        return network.steps(options.one_device, batch, mode, _ceilings(done), until)

    return {
        f"steps, {mode}": Section(steps, 120.0),
        f"torch, convolutions, {mode}": Section(partial(libraries.convolutions, batch, mode), where="torch"),
    }


def _learns(options: argparse.Namespace, seconds: float) -> Found:
    name, target = ("cifar10-quick", 0.26) if options.data else (options.learns, options.target)
    return learning.to_an_error(name, target, seconds, options.data, BEST)


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
