"""State dicts of PyTorch: tensors by name."""

from __future__ import annotations

from pathlib import Path

from netspec.errors import NetspecError, printable
from netspec.exchange import tensor_file
from netspec.exchange.formats import Asked, Read
from netspec.rundir.run_files import opened


def read(file: Path, asked: Asked) -> Read:
    """The tensors of a file for the network that is asked for. Raises NetspecError."""
    if asked.spec is None:
        raise NetspecError(f"{printable(file)}: a state dict has tensors only; --spec says which network they are of")
    with opened(file) as stream:
        arrays = tensor_file.read_arrays(file, stream, tensor_file.read_header(file, stream))
    return Read(arrays, taken={name: name for name in arrays})
