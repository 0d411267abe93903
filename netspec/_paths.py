"""Where the package's parts lie: ``layers/``, ``runners/`` and ``specs/`` stand beside ``netspec/`` in a checkout.

An installed netspec has them inside the package. In a checkout (PYTHONPATH=.) a finder maps the import names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent
_PARTS = ("layers", "runners")


class _CheckoutFinder:
    """Finds netspec.layers and netspec.runners beside the package."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, part = name.partition(".")
        if parent != "netspec" or part not in _PARTS:
            return None
        folder = _HERE.parent / part
        return spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])


def install() -> None:
    """Make netspec.layers and netspec.runners importable from an uninstalled checkout."""
    beside = (_HERE.parent / "layers" / "__init__.py").is_file()
    if beside and not (_HERE / "layers").is_dir() and _CheckoutFinder not in sys.meta_path:
        sys.meta_path.append(_CheckoutFinder)


def specs_folder() -> Path:
    """The folder of the shipped specs."""
    return _folder("specs")


def layers_folder() -> Path:
    """The folder of the built-in layers."""
    return _folder("layers")


def _folder(part: str) -> Path:
    inside = _HERE / part
    return inside if inside.is_dir() else _HERE.parent / part
