"""Put what benchmarks/results/*.json hold into the tables of benchmarks/README.md.

    python benchmarks/report.py              # tables from results
    python benchmarks/report.py --measure    # run every benchmark first, about 40 minutes: make bench
    python benchmarks/report.py --measure --quick        # print short runs of each instead, about 10 minutes

README.md is prose with sections between ``<!-- name -->`` and ``<!-- /name -->``. In a section the line that begins
with "Measured" and the first table are replaced; all else stays as it was written.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tables

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"


class Section(NamedTuple):
    """A section of README.md: its results, how they become lines, and the command that measures them."""

    results: str
    lines: Callable[[dict[str, Any]], list[str]]
    command: str
    quick: str


_ALEXNET = "alexnet_cpu.py --what"
SECTIONS = {
    "training": Section(
        "alexnet-cpu-training", tables.alexnet, f"{_ALEXNET} training --rounds 5 --iterations 2", "--quick"
    ),
    "training-1": Section(
        "alexnet-cpu-training-1-thread",
        tables.alexnet,
        f"{_ALEXNET} training --threads 1 --systems netspec 'torch eager' 'torch compiled, fused SGD'",
        "--quick --iterations 1",
    ),
    "inference-32": Section(
        "alexnet-cpu-inference-32",
        tables.alexnet,
        f"{_ALEXNET} inference --batch 32 --rounds 7 --iterations 5",
        "--quick",
    ),
    "inference-1": Section(
        "alexnet-cpu-inference-1",
        tables.alexnet,
        f"{_ALEXNET} inference --batch 1 --rounds 9 --iterations 20",
        "--quick",
    ),
    "start": Section("start-cpu", tables.start, "start_cpu.py", "--quick"),
    "scaling": Section("scaling-cpu", tables.scaling, "scaling_cpu.py", "--quick"),
    "processes": Section("processes-cpu", tables.processes, "processes_cpu.py", "--quick"),
    "layers": Section("layers-cpu", tables.layers, "layers_cpu.py --batch 64 --rounds 5", "--batch 16 --rounds 2"),
    "data": Section("data", tables.data, "data.py", "--rounds 1"),
    "views": Section("views", tables.views, "views.py", "--rounds 1"),
    "prepare": Section("prepare", tables.prepare, "prepare.py", "--images 1000 --rounds 1 --tiny 2000 20000"),
    "checkpoint": Section("checkpoint", tables.checkpoint, "checkpoint.py", "--batch 16 --rounds 1"),
}


def measure(section: Section, quick: bool) -> None:
    """Run the benchmark; a quick run only prints."""
    results = HERE / "results" / f"{section.results}.json"
    more = section.quick if quick else f"--json {results}"
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", f"{section.command} {more}")]
    print("==", *words, flush=True)
    subprocess.run([sys.executable, str(HERE / words[0]), *words[1:]], check=True)


def filled(text: str, name: str, lines: list[str]) -> str:
    """README.md with a section's generated lines replaced."""
    section = re.search(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", text, re.DOTALL)
    if section is None:
        raise SystemExit(f"{README} has no section <!-- {name} -->")
    note, rows = [line for line in lines if line.startswith("Measured")], [line for line in lines if line[:1] == "|"]
    body = section[2]
    if note:
        body = re.sub(r"^Measured\b.*$", lambda _: note[0], body, count=1, flags=re.MULTILINE)
    body = re.sub(r"(?:^\|.*\n)+", lambda _: "\n".join(rows) + "\n", body, count=1, flags=re.MULTILINE)
    return text[: section.start(2)] + body + text[section.end(2) :]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="run the benchmarks first")
    parser.add_argument("--quick", action="store_true", help="short runs, which are printed and not kept")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=tuple(SECTIONS), help="these sections")
    arguments = parser.parse_args()
    for name in arguments.only if arguments.measure else ():
        measure(SECTIONS[name], arguments.quick)
    if arguments.quick:
        return
    text = README.read_text()
    for name in arguments.only:
        results = HERE / "results" / f"{SECTIONS[name].results}.json"
        if results.is_file():
            text = filled(text, name, SECTIONS[name].lines(json.loads(results.read_text())))
        else:
            print(f"{name}: {results.name} is not there yet; the section stays as it is", file=sys.stderr)
    README.write_text(text)


if __name__ == "__main__":
    main()
