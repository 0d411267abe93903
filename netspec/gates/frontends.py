"""How far another front end goes: every CUDA kernel through numba-cuda and numba-cuda-mlir, and both through ptxas.

Each is compiled for the newest card that it is for, without a GPU or a driver::

    python -m netspec.gates.frontends            # all of them
    python -m netspec.gates.frontends lrn pool   # those with one of these words in their names
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from statistics import median

from netspec.gates.assemble import Job, find_disassembler, find_ptxas, resources_of, targets
from netspec.gates.sass import instructions
from netspec.gates.signatures import Signature, cuda_signatures, function_of
from netspec.kernels.frontend import FRONTENDS, VARIABLE
from netspec.machine.environment import cores

Figures = tuple[int, int]
"""Registers and instructions."""
Answers = Mapping[Job, Figures | str]
"""What came of each kernel: figures, or the words of a refusal."""
_PLACE = re.compile(r"^.*?cannot be compiled for GPUs[\w -]*: ")
_NAMES = re.compile(
    r"(?<=lowering getitem).*|'\$[^']*', defined at.*|\"-\":\d+:\d+: |(?<=memory)_\d+|, \dd, [CA](?=\))"
)
"""What tells one refusal from another of its kind: variables, places, numbers and axes."""


def answers(signatures: Sequence[Signature], frontend: str, workers: int | None = None) -> Answers:
    """What a front end makes of each kernel; one that several layers share is compiled once."""
    jobs = [(one, targets(one)[-1]) for one in signatures]
    alike = {_content(job): job for job in jobs}
    count = workers or min(cores(), 8)
    with tempfile.TemporaryDirectory() as folder:  # where the successor leaves a file for each refusal
        told = (frontend, folder)
        with ProcessPoolExecutor(count, get_context("spawn"), initializer=_choose, initargs=told) as pool:
            given = pool.map(_answer, alike.values(), chunksize=8)
            found = dict(zip(alike, given, strict=True))
    return {job: found[_content(job)] for job in jobs}


def _content(job: Job) -> tuple[object, ...]:
    one, target = job
    return function_of(one.kernel), one.types, one.then, one.bound, target


def _choose(frontend: str, folder: str) -> None:
    os.environ[VARIABLE], tempfile.tempdir = frontend, folder
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the successor prints modules that it finds wrong


def _answer(job: Job) -> Figures | str:
    try:
        return resources_of(job)["registers"], instructions(*job).total()
    except Exception as error:  # whatever the compiler or the assembler raises is the finding
        return f"{type(error).__name__}: {error}"


def reason(words: str) -> str:
    """The kind of a refusal: its first line without the place, and without names of the compiler's own."""
    return _NAMES.sub("", _PLACE.sub("", words.partition("\n")[0])).strip(" '")


def table(before: Answers, after: Answers) -> Iterator[str]:
    """What the successor refuses, grouped by reason, and what it takes, with figures of both, a line each."""
    refused = defaultdict(list)
    for job, answer in after.items():
        if isinstance(answer, str):
            refused[reason(answer)].append(job[0].name)
    taken = {job: answer for job, answer in after.items() if not isinstance(answer, str)}
    both = {job: (old, new) for job, new in taken.items() if not isinstance(old := before[job], str)}
    yield f"{len(taken)} of {len(after)} kernels taken by {FRONTENDS[1]}, {len(both)} of them by both"
    for why, names in sorted(refused.items(), key=lambda one: -len(one[1])):
        yield f"{len(names):4} refused: {why}; for one {names[0]}"
    if both:
        yield "registers and instructions by both"
        for job, (old, new) in both.items():
            yield f"{old[0]:4} -> {new[0]:3} {old[1]:6} -> {new[1]:5} {job[0].name}"
        shares = [[new[k] / old[k] for old, new in both.values()] for k in (0, 1)]
        yield "median, smallest and largest share: " + ", ".join(
            f"{what} {median(each):.2f}, {min(each):.2f}, {max(each):.2f}"
            for what, each in zip(("registers", "instructions"), shares, strict=True)
        )


def obstacle() -> str | None:
    """What this needs and is not installed, with the remedy; None where all is there."""
    if find_spec("numba_cuda_mlir") is None:
        return f"{FRONTENDS[1]} is not installed: pip install {FRONTENDS[1]}"
    if find_ptxas() is None or find_disassembler() is None:
        return "ptxas or nvdisasm is not installed: pip install 'netspec[gates]'"
    return None


def main(words: Sequence[str]) -> int:
    """The command; 2 where something is missing."""
    if missing := obstacle():
        print(missing)
        return 2
    wanted = [one for one in cuda_signatures() if not words or any(word in one.name for word in words)]
    before, after = (answers(wanted, frontend) for frontend in FRONTENDS)
    print("\n".join(table(before, after)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
