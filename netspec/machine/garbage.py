"""How seldom Python looks for unreachable cycles of objects in processes that are netspec's own."""

COLLECTED_AFTER = (50_000, 20, 10)
"""Thresholds for ``gc.set_threshold``.

A compiler makes objects by the million, most of which live until a kernel is done: with Python's own thresholds, a
tenth of the time of a compilation goes into looking through them in vain.
"""
