"""State dicts of PyTorch: which tensor of a file is which of the network's, by name and by shape.

A network has modules of the names of its layers, each with tensors, as ``netspec.exchange.torch_module`` writes them. A
module of the file with the same name and shapes is that one. Of the others, those with the same shapes are the same,
in order, where there are as many of them in the file as in the network; in the file, names are in order, numbers in
them as numbers. A map says more: ``conv1: features.0`` of modules, ``conv1.weight: features.0.kernel`` of tensors.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netspec.errors import NetspecError, NoSuchFile, Problem, SpecError, printable
from netspec.exchange import tensor_file
from netspec.exchange.formats import Asked, Read
from netspec.exchange.levels import with_levels
from netspec.exchange.torch_code import Stored
from netspec.exchange.torch_module import TorchForm
from netspec.rundir.run_files import opened, read_text
from netspec.spec.nodes import plain
from netspec.spec.reader import parse

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
COUNTER = "num_batches_tracked"
"""What modules of PyTorch count, and no network needs."""
WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Where checkpoints of training programs have the state dict."""


def read(file: Path, asked: Asked) -> Read:
    """The tensors of a file for the network that is asked for. Raises NetspecError."""
    if asked.spec is None:
        raise NetspecError(f"{printable(file)}: a state dict has tensors only; --spec says which network they are of")
    found = _safetensors(file) if file.suffix.lower() == ".safetensors" else _pickled(file)
    form = TorchForm(asked.spec)
    taken, notes = matched(form.tensors, {name: array.shape for name, array in found.items()}, _map(asked.map))
    missing = [name for name in form.tensors if name not in taken and name not in form.means]
    left = tuple(name for name in found if name not in taken.values())
    if missing:
        raise NetspecError(_told(file, form.tensors, missing, {name: found[name].shape for name in left}))
    arrays = _assembled(form.tensors, {name: found[there] for name, there in taken.items()})
    return Read(with_levels(file, asked, arrays), None, taken, left, notes=notes)


def _told(file: Path, wanted: Mapping[str, Stored], missing: list[str], left: Mapping[str, Shape]) -> str:
    """What the network lacks, and what there is that it does not know."""
    lines = [f"{printable(file)}: nothing there for {len(missing)} of the network's {len(wanted)} tensors"]
    lines += [f"  {name} {list(wanted[name].shape)}" for name in missing[:20]]
    lines += ["there, and not of the network:", *(f"  {printable(name)} {list(left[name])}" for name in [*left][:20])]
    return "\n".join([*lines, "the same names, or --map FILE, say which is which"])


# Which is which -----------------------------------------------------------------------------------------------------


def matched(
    wanted: Mapping[str, Stored], there: Mapping[str, Shape], names: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Names there by names here, and lines for people on what only an order decided. Raises NetspecError."""
    shapes = {name: one.shape for name, one in wanted.items()}
    taken = _by_map(shapes, there, names)
    taken |= {name: name for name, shape in shapes.items() if name not in taken and there.get(name) == shape}
    here, others = _modules(shapes, taken), _modules(there, taken.values())
    others = {name: others[name] for name in sorted(others, key=_natural)}
    notes = []
    for kind in dict.fromkeys(map(_kind, here.values())):
        ours = [name for name, tensors in here.items() if _kind(tensors) == kind]
        theirs = [name for name, tensors in others.items() if _kind(tensors) == kind]
        if len(ours) == len(theirs):
            taken |= {f"{a}.{x}": f"{b}.{x}" for a, b in zip(ours, theirs, strict=True) for x, _ in kind}
            if len(ours) > 1:
                notes.append(f"by shape and order: {', '.join(ours)} <- {', '.join(map(printable, theirs))}")
    return {name: taken[name] for name in shapes if name in taken}, tuple(notes)


def _by_map(shapes: Mapping[str, Shape], there: Mapping[str, Shape], names: Mapping[str, str]) -> dict[str, str]:
    taken = {}
    for here, other in names.items():
        found = [name for name in shapes if name == here or name.startswith(f"{here}.")]
        if not found:
            raise NetspecError(f"--map: the network has no '{printable(here)}'; it has {', '.join([*shapes][:6])}, ...")
        for name in found:
            source = other + name.removeprefix(here)
            if there.get(source) != shapes[name]:
                has = f"has the shape {list(there[source])}" if source in there else "is not there"
                raise NetspecError(f"--map: {name} {list(shapes[name])}: '{printable(source)}' {has}")
            taken[name] = source
    return taken


def _modules(shapes: Mapping[str, Shape], without: Iterable[str]) -> dict[str, dict[str, Shape]]:
    """Modules with their tensors' shapes, those left out that are taken."""
    gone, found = set(without), dict[str, dict[str, Shape]]()
    for name, shape in shapes.items():
        module, _, tensor = name.rpartition(".")
        if name not in gone and module and tensor != COUNTER:
            found.setdefault(module, {})[tensor] = shape
    return found


def _kind(tensors: Mapping[str, Shape]) -> tuple[tuple[str, Shape], ...]:
    return tuple(sorted(tensors.items()))


def _natural(name: str) -> list[tuple[int, int | str]]:
    """The order of names in which 2 comes before 10."""
    return [(0, int(word)) if word.isdecimal() else (1, word) for word in re.split(r"(\d+)", name) if word]


def _map(file: Path | None) -> Mapping[str, str]:
    if file is None:
        return {}
    problems: list[Problem] = []
    try:
        node = parse(read_text(file), str(file), problems)
    except FileNotFoundError:
        raise NoSuchFile(f"{printable(file)}: no such file") from None
    if problems:
        raise SpecError(problems)
    names = None if node is None else plain(node)
    if not (isinstance(names, dict) and all(isinstance(name, str) for name in names.values())):
        raise NetspecError(f"{printable(file)}: must be a map of names, such as 'conv1: features.0'")
    return names


# Arrays ---------------------------------------------------------------------------------------------------------------


def _assembled(wanted: Mapping[str, Stored], found: Mapping[str, Array]) -> dict[str, Array]:
    """netspec's arrays by name, parts joined."""
    parts: dict[str, dict[int, Array]] = {}
    for name, array in found.items():
        one = wanted[name]
        parts.setdefault(one.source, {})[one.cut[0] if one.cut else 0] = one.here(np.asarray(array, np.float32))
    axes = {one.source: one.axis or 0 for one in wanted.values()}
    return {
        source: pieces[0] if len(pieces) == 1 else np.concatenate([pieces[i] for i in sorted(pieces)], axes[source])
        for source, pieces in parts.items()
    }


def _safetensors(file: Path) -> Mapping[str, Array]:
    with opened(file) as stream:
        header = tensor_file.read_header(file, stream)
        if "netspec" in header.metadata:
            raise NetspecError(f"{printable(file)}: is a checkpoint of netspec already")
        return tensor_file.read_arrays(file, stream, header)


def _pickled(file: Path) -> Mapping[str, Array]:
    """The tensors of what torch.save wrote, which PyTorch itself reads, without running any code of the file's."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        remedy = "pip install torch, or save it there as safetensors (safetensors.torch.save_file)"
        raise NetspecError(f"{printable(file)}: {file.suffix} files need PyTorch ({error}): {remedy}") from error
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NetspecError(f"{printable(file)}: no state dict that can be read safely: {printable(reason)}") from error
    tensors = _unwrapped(found).items() if isinstance(found, dict) else ()
    kept = {name: one for name, one in tensors if isinstance(name, str) and isinstance(one, torch.Tensor)}
    if not kept:
        raise NetspecError(f"{printable(file)}: holds no tensors by name")
    for name, one in kept.items():
        if one.layout != torch.strided or one.is_quantized or one.is_complex() or _is_spread(one):
            raise NetspecError(f"{printable(file)}: '{printable(name)}' is no plain tensor of numbers")
    return {name: (one.detach().float() if one.is_floating_point() else one).numpy() for name, one in kept.items()}


def _unwrapped(found: dict[Any, Any]) -> dict[Any, Any]:
    return next((found[key] for key in WRAPPERS if isinstance(found.get(key), dict)), found)


def _is_spread(tensor: Any) -> bool:
    """Whether it has more elements than memory behind them, which a copy would have to have."""
    return bool(tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes())
