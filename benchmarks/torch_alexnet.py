"""The two-tower AlexNet in PyTorch, as people write it: groups for the towers, the paper's layers and solver.

No command of its own: alexnet_cpu.py, and gpu.py on a GPU, measure it beside netspec.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import nn

MODES: dict[str, dict[str, Any]] = {
    "torch eager": {},
    "torch channels_last": {"channels_last": True},
    "torch fused SGD": {"fused": True},
    "torch compiled, fused SGD": {"fused": True, "compiled": True},
    "torch bf16 eager": {"bf16": "autocast"},
    "torch bf16 channels_last, fused SGD": {"bf16": "autocast", "channels_last": True, "fused": True},
    "torch bf16 compiled, fused SGD": {"bf16": "autocast", "fused": True, "compiled": True},
    "torch bf16 weights, compiled": {"bf16": "weights", "compiled": True},
}
"""bf16: autocast is PyTorch's mixed precision; weights converted once are how a net is run, not trained."""


def alexnet(classes: int = 1000) -> nn.Sequential:
    """60,965,224 parameters for 1000 classes; images of 227 x 227, which is 224 with the overhang padded."""
    norm = lambda: nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # noqa: E731  (torch divides alpha by 5)
    return nn.Sequential(
        *(nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(inplace=True), norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        nn.Linear(4096, classes),
    )


class TorchTrainer:
    """Trains on one random batch; ``step`` is a whole iteration."""

    def __init__(
        self,
        batch: int,
        *,
        channels_last: bool = False,
        fused: bool = False,
        compiled: bool = False,
        bf16: Literal["autocast", "weights"] | None = None,
    ) -> None:
        torch.manual_seed(0)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        dtype = torch.bfloat16 if bf16 == "weights" else torch.float32
        self.net = alexnet().to(memory_format=layout, dtype=dtype)
        self.images = torch.randn(batch, 3, 227, 227).to(memory_format=layout, dtype=dtype)
        self.labels = torch.randint(0, 1000, (batch,))
        self.solver = torch.optim.SGD(self.net.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4, fused=fused)
        self.forward = torch.compile(self.net) if compiled else self.net
        self.autocast = bf16 == "autocast"

    def precision(self) -> Any:
        """What the forward pass and the loss run in."""
        return torch.autocast("cpu", torch.bfloat16) if self.autocast else nullcontext()

    def step(self) -> None:
        """Forward, backward, update."""
        self.solver.zero_grad(set_to_none=True)
        with self.precision():
            loss = nn.functional.cross_entropy(self.forward(self.images), self.labels)
        loss.backward()
        self.solver.step()

    def infer(self) -> None:
        """Forward alone, without gradients."""
        with torch.no_grad(), self.precision():
            self.forward(self.images)


if __name__ == "__main__":
    print(__doc__)
