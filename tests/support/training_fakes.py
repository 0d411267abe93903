"""A session and batches for tests of what stands around them: softmax regression in numpy, images from a counter."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from netspec.runners.execution.session import Outcome
from netspec.spec import loads

PIXELS, CLASSES = 12, 3

SPEC = """
netspec: 1
name: fake
devices: [one]
inputs:
  image: {shape: [2, 2, 3]}
  label: {dtype: int32}
layers:
  - {name: fc, type: dense, inputs: image, units: 3}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train: {batch: 4, epochs: 3, sgd: {learning_rate: 0.5}}
"""


def fake_spec(*sets: str):
    return loads(SPEC, "fake.yaml", sets)


@dataclass
class FakeBatches:
    """Random images whose brightest channel is their class; epoch e of the training order is keyed by (seed, e)."""

    images: int
    batch: int = 4
    seed: int = 0
    training: bool = True
    held: int = 0
    broken: tuple = ()
    taken: list = field(default_factory=list)

    @property
    def split(self) -> range:
        return range(self.images)

    @property
    def batches(self) -> int:
        return self.images // self.batch if self.training else -(-self.images // self.batch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[SimpleNamespace]:
        rows = np.arange(self.images)
        if self.training:
            rows = np.random.default_rng((self.seed, epoch)).permutation(rows)
        for number in range(start, self.batches):
            self.held += 1
            self.taken.append((epoch, number))
            yield self._batch(rows[number * self.batch : (number + 1) * self.batch])

    def _batch(self, rows: np.ndarray) -> SimpleNamespace:
        image, label = np.zeros((self.batch, 2, 2, 3), np.uint8), np.zeros(self.batch, np.int32)
        for place, row in enumerate(rows):
            rng = np.random.default_rng(int(row))
            image[place], label[place] = rng.integers(0, 120, (2, 2, 3)), row % CLASSES
            image[place, :, :, row % CLASSES] += 60
        return SimpleNamespace(
            image=image, label=label, beside={}, mixed={}, named={}, valid=len(rows), waited=0.0, release=self._release
        )

    def _release(self) -> None:
        self.held -= 1


class FakeSession:
    """Softmax regression with momentum and, keyed by the iteration as dropout is, noise on its inputs.

    With ``ahead`` it works as GPUs do: what was staged is worked on between start and finish, when nobody may look.
    """

    ahead = False
    most = 1
    """How many iterations may be under way."""

    def __init__(
        self, bad_at: int | None = None, overflow_at: int | None = None, bad_evaluation_at: int | None = None
    ) -> None:
        self.staged: dict | None = None
        self.flying: list[tuple] = []
        self.deepest = 0
        self.weight = np.zeros((PIXELS, CLASSES), np.float32)
        self.momentum = np.zeros_like(self.weight)
        self.bad_at, self.overflow_at, self.bad_evaluation_at = bad_at, overflow_at, bad_evaluation_at
        self.seen: list[tuple[int, float]] = []
        self.store = self

    def depth(self) -> int:
        return self.most

    def stage(self, arrays, phase="train") -> None:
        assert self.ahead or not self.flying
        assert len(self.flying) < 2, "both sets of buffers are in use"
        self.staged = {name: array.copy() for name, array in arrays.items()}

    def start(self, iteration, valid, rates, phase="train") -> None:
        assert len(self.flying) < self.most and self.staged is not None
        self.flying.append((phase, self.staged, iteration, valid, rates))
        self.staged, self.deepest = None, max(self.deepest, len(self.flying))

    def finish(self, phase="train") -> Outcome:
        begun, arrays, iteration, valid, rates = self.flying.pop(0)
        assert begun == phase
        if phase == "eval":
            return self.evaluate(arrays, valid)
        return self.train(arrays, iteration, valid, rates)

    def tensors(self) -> dict[str, np.ndarray]:
        assert not self.flying, "read while an iteration is under way"
        return {"fc.weight": self.weight.copy(), "fc.weight.momentum": self.momentum.copy()}

    def load(self, tensors: dict[str, np.ndarray], strict: bool = True) -> None:
        self.weight, self.momentum = tensors["fc.weight"].copy(), tensors["fc.weight.momentum"].copy()

    def train(self, arrays, iteration, valid, rates) -> Outcome:
        self.seen.append((iteration, rates.learning_rate))
        x = arrays["image"][:valid].reshape(valid, -1).astype(np.float32) / 255
        x += np.random.default_rng(iteration).normal(0, 0.01, x.shape).astype(np.float32)
        probs, report = self._judge(x, arrays["label"][:valid])
        if iteration == self.bad_at:
            return Outcome({"loss": {**report, "loss": float("nan")}}, False)
        gradient = x.T @ (probs - np.eye(CLASSES, dtype=np.float32)[arrays["label"][:valid]]) / valid
        self.momentum = np.float32(rates.numbers[0]) * self.momentum - np.float32(rates.learning_rate) * gradient
        self.weight = self.weight + self.momentum
        return Outcome({"loss": report}, True, overflowed=("fc.weight",) if iteration == self.overflow_at else ())

    def evaluate(self, arrays, valid) -> Outcome:
        x = arrays["image"][:valid].reshape(valid, -1).astype(np.float32) / 255
        report = self._judge(x, arrays["label"][:valid])[1]
        if len(self.seen) == self.bad_evaluation_at:
            report["loss"] = float("nan")
        return Outcome({"loss": report}, True)

    def _judge(self, x: np.ndarray, label: np.ndarray):
        scores = x @ self.weight
        probs = np.exp(scores - scores.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
        own = probs[np.arange(len(label)), label]
        report = {"loss": float(-np.log(own).sum()), "top1": float((probs.argmax(axis=1) != label).sum())}
        return probs, {**report, "count": float(len(label)), "weight": 1.0}
