"""The contract suite of composites: what one becomes can be planned; its layers have suites of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from netspec.check.compare import Failed
from netspec.check.declared import check_docs
from netspec.check.setting_schema import check_schema
from netspec.contract.composite import Composite
from netspec.contract.kernel import PHASES
from netspec.errors import SpecError
from netspec.planning import build
from netspec.spec import canonical, loads
from netspec.spec.types import Spec
from netspec.spec.writing import flow


@dataclass(frozen=True)
class CompositeSubject:
    """A registered composite."""

    name: str
    cls: type[Composite]

    def spec(self, attrs: Mapping[str, Any]) -> Spec:
        """A network of one use, with a classifier above it. Raises Failed where it is none."""
        shapes = zip(self.cls.inputs, self.cls.shapes, strict=True)
        inputs = {name: {"shape": list(shape)} for name, shape in shapes} | {"its-label": {"dtype": "int32"}}
        use = {"name": "use", "type": self.name, "inputs": list(self.cls.inputs), **attrs}
        scores = {"name": "its-scores", "type": "dense", "units": 3, "inputs": "use", "init": {"type": "he"}}
        loss = {"name": "its-loss", "type": "softmax_loss", "inputs": ["its-scores", "its-label"]}
        text = flow({"netspec": 1, "inputs": inputs, "layers": [use, scores, loss], "data": {"classes": 3}})
        try:
            spec = loads(text, self.name)
            for phase in PHASES:
                build(spec, phase)
        except SpecError as error:
            told = "; ".join(problem.message for problem in error.problems)
            raise Failed(f"{flow(dict(attrs))}: {told}") from None
        return spec


def check_inputs(subject: CompositeSubject) -> None:
    """There is a shape for each input, by which the others of these checks try it."""
    if len(subject.cls.inputs) != len(subject.cls.shapes):
        raise Failed(f"{len(subject.cls.inputs)} inputs, but {len(subject.cls.shapes)} shapes: list one for each")


def check_plans(subject: CompositeSubject) -> None:
    """Each example becomes layers of known types that can be planned for training, evaluation and prediction."""
    for attrs in subject.cls.examples:
        subject.spec(attrs)


def check_same_again(subject: CompositeSubject) -> None:
    """The same attributes give the same layers: a run that goes on has the network that it began with."""
    for attrs in subject.cls.examples:
        if canonical(subject.spec(attrs)) != canonical(subject.spec(attrs)):
            raise Failed(f"{flow(dict(attrs))}: other layers the second time: let attributes alone decide")


CHECKS: tuple[Callable[[Any], None], ...] = (check_docs, check_schema, check_inputs, check_plans, check_same_again)
"""All checks. Each returns, or raises Failed or Skipped with the reason."""
