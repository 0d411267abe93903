"""Solvers against the published formulas, in float64, on CPUs and on the emulated card; the contract suite of each."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import needs_compiler
from single_steps import gpu

from netspec.check import solvers
from netspec.check.subject import cpu
from netspec.check.suite import checked
from netspec.solvers import make_solver, solver_types

RATE, DECAY = solvers.RATE, solvers.DECAY


class SGD:
    """Krizhevsky et al. (2012), section 5."""

    def __init__(self, learning_rate, momentum, weight_decay):
        self.rate, self.momentum, self.decay, self.v = learning_rate, momentum, weight_decay, 0.0

    def update(self, w, g):
        self.v = self.momentum * self.v - self.decay * self.rate * w - self.rate * g
        return w + self.v


class Nesterov(SGD):
    """The documentation of torch.optim.SGD: weight decay, then mu b + g, then g + mu b."""

    def update(self, w, g):
        g = g + self.decay * w
        self.v = self.momentum * self.v + g
        g = g + self.momentum * self.v
        return w - self.rate * g


class AdamW:
    """Loshchilov and Hutter (2019), algorithm 2, with alpha = 1: the rate is its schedule multiplier."""

    def __init__(self, learning_rate, beta1, beta2, epsilon, weight_decay):
        self.eta, self.beta1, self.beta2, self.epsilon, self.decay = learning_rate, beta1, beta2, epsilon, weight_decay
        self.t, self.m, self.v = 0, 0.0, 0.0

    def update(self, w, g):
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m, v = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        return w - self.eta * (m / (np.sqrt(v) + self.epsilon) + self.decay * w)


class LARS:
    """You, Gitman and Ginsburg (2017), algorithm 1."""

    def __init__(self, learning_rate, momentum, weight_decay, trust):
        self.gamma, self.m, self.beta, self.eta, self.v = learning_rate, momentum, weight_decay, trust, 0.0

    def update(self, w, g):
        norms = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
        local = self.eta * norms[0] / (norms[1] + self.beta * norms[0]) if all(norms) else 1.0
        self.v = self.m * self.v + self.gamma * local * (g + self.beta * w)
        return w - self.v


REFERENCES = {"sgd": SGD, "nesterov": Nesterov, "adamw": AdamW, "lars": LARS}


def test_every_solver_has_a_reference():
    assert REFERENCES.keys() == {name for name, cls in solver_types().items() if cls.__module__.startswith("netspec.")}


@pytest.mark.parametrize("place", [cpu, pytest.param(gpu, marks=needs_compiler)])
@pytest.mark.parametrize("zero", [False, True], ids=["", "from zero"])
@pytest.mark.parametrize("name", REFERENCES)
def test_the_published_formula(name, zero, place):
    one = make_solver({"type": name})
    settings = {**one.settings, "learning_rate": one.learning_rate * RATE}
    settings["weight_decay"] *= DECAY
    reference, parameter = REFERENCES[name](**settings), solvers.Parameter(one)
    parameter.values["param"] *= not zero
    w = first = parameter.values["param"].astype(np.float64)
    for number in range(20):
        parameter.draw()
        g = parameter.values["gradient"].astype(np.float64)
        w = reference.update(w, g)
        parameter.update(place())
        error = np.abs(parameter.values["param"] - w).max() / max(np.abs(w).max(), np.abs(w - first).max())
        assert error < 2e-6, number


@pytest.mark.parametrize("name", REFERENCES)
def test_contract(name):
    results = list(checked(f"solvers.{name}"))
    assert len(results) == len(solvers.CHECKS)
    assert not [(result.name, result.message) for result in results if result.status == "failed"]


@pytest.mark.torch
@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_as_in_torch(name):
    torch = pytest.importorskip("torch")
    one = make_solver({"type": name, "weight_decay": 0.02})
    parameter = solvers.Parameter(one)
    w = torch.tensor(parameter.values["param"].astype(np.float64), requires_grad=True)
    rate, decay = one.learning_rate * RATE, 0.02 * DECAY
    other = {
        "nesterov": lambda: torch.optim.SGD([w], rate, momentum=0.9, nesterov=True, weight_decay=decay),
        "adamw": lambda: torch.optim.AdamW([w], rate, weight_decay=decay),
    }[name]()
    for _ in range(10):
        parameter.draw()
        w.grad = torch.tensor(parameter.values["gradient"].astype(np.float64))
        other.step()
        parameter.update(cpu())
    np.testing.assert_allclose(parameter.values["param"], w.detach().numpy(), rtol=2e-6, atol=2e-6)
