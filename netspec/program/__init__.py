"""The Program: a Plan lowered for device kinds and team sizes, to the same step type."""

from netspec.program.bounds import declared_bounds, measured_choices, plain_products
from netspec.program.build import lower
from netspec.program.program import Program, memory

__all__ = ["Program", "declared_bounds", "lower", "measured_choices", "memory", "plain_products"]
