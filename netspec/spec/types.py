"""The Spec: a network and its training as typed, immutable data; every node knows where it was written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from netspec._shown import Pictured
from netspec.contract.kernel import Backend
from netspec.data.settings import DataSpec as DataSpec
from netspec.errors import Mark
from netspec.units import many, significant

Split = Literal["channels", "batch", "none"]
Connect = Literal["same", "all"]
Precision = Literal["float32", "tf32", "bf16"]
ScaleRule = Literal["linear", "sqrt"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SCALE_RULES: tuple[ScaleRule, ...] = get_args(ScaleRule)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """A network input: its name, its shape without the batch axis and its dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mark: Mark = field(compare=False)


@dataclass(frozen=True, slots=True)
class Connection:
    """One entry of a layer's ``inputs``.

    ``source`` names a layer or a network input; ``output`` one of the layer's outputs (None: its first).
    ``same`` reads what lies on the reader's own device, ``all`` every device's part joined along channels.
    """

    source: str
    output: str | None
    connect: Connect
    mark: Mark = field(compare=False)


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Factors on the learning rate and on the weight decay of one parameter."""

    rate: float = 1.0
    decay: float = 1.0


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer: type, devices in order, connections and attributes (defaults filled in).

    ``of_classes`` names the attributes for which the spec says ``classes``: they follow the data. ``within`` has the
    frames that pictures draw round the layer, the outermost first.
    """

    name: str
    type: str
    devices: tuple[str, ...]
    split: Split
    inputs: tuple[Connection, ...]
    attrs: Mapping[str, Any]
    share: str | None
    multiplier: Multiplier
    param_multipliers: Mapping[str, Multiplier]
    mark: Mark = field(compare=False)
    marks: Mapping[str, Mark] = field(default_factory=dict, compare=False)
    of_classes: tuple[str, ...] = ()
    within: tuple[str, ...] = field(default=(), compare=False)

    def mark_of(self, key: str) -> Mark:
        """Where the key was written, or the layer itself where it was not."""
        return self.marks.get(key, self.mark)

    def multiplier_of(self, param: str) -> Multiplier:
        """The factors of one parameter: its own where ``params`` has them, else the layer's."""
        return self.param_multipliers.get(param, self.multiplier)


@dataclass(frozen=True, slots=True)
class CpuSpec:
    """Variants of CPU kernels that may be chosen where shapes allow it; those that are false are not."""

    winograd: bool = True

    @property
    def without(self) -> frozenset[str]:
        """Names of the variants that are switched off."""
        return frozenset(variant.name for variant in fields(self) if not getattr(self, variant.name))


@dataclass(frozen=True, slots=True)
class EmaSpec:
    """Exponential moving averages of the parameters: a <- a + (1 - decay) (w - a) after each update.

    With ``warmup`` the decay of the n-th update is at most (1 + n) / (10 + n), so that the first values are soon
    forgotten. ``evaluate``: evaluation and prediction use the averages, not the parameters themselves.
    """

    decay: float = 0.9998
    warmup: bool = True
    evaluate: bool = True

    def share(self, updates: int) -> float:
        """What an average takes on of its distance to the parameter after so many updates and one more: 1 - decay."""
        return 1 - (min(self.decay, (1 + updates) / (10 + updates)) if self.warmup else self.decay)


@dataclass(frozen=True, slots=True)
class StopSpec:
    """Early stopping: a run ends when ``patience`` epochs in turn brought no validation error that is a new best.

    It counts as one where it is better by more than ``min_delta``; the error is the first of ``train.metrics``, else
    the top-1 error, a share of the images, or the loss of a network without errors. Settings are Keras's.
    """

    patience: int = 5
    min_delta: float = 0.0

    def is_over(self, errors: Sequence[float]) -> bool:
        """Whether the run ends after these errors, one an epoch, oldest first."""
        best, waited = math.inf, 0
        for error in errors:
            best, waited = (error, 0) if error < best - self.min_delta else (best, waited + 1)
        return waited >= self.patience


@dataclass(frozen=True, slots=True)
class InitSpec:
    """The run or checkpoint whose parameters a new run starts from; without a path, ``--init-from`` has to name it.

    ``layers`` says by pattern what becomes of a layer: "keep" demands that all of it is there, "new" leaves it to its
    initialiser; the others take what is there by the same name and of the same shape.
    """

    path: str | None = None
    layers: Mapping[str, Literal["keep", "new"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScaleSpec:
    """The learning rate follows the batch: the solver's is that of batches of ``base`` images.

    A batch k times as large has k times the rate (``linear``, Krizhevsky 2014), or sqrt(k) times (``sqrt``). Where that
    is more, the rate rises evenly to it from the solver's own within the first ``warmup`` epochs, a step each iteration
    (Goyal et al. 2017).
    """

    base: int
    rule: ScaleRule = "linear"
    warmup: float = 0.0

    def factor(self, batch: int) -> float:
        """On the rate of batches of so many images, after the warm-up."""
        times = batch / self.base
        return times if self.rule == "linear" else math.sqrt(times)

    def at(self, batch: int, iteration: int, iterations_per_epoch: int) -> float:
        """The factor after so many iterations."""
        full, warm = self.factor(batch), self.warmup * iterations_per_epoch
        return 1.0 + (full - 1.0) * iteration / warm if full > 1.0 and iteration < warm else full


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """How the network is trained and run; ``batch`` counts images over all devices.

    ``precision`` is that of the factors of products, and with bf16 of what is stored where devices can, see
    netspec.planning.storage. ``fuse``: elementwise layers run in the step before where they can, see
    netspec.program.fuse. ``freeze`` has patterns of layers, or of parameters, that stay as they are. ``clip_norm``
    bounds the norm of the whole gradient. ``scale``: the learning rate follows the batch. ``metrics`` has the settings
    of what is measured in validation; the best checkpoint, plateau schedules and early stopping go by the first.
    """

    batch: int = 128
    epochs: int = 90
    iterations: int | None = None
    seed: int = 0
    precision: Precision = "tf32"
    fuse: bool = True
    freeze: tuple[str, ...] = ()
    solver: Mapping[str, Any] = field(default_factory=lambda: {"type": "sgd"})
    clip_norm: float | None = None
    cpu: CpuSpec = CpuSpec()
    schedule: Mapping[str, Any] = field(default_factory=lambda: {"type": "constant"})
    scale: ScaleSpec | None = None
    ema: EmaSpec | None = None
    early_stopping: StopSpec | None = None
    init_from: InitSpec | None = None
    metrics: tuple[Mapping[str, Any], ...] = ()

    @property
    def scaled_rate(self) -> str:
        """For people, what ``scale`` makes of the solver's learning rate; empty where there is none."""
        if self.scale is None:
            return ""
        base, rate = self.scale.base, float(self.solver["learning_rate"])
        factor, warmup = self.scale.factor(self.batch), self.scale.warmup
        risen = f", warming up to epoch {warmup:g}" if factor > 1.0 and warmup else ""
        return (
            f"learning rate {significant(rate, 3)} is that of batches of {base:,}: {significant(rate * factor, 3)} for "
            f"{self.batch:,} (train.scale: {self.scale.rule}){risen}"
        )

    @property
    def without(self) -> dict[Backend, frozenset[str]]:
        """Variants of kernels that are switched off, by kind of device; a name stands for all that begin with it."""
        return {"cpu": self.cpu.without, "cuda": frozenset(PRECISIONS) - {self.precision}}


@dataclass(frozen=True, slots=True)
class Spec(Pictured):
    """A whole specification, resolved: what ``extends``, ``defaults`` and ``--set`` did is already in it.

    Two specs are equal when they describe the same network, training and data, wherever they were written.
    ``replicas`` is how many parts of equal size each training batch is cut into. ``marks`` says where by path, such as
    ``train.solver.learning_rate``.
    """

    name: str
    devices: tuple[str, ...]
    inputs: Mapping[str, InputSpec]
    layers: tuple[LayerSpec, ...]
    train: TrainSpec
    data: DataSpec
    mark: Mark = field(compare=False)
    marks: Mapping[str, Mark] = field(default_factory=dict, compare=False)
    replicas: int = 1

    @property
    def replica_batch(self) -> int:
        """Images that go through the network at once: a replica's share of a training batch, and an evaluated one."""
        return self.train.batch // self.replicas

    def __repr__(self) -> str:
        return f"Spec({self.name}: {many(len(self.layers), 'layer')} on {', '.join(self.devices)})"

    def layer(self, name: str) -> LayerSpec:
        """The layer of that name; KeyError where there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)
