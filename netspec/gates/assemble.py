"""The compile gate: every CUDA kernel compiled to PTX and assembled by ptxas, without a GPU or a driver.

What each takes of the machine (registers, shared memory, stack, spills) is compared with a table that is checked in::

    python -m netspec.gates.assemble TABLE           # compare
    python -m netspec.gates.assemble TABLE --write   # make the table anew

The table has a seal for each kernel: a hash of its source, its types, its targets, the compilers and the figures. Where
it holds, the kernel has been assembled to these very figures, and is not assembled again but with ``--all``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from netspec.gates.signatures import Signature, cuda_signatures, function_of
from netspec.kernels.cache import cache_root, kept_text
from netspec.kernels.epilogue import epilogue_of
from netspec.kernels.specialise import prepare
from netspec.kernels.toolkit import compiler
from netspec.machine.environment import cores
from netspec.planning.storage import STORING
from netspec.registry import layer_types

Resources = Mapping[str, int]
Report = dict[str, dict[str, dict[str, int]]]
"""Kernel and its argument types -> target -> resources."""
Target = tuple[int | str, ...]
"""A compute capability, behind it "a" for the instructions that no other has: (9, 0, "a")."""
Job = tuple[Signature, Target]
PLAIN: tuple[Target, ...] = ((7, 5), (8, 0), (9, 0))
FAST: tuple[Target, ...] = ((8, 0), (9, 0))
"""What plain kernels and others must assemble for."""
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")

_PRODUCT = {
    "instruction of tensor cores": r"\bHG?MMA\.",
    "128-bit loads of shared memory": r"\bLDS(\.\w+)*\.128\b",
    "128-bit copies from global to shared memory": r"\bLDGSTS(\.\w+)*\.128\b",
    "128-bit stores to global memory": r"\bSTG(\.\w+)*\.128\b",
}
_PIPELINE = {
    "instruction of tensor cores": r"\bHGMMA\.",
    "copies by the tensor memory accelerator": r"\bUTMALDG\.",
    "stores of 64 bits and more to global memory": r"\bSTG(\.\w+)*\.(64|128)\b",
}
_SERIAL = re.compile(r"Potential Performance Loss.*|setmaxnreg.* ignored.*|warpgroup\.\w+ is injected.*")
"""What ptxas says where products wait for each other, or where registers stay as they are."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the gate found: resources by kernel, and messages of ptxas or the compiler where they refused."""

    resources: Report
    failures: tuple[str, ...]


def find_ptxas() -> str | None:
    """The assembler: from the pip packages of CUDA 13 or 12, an installed toolkit or PATH; None where there is none."""
    roots = [Path(entry) / "nvidia" / part / "bin" for entry in sys.path for part in ("cu13", "cuda_nvcc", "cu12")]
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    for place in (*roots, Path(home) / "bin"):
        if (place / "ptxas").is_file():
            return str(place / "ptxas")
    return shutil.which("ptxas")


def find_disassembler() -> str | None:
    """nvdisasm, beside ptxas or on PATH; None where there is none."""
    ptxas = find_ptxas()
    beside = Path(ptxas).parent / "nvdisasm" if ptxas else None
    return str(beside) if beside and beside.is_file() else shutil.which("nvdisasm")


@cache
def toolchain() -> str:
    """Versions that decide the code: the table's figures hold for these."""
    from netspec.kernels.numba_cuda import versions

    ptxas = find_ptxas()
    text = subprocess.run([ptxas, "--version"], capture_output=True, text=True, check=True).stdout if ptxas else ""
    found = re.search(r"V(\d+\.\d+\.\d+)", text)
    return f"{versions()}, ptxas {found[1] if found else 'none'}"


def assemble(text: str, target: str) -> Resources:
    """Resources of a kernel as ptxas reports them; RuntimeError with its message where it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        return _read(_assembled(text, target, Path(folder) / "kernel.cubin"))


def _assembled(text: str, target: str, cubin: Path) -> str:
    ptxas = find_ptxas()
    assert ptxas is not None
    source = cubin.with_suffix(".ptx")
    source.write_text(text)
    command = [ptxas, f"-arch={target}", "-v", str(source), "-o", str(cubin)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    if serial := _SERIAL.search(done.stderr):
        raise RuntimeError(serial[0])
    return done.stderr


def machine_code(text: str, target: str) -> str:
    """A kernel's instructions as nvdisasm lists them; RuntimeError where that is missing or something refuses."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        _assembled(text, target, cubin)
        return _listed(cubin)


def _listed(cubin: Path) -> str:
    disassembler = find_disassembler()
    if disassembler is None:
        raise RuntimeError("nvdisasm is not installed beside ptxas: pip install 'netspec[gates]'")
    done = subprocess.run([disassembler, str(cubin)], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def check_machine_code(listing: str, pipeline: bool = False) -> None:
    """RuntimeError where a product of matrices does not run on tensor cores or does not use wide accesses.

    ``pipeline``: its operands are copied by the tensor memory accelerator.
    """
    for what, pattern in (_PIPELINE if pipeline else _PRODUCT).items():
        if not re.search(pattern, listing):
            raise RuntimeError(f"the machine code has no {what}")


def _read(words: str) -> Resources:
    used = _USED.findall(words)
    stack = _STACK.findall(words)
    return {
        "registers": max((int(registers) for registers, _ in used), default=0),
        "shared": max((int(shared or 0) for _, shared in used), default=0),
        "stack": sum(int(frame) for frame, _, _ in stack),
        "spills": sum(int(stores) + int(loads) for _, stores, loads in stack),
    }


def gate(
    signatures: Sequence[Signature], workers: int | None = None, table: Mapping[str, Any] | None = None
) -> Outcome:
    """Compile and assemble all of them in a process pool; failures are reported, not raised. Cached on disk.

    ``table``: kernels whose seal in it holds are taken from it.
    """
    sealed = {one.name: one for one in signatures if table is not None and _seal_holds(one, table)}
    jobs = [(one, target) for one in signatures if one.name not in sealed for target in targets(one)]
    records = {job: record_of(job) for job in jobs}
    work = {record: job for job, record in records.items()}  # layers that share a kernel share its record
    known = {record: json.loads(record.read_text()) for record in work if record.is_file()}
    missing = [record for record in work if record not in known]
    resources: Report = {name: table["kernels"][name] for name in sealed} if table is not None else {}
    failures = []
    count = workers or min(cores(), 8)
    each = max(1, len(missing) // (4 * count))  # neighbours share helpers, which a process compiles once
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        known.update(zip(missing, pool.map(_job, map(work.__getitem__, missing), chunksize=each), strict=True))
    for (one, target), record in records.items():
        answer = known[record]
        if isinstance(answer, str):
            failures.append(f"{one.name} for {_arch(target)}: {answer}")
        else:
            resources.setdefault(one.name, {})[_arch(target)] = dict(answer)
    return Outcome(resources, tuple(failures))


def targets(signature: Signature) -> tuple[Target, ...]:
    """What a kernel must assemble for."""
    layer = layer_types().get(signature.kernel.partition(":")[0])
    alone = layer.needs.get(signature.variant) if layer is not None else None
    if alone is not None:
        return ((*alone, "a"),)
    if any(text.startswith("bfloat16") for text in signature.types):
        return (STORING,)
    return PLAIN if signature.variant == "plain" else FAST


def _job(job: Job) -> Resources | str:
    try:
        return resources_of(job)
    except Exception as error:  # whatever the compiler raises is the finding
        return f"{type(error).__name__}: {str(error).strip()[-1500:]}"


def resources_of(job: Job) -> Resources:
    """Registers, shared memory, stack and spills of a kernel, in bytes but for registers; cached on disk.

    Raises what the compiler raises, and RuntimeError where ptxas refuses or the machine code is not as it should be.
    """
    found: Resources = json.loads(kept_text(record_of(job), lambda: json.dumps(_resources(job))))
    return found


def _resources(job: Job) -> Resources:
    one, capability = job
    text = ptx_of(one, capability)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        found = _read(_assembled(text, _arch(capability), cubin))
        if "mma.sync" in text or "wgmma.mma" in text:
            pipeline = "cp.async.bulk.tensor" in text
            if pipeline and found["stack"]:
                raise RuntimeError(f"{found['stack']} bytes of local memory: arrays must lie in registers")
            check_machine_code(kept_text(listing_of(job), lambda: _listed(cubin)), pipeline)
    return found


def disassembled(signature: Signature, capability: Target) -> str:
    """The disassembly of a kernel's machine code; cached on disk.

    Raises RuntimeError where the assembler refuses.
    """
    job = (signature, capability)
    return kept_text(listing_of(job), lambda: machine_code(ptx_of(*job), _arch(capability)))


def record_of(job: Job) -> Path:
    """The cache file of a kernel's resources: its name is a hash of source, types, target and compilers."""
    return cache_root() / "ptx" / f"{_content(job)}.json"


def listing_of(job: Job) -> Path:
    """The cache file of a kernel's disassembly."""
    return cache_root() / "sass" / f"{_content(job)}.txt"


def _content(job: Job) -> str:
    from netspec.kernels.stored_bfloat16 import SOURCE

    one, capability = job
    source = prepare(function_of(one.kernel), "float32", _epilogue(one)).digest
    bound = f", blocks of {one.bound} threads at most" if one.bound else ""
    content = f"{source}\n{one.types}\n{capability}{bound}\n{toolchain()}\n{compiler()}\n{SOURCE}"
    return blake2b(content.encode(), digest_size=16).hexdigest()


def seal_of(signature: Signature, resources: Mapping[str, Resources]) -> str:
    """The seal of a kernel and of its figures by target, see the module."""
    contents = [_content((signature, target)) for target in targets(signature)]
    return blake2b(json.dumps([contents, resources], sort_keys=True).encode(), digest_size=8).hexdigest()


def _seal_holds(one: Signature, table: Mapping[str, Any]) -> bool:
    figures = table["kernels"].get(one.name, {})
    whole = figures.keys() == set(map(_arch, targets(one)))
    return whole and bool(table.get("seals", {}).get(one.name) == seal_of(one, figures))


def ptx_of(signature: Signature, capability: Target) -> str:
    """PTX of one kernel for those argument types."""
    from netspec.kernels import cuda

    types = tuple(type_named(text) for text in signature.types)
    function, epilogue = function_of(signature.kernel), _epilogue(signature)
    return cuda.ptx_of(function, "float32", epilogue, types, capability, signature.bound)


def _epilogue(signature: Signature) -> Callable[..., Any] | None:
    return epilogue_of([(name, {}) for name in signature.then])


def type_named(text: str) -> Any:
    """The compiler's type of an argument as a signature writes it."""
    from netspec.kernels.numba_cuda import array_type, scalar_type, tuple_type

    match = re.fullmatch(r"(\w+)\[(\d)([CA])\]", text)
    if match:
        return array_type(match[1], int(match[2]), match[3])
    if "*" not in text:
        return scalar_type(text)
    runs = (run.split("*") for run in text.split("+"))
    return tuple_type(*(name for name, count in runs for _ in range(int(count))))


def _arch(capability: Target) -> str:
    return f"sm_{''.join(map(str, capability))}"


def differences(outcome: Outcome, table: Mapping[str, Any]) -> list[str]:
    """What is wrong, a line each: failures, spills, figures that are not the table's, entries too many or too few.

    With other versions than the table's, registers may differ by a fifth and 8.
    """
    exact = table["toolchain"] == toolchain()
    lines = [*outcome.failures]
    expected: Report = table["kernels"]
    for name, targets in outcome.resources.items():
        for target, got in targets.items():
            if got["spills"]:
                lines.append(f"{name} for {target} spills {got['spills']} bytes of registers")
            lines += _compared(f"{name} for {target}", got, expected.get(name, {}).get(target), exact)
    lines += [
        f"{name} is in the table, but there is no such kernel" for name in expected if name not in outcome.resources
    ]
    return lines


def _compared(label: str, got: Resources, want: Resources | None, exact: bool) -> Iterator[str]:
    if want is None:
        yield f"{label} is not in the table"
    elif exact and dict(got) != dict(want):
        yield f"{label} takes {got}, the table says {want}"
    elif got["registers"] > want["registers"] * 1.2 + 8 or got["shared"] > want["shared"]:
        yield f"{label} takes {got}, the table (of other versions) says {want}"


def _dump(table: Mapping[str, Any]) -> str:
    """JSON with a line for each kernel and target, so that changes read well."""
    kernels = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"   {json.dumps(target)}: {json.dumps(got)}" for target, got in sorted(targets.items()))
        + "\n  }"
        for name, targets in sorted(table["kernels"].items())
    ]
    seals = [f"  {json.dumps(name)}: {json.dumps(seal)}" for name, seal in sorted(table["seals"].items())]
    head = json.dumps(table["toolchain"])
    parts = (f' "{key}": {{\n' + ",\n".join(lines) + "\n }" for key, lines in (("kernels", kernels), ("seals", seals)))
    return f'{{\n "toolchain": {head},\n' + ",\n".join(parts) + "\n}\n"


def main(arguments: Sequence[str]) -> int:
    """The command; 0 where all is as the table says, 2 where ptxas is missing."""
    if not arguments or not {*arguments[1:]} <= {"--all", "--write"}:
        print(__doc__)
        return 2
    if find_ptxas() is None:
        print("ptxas is not installed: pip install 'netspec[gates]'")
        return 2
    path, signatures = Path(arguments[0]), cuda_signatures()
    table = json.loads(path.read_text()) if path.exists() else {"toolchain": "", "kernels": {}, "seals": {}}
    outcome = gate(signatures, table=None if "--all" in arguments else table)
    if "--write" in arguments:
        found = outcome.resources
        seals = {one.name: seal_of(one, found[one.name]) for one in signatures if one.name in found}
        path.write_text(_dump({"toolchain": toolchain(), "kernels": found, "seals": seals}))
        lines = [*outcome.failures]
    else:
        lines = differences(outcome, table)
    print("\n".join(lines) or f"{len(outcome.resources)} kernels compile and assemble ({toolchain()})")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
