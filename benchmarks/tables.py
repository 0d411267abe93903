"""Tables of results, as Markdown: what benchmarks print and benchmarks/README.md holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

Result = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a table."""
    names = list(head)
    return [_line(names), "|" + "---|" * len(names), *map(_line, rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def measured(result: Result, *more: str) -> list[str]:
    """The line that says when and on what."""
    found = dict(result["machine"])
    machine = f"{found.pop('cores', '?')} cores of {found.pop('cpu', 'an unknown CPU')}"
    if features := found.pop("features", ()):
        machine += f" ({', '.join(features)})"
    versions = [f"{name} {version}" for name, version in found.items()]
    return [f"Measured {', '.join((result.get('date', '2026-11-21'), machine, *versions, *more))}.", ""]


def alexnet(result: Result) -> list[str]:
    """AlexNet against its rivals."""
    arguments, rows, rates = result["arguments"], result["rows"], result.get("rates")
    training = arguments["what"] == "training"
    share = "share of sgemm" if training else "share of reading the weights"
    shares = any("share" in row for row in rows)
    ratios = [row.get("ratios") or {rows[0]["system"]: [row["ratio"]]} for row in rows]
    faster = [f"{name} is faster by" for name in ratios[0]]
    cpu = ["CPU s, least"] if "cpu_seconds" in rows[0] else []
    head = ["system", "img/s, median", "best", *faster, *cpu, *([share] if shares else []), "peak memory"]
    lines = [
        [
            row["system"],
            f"{row['images_per_second']:.1f}",
            f"{row['best']:.1f}",
            *map(_of_rounds, by_name.values()),
            *([f"{row['cpu_seconds']:.3g}"] if cpu else []),
            *([f"{row['share']:.0%}"] if shares else []),
            f"{row['peak_bytes'] / 2**30:.2f} GiB",
        ]
        for row, by_name in zip(rows, ratios, strict=True)
    ]
    threads = f"{arguments['threads']} thread{'s' if arguments['threads'] > 1 else ''}"
    more = [f"batch {arguments['batch']}", threads, f"{arguments['rounds']} rounds of {arguments['iterations']}"]
    if rates:
        more += [f"load average {result['load']:.1f} before"] if "load" in result else []
        more += [f"sgemm {rates['flops'] / 1e9:.0f} GFLOP/s", f"reading {rates['read'] / 1e9:.1f} GB/s"]
    return [*measured(result, *more), *table(head, lines)]


def _of_rounds(ratios: list[float]) -> str:
    """The median, and between what the rounds lay."""
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def start(result: Result) -> list[str]:
    """First iterations."""
    head = [
        "system",
        "compiled before",
        "first iteration less a steady one",
        "from the process's start",
        "a steady one",
    ]
    rows = [
        [
            row["system"],
            "yes" if row["cached"] else "no",
            f"{row['session']:.1f} s",
            f"{row['process']:.1f} s",
            f"{row['steady']:.2f} s",
        ]
        for row in result["rows"]
    ]
    return [*measured(result, f"batch {result['arguments']['batch']}"), *table(head, rows)]


def scaling(result: Result) -> list[str]:
    """A team of one against a team of two."""
    head = ["steps", "1 thread, ms", "2 threads, ms", "efficiency", "serial share"]
    rows = [
        [
            row["kind"],
            f"{row['one'] * 1e3:.1f}",
            f"{row['two'] * 1e3:.1f}",
            f"{row['one'] / row['two'] / 2:.0%}",
            f"{max(0.0, 2 * row['two'] / row['one'] - 1):.1%}",
        ]
        for row in result["rows"]
    ]
    return [*measured(result, f"batch {result['batch']}", f"{result['rounds']} rounds"), *table(head, rows)]


def processes(result: Result) -> list[str]:
    """Several processes against one."""
    head = ["", "img/s", "of the first", "by CPU time", "exchange, ms", "additions of as many numbers"]
    rows = [
        [
            row["setting"],
            f"{row['images_per_second']:.1f}",
            _of_rounds(row["ratios"]),
            f"{row['cpu_ratio']:.2f}",
            f"{row['exchange'] * 1e3:.0f}" if "exchange" in row else "",
            _of_rounds(row["additions"]) if "additions" in row else "",
        ]
        for row in result["rows"]
    ]
    for name, seconds in result["starts"].items():
        told = f"{statistics.median(seconds):.1f} s ({min(seconds):.1f}-{max(seconds):.1f})"
        rows.append([f"start, {name} process{'es' if name != 'one' else ''}", told, "", "", "", ""])
    more = [f"{result['rounds']} rounds", f"load average {result['load']:.1f} before"]
    return [*measured(result, *more), *table(head, rows)]


def layers(result: Result) -> list[str]:
    """Layer by layer."""
    head = ["layer", "pass", "kernels", "netspec", "PyTorch", "faster by", "bound", "share of the bound"]
    rows = [
        [
            row["layer"],
            row["pass"],
            row["variant"],
            f"{row['seconds'] * 1e3:.1f}",
            f"{row['torch'] * 1e3:.1f}" if row["torch"] else "",
            f"{row['torch'] / row['seconds']:.2f}" if row["torch"] else "",
            f"{row['bound'] * 1e3:.1f}",
            f"{row['bound'] / row['seconds']:.0%}",
        ]
        for row in result["rows"]
    ]
    rates = result.get("rates")
    more = [f"{rates['flops'] / 1e9:.0f} GFLOP/s", f"{rates['copy'] / 1e9:.0f} GB/s copied"] if rates else []
    return [*measured(result, f"batch {result['batch']}", "one thread", *more), *table(head, rows)]


def data(result: Result) -> list[str]:
    """Reading images."""
    head = ["reader", "img per CPU second, median", "best", "faster than the loop by", "img/s by the clock"]
    rows = [
        [
            row["reader"],
            f"{row['per_cpu_second']:,.0f}",
            f"{row['best']:,.0f}",
            f"{row['faster_by']:.2f}",
            f"{row['per_second']:,.0f}",
        ]
        for row in result["rows"]
    ]
    return table(head, rows)


def views(result: Result) -> list[str]:
    """Evaluation with ten views."""
    head = ["network", "images", "img/s, ten evaluations with one view", "img/s, one with ten views", "faster by"]
    rows = [
        [
            row["spec"],
            f"{row['images']:,}",
            f"{row['ten_times_one']:.1f}",
            f"{row['ten_views']:.1f}",
            f"{row['ratio']:.2f}",
        ]
        for row in result["rows"]
    ]
    machine = f"{result['cores']} cores of {result['cpu']}"
    measured_on = f"Measured {result['date']}, {machine}, {result['images']}, {result['rounds']} rounds."
    return [measured_on, "", *table(head, rows)]


def checkpoint(result: Result) -> list[str]:
    """What a checkpoint costs."""
    return table(
        ["", "seconds"],
        [
            ["an iteration, by itself", f"{result['iteration_seconds']:.2f}"],
            [
                "training stands still for a checkpoint: median, longest",
                f"{result['stall_seconds']:.3f}, {result['longest_stall_seconds']:.3f}",
            ],
            [
                "a copy made while training stands still, for comparison",
                f"{result['copy_standing_still_seconds']:.2f}",
            ],
            ["from the start to the file on disk, synced", f"{result['on_disk_after_seconds']:.2f}"],
            ["training loses altogether, over the iterations meanwhile", f"{result['slower_by_seconds']:.2f}"],
        ],
    )


def prepare(result: Result) -> list[str]:
    """Preparing a set."""
    head = ["way", "img/s by the clock", "img per CPU second", "faster than the first by"]
    rows = [
        [row["way"], f"{row['per_second']:,.0f}", f"{row['per_cpu_second']:,.0f}", f"{row['faster_by']:.2f}"]
        for row in result["rows"]
    ]
    memory = [
        [f"peak memory of its largest process, {int(images):,} tiny images", f"{peak / 2**20:,.0f} MiB", "", ""]
        for images, peak in result["peaks"].items()
    ]
    versions = {name: version for name, version in result["versions"].items() if name != "torch"}
    shown = {"date": result["date"], "machine": {"cores": result["cores"], "cpu": result["cpu"], **versions}}
    more = (result["images"], f"{result['workers']} processes", f"{result['rounds']} rounds")
    return [*measured(shown, *more), *table(head, [*rows, *memory])]
