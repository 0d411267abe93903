"""Fences (PTX ISA 9.7.13.4): between threads no-ops, as they run in lockstep; for asynchronous units they count."""

from __future__ import annotations

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.instructions.logic import nothing
from netspec.emulate.ptx.operands import Address
from netspec.emulate.ptx.syntax_tree import Instruction


def fence(ins: Instruction) -> Bind:
    """``fence...``: of proxies, of mbarrier's initialisation, or between threads."""
    words = [word.partition("::")[0] for word in ins.modifiers]
    if words[0] == "mbarrier_init":
        return _init
    if words[0] != "proxy":
        return nothing(ins)
    if words[1] == "async":
        return _async
    if words[1] == "tensormap" and "acquire" in words:
        return _acquire(ins)
    raise ValueError(ins.opcode)


def _init(frame: Frame) -> Steps:
    def run() -> None:
        frame.mbarriers.fence()

    return run, run


def _async(frame: Frame) -> Steps:
    def run() -> None:
        frame.mbarriers.fence()
        if frame.kernel.asynchronous:
            frame.products.fence_proxy()

    return run, run


def _acquire(ins: Instruction) -> Bind:
    """``fence.proxy.tensormap::generic.acquire.scope [map], 128``"""
    place, _ = ins.operands
    assert isinstance(place, Address)

    def bind(frame: Frame) -> Steps:
        addresses = frame.addresses(place)

        def run() -> None:
            blocks = frame.block[frame.active()].tolist()
            frame.bulk_copies.acquired.update(zip(blocks, addresses().tolist(), strict=True))

        return run, run

    return bind
