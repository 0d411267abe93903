"""Specs: from YAML text to typed, immutable data.

``loading`` reads files (``files``, ``reader``), lays specs over one another (``merge``, ``overrides``) and builds the
Spec (``build``, ``layers``, ``connections``, ``sections``) that ``model`` describes; ``report`` gathers what is wrong,
``rendering`` shows it, ``writing`` turns a Spec back into text.
"""

from __future__ import annotations

from typing import Any

from netspec.spec.loading import load, loads
from netspec.spec.rendering import render
from netspec.spec.writing import canonical, from_canonical, resolved

__all__ = ["canonical", "from_canonical", "load", "loads", "render", "resolved", "schema"]


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of specs, with every registered layer; see netspec.spec.json_schema."""
    from netspec.spec.json_schema import schema as make

    return make()
