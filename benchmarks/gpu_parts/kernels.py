"""Every kernel compiled, linked and loaded on the card at hand, by all cores; later sections find them in the cache."""

from __future__ import annotations

import time
from typing import Any

from netspec.device.base import Device
from netspec.errors import NetspecError
from netspec.gates import assemble as ptx
from netspec.gates.signatures import Signature, cuda_signatures, function_of
from netspec.kernels import numba_cuda
from netspec.kernels import parallel as together
from netspec.kernels.cuda import compile_cuda
from netspec.kernels.epilogue import epilogue_of
from netspec.machine.environment import cores


def compile_all(device: Device, card: int = 0, within: float = 75.0) -> dict[str, Any]:
    """How long it took, which kernels are refused, and which keep registers in memory (spills, arrays by index).

    What is not compiled after ``within`` seconds is left to whoever needs it.
    """
    assert device.kind == "cuda"  # it is open: its context is there
    began = time.perf_counter()
    works = {one.name: _work(one, card) for one in cuda_signatures() if _is_for(one, card)}
    missing = [work for work in works.values() if work.is_missing()]
    together.share(missing, cores(), within)
    late, rows = 0, []
    for name, work in works.items():
        if time.perf_counter() - began > within and work.is_missing():
            late += 1
            continue
        row = _loaded(name, work)
        if "refused" in row or row["local_bytes"]:
            rows.append(row)
    refused = sum("refused" in row for row in rows)
    seconds = time.perf_counter() - began
    answer = f"{len(works)} kernels, {len(missing)} of them compiled in {seconds:.0f} s on {cores()} cores"
    told = f"{refused} refused, {len(rows) - refused} with local memory" + (f", {late} left out" if late else "")
    counts = {"kernels": len(works), "compiled": len(missing), "left_out": late}
    return {"answer": f"{answer}: {told}", **counts, "rows": rows}


def _work(one: Signature, card: int) -> together.Work:
    tails: tuple[tuple[str, dict[str, Any]], ...] = tuple((name, {}) for name in one.then)
    dispatcher = compile_cuda(function_of(one.kernel), "float32", epilogue_of(tails), one.bound)
    types = tuple(ptx.type_named(text) for text in one.types)
    return together.Work(one.kernel, "float32", dispatcher, types, card, tails, one.bound)


def _is_for(one: Signature, card: int) -> bool:
    """Whether a card of this kind can run it."""
    own = tuple(numba_cuda.cuda.gpus[card].compute_capability)
    return any(own == target[:2] if len(target) > 2 else own >= target for target in ptx.targets(one))


def _loaded(name: str, work: together.Work) -> dict[str, Any]:
    try:
        work.compile()
        with numba_cuda.cuda.gpus[work.card]:
            kernel = work.dispatcher.overloads[work.signature]
            return {
                "kernel": name,
                "registers": kernel.regs_per_thread,
                "local_bytes": kernel.local_mem_per_thread,
                "shared_bytes": kernel.shared_mem_per_block,
            }
    except NetspecError as error:
        return {"kernel": name, "refused": str(error)[-600:]}
    except Exception as error:
        return {"kernel": name, "refused": f"{type(error).__name__}: {error}"[-600:]}
