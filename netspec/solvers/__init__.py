"""Solvers: one file is one rule by which parameters are trained, called as its file is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.contract.solver import Solver
from netspec.registry import Registry

__all__ = ["Solver", "make_solver", "solver_types"]


_registry = Registry("solvers", Solver, __name__, "solver")


def solver_types() -> Mapping[str, type[Solver]]:
    """All solvers by name."""
    return _registry.types()


def make_solver(solver: Mapping[str, Any]) -> Solver:
    """The solver that a checked ``{type: ..., ...}`` describes."""
    return solver_types()[solver["type"]](solver)
