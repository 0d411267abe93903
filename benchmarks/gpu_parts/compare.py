"""Ours beside PyTorch's, from what other sections have found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Done = Mapping[str, Mapping[str, Any]]


def convolutions(done: Done) -> dict[str, Any]:
    """AlexNet's convolutions, ours (with what is fused into them) and cuDNN's; the share is cuDNN's time by ours."""
    theirs = {(row["layer"], row["mode"]): row for row in done.get("torch, convolutions", {}).get("rows", ())}
    rows = []
    for name, section in done.items():
        if not name.startswith("steps"):
            continue
        precision = section.get("precision") or "float32"
        for row in section.get("rows", ()):
            layer, _, direction = row["step"].partition("@")[0].partition(".")
            rival = theirs.get((layer, precision), {}).get(f"{direction}_ms")
            if rival is not None:
                rows.append(
                    {
                        "layer": layer,
                        "pass": direction,
                        "precision": precision,
                        "kernels": row["variant"],
                        "ms": row["ms"],
                        "cudnn_ms": rival,
                        "share_of_cudnn": rival / row["ms"],
                    }
                )
    return {"rows": sorted(rows, key=lambda row: (row["layer"], row["pass"], row["precision"]))}


def training(done: Done, network: str) -> dict[str, Any]:
    """The best of ours and of PyTorch's by batch size."""
    rows, answers = [], []
    ours: dict[int, float] = {}
    for section in done.values():
        if "images_per_second" in section and section["network"] == network:
            ours[section["batch"]] = max(ours.get(section["batch"], 0.0), section["images_per_second"])
    for batch, best in sorted(ours.items()):
        rivals = [section for name, section in done.items() if name.startswith("torch, training")]
        theirs = next((one["best_images_per_second"] for one in rivals if one.get("batch") == batch), None)
        rows.append({"batch": batch, "netspec_img_s": best, "torch_best_img_s": theirs})
        if theirs:
            rows[-1]["ratio"] = best / theirs
            answers.append(f"batch {batch}: {best:,.0f} images a second, {best / theirs:.2f} times PyTorch's best")
    return {"answer": "; ".join(answers) or "nothing to compare", "rows": rows}
