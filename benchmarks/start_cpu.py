"""How long AlexNet takes until its first iteration is done, less a steady one: netspec and PyTorch, a process each.

    python benchmarks/start_cpu.py --json benchmarks/results/start-cpu.json
    python benchmarks/start_cpu.py --quick                # netspec alone

The first process of a system finds an empty cache of compiled code, later ones what it has left there. Memory is
touched once before each process: a virtual machine gets its memory from the host when it is first used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tables
from alexnet_cpu import System, machine

SYSTEMS = ("netspec", "netspec one device", "torch eager", "torch compiled, fused SGD")
CACHES = ("NETSPEC_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")


def start(name: str, cache: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds from the session's making and from the process's start, less a steady iteration's; and that one's."""
    np.ones(3 << 30, np.uint8)
    begun = time.perf_counter()
    system = System(name, arguments, **{variable: str(cache / variable) for variable in CACHES})
    process = time.perf_counter() - begun
    for _ in range(arguments.iterations):
        system.measure(1)
    system.close()
    steady = statistics.median(system.times)
    session = system.start["setup"] + system.start["first"]
    return {"session": session - steady, "process": process - steady, "steady": steady}


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Two rows a system: without and with compiled code at hand."""
    rows = []
    for name in arguments.systems:
        with tempfile.TemporaryDirectory() as folder:
            found = []
            for number in range(1 + arguments.rounds):
                found.append(start(name, Path(folder), arguments))
                print(f"{name}, process {number + 1}: {found[-1]['session']:.1f} s", file=sys.stderr, flush=True)
        cold, *cached = found
        rows.append({"system": name, "cached": False, **cold})
        middle = {key: statistics.median(one[key] for one in cached) for key in cold}
        rows.append({"system": name, "cached": True, **middle})
    return rows


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes that find compiled code (default 3)")
    parser.add_argument("--iterations", type=int, default=3, help="steady ones (default 3)")
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--quick", action="store_true", help="netspec alone, one process with compiled code")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.what = "training"
    if arguments.quick:
        arguments.systems, arguments.rounds = ("netspec",), 1
    rows = measure(arguments)
    result = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "arguments": vars(arguments), "rows": rows}
    print("\n".join(tables.start(result)))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
