"""Ours beside PyTorch's, from what other sections have found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Done = Mapping[str, Mapping[str, Any]]


def all_of(done: Done, network: str) -> dict[str, dict[str, Any]]:
    """Every comparison for which there are figures."""
    found = {"against PyTorch": training(done, network), "against cuDNN": convolutions(done)}
    return {name: section for name, section in found.items() if section["answer"]}


def convolutions(done: Done) -> dict[str, Any]:
    """AlexNet's convolutions, ours (with what is fused into them) and cuDNN's; the share is cuDNN's time by ours."""
    theirs = {
        (row["layer"], section["precision"]): row
        for name, section in done.items()
        for row in section.get("rows", ())
        if name.startswith("torch, convolutions")
    }
    ours = [
        (section["precision"], row)
        for name, section in done.items()
        for row in section.get("rows", ())
        if name.startswith("steps")
    ]
    rows = [pair for precision, row in ours if (pair := _pair(precision, row, theirs))]
    rows.sort(key=lambda row: (row["precision"], row["layer"], row["pass"]))
    return {"answer": "; ".join(_ranges(rows)), "rows": rows}


def _pair(
    precision: str, row: Mapping[str, Any], theirs: Mapping[tuple[str, str], Mapping[str, float]]
) -> dict[str, Any] | None:
    """A step of ours and cuDNN's time for the same; None where there is none."""
    layer, _, direction = row["step"].partition("@")[0].partition(".")
    rival = theirs.get((layer, precision), {}).get(f"{direction}_ms")
    if rival is None:
        return None
    who = {"layer": layer, "pass": direction, "precision": precision, "kernels": row["variant"]}
    return {**who, "ms": row["ms"], "cudnn_ms": rival, "share_of_cudnn": rival / row["ms"]}


def _ranges(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for precision in sorted({row["precision"] for row in rows}):
        shares = [row["share_of_cudnn"] for row in rows if row["precision"] == precision]
        yield f"{precision}: {min(shares):.2f} to {max(shares):.2f} times as fast as cuDNN"


def training(done: Done, network: str) -> dict[str, Any]:
    """The best of ours and of PyTorch's by batch size and precision."""
    ours = _best(section for name, section in done.items() if section.get("network") == network)
    theirs = _best(section for name, section in done.items() if name.startswith("torch"))
    rows, answers = [], []
    for (batch, precision), best in sorted(ours.items()):
        rival = theirs.get((batch, precision))
        rows.append({"batch": batch, "precision": precision, "netspec_img_s": best, "torch_best_img_s": rival})
        if rival:
            rows[-1]["ratio"] = best / rival
            told = f"{precision}, batch {batch}: {best:,.0f} images a second"
            answers.append(f"{told}, {best / rival:.2f} times PyTorch's best")
    return {"answer": "; ".join(answers), "rows": rows}


def _best(sections: Iterable[Mapping[str, Any]]) -> dict[tuple[int, str], float]:
    """Images a second by batch size and precision."""
    found: dict[tuple[int, str], float] = {}
    for section in sections:
        if "images_per_second" in section:
            key = section["batch"], section["precision"]
            found[key] = max(found.get(key, 0.0), section["images_per_second"])
    return found
