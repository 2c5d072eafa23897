"""Weights to and from files that PyTorch reads: safetensors, under the names and in the layouts of its `state_dict`.

Names are those of a module's attributes, layouts (O, C/groups, KH, KW) and (out, in), so that nothing has to be translated;
a network of models/ that torchvision has too takes its weights. Nothing in such a file is ever executed.

    save_weights(model, "net.safetensors")         safetensors.torch.load_file("net.safetensors") is its state_dict
    load_weights(model, "net.safetensors")         from safetensors.torch.save_file(net.state_dict(), ...)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import replacing
from ..device import to_host
from ..nn import Module
from ..tensor import Tensor
from .architecture import ModelError

PathLike = str | os.PathLike[str]
COUNTER = "num_batches_tracked"  # of batch normalisation: only momentum=None reads it, and many files lack it


def save_weights(model: Module, path: PathLike) -> None:
    """Write parameters and persistent buffers; the file is complete or not there at all.

    Raises: DataError where it cannot be written.
    """
    write_tensors(Path(path), model.state_dict(), {"format": "pt"})


def load_weights(model: Module, path: PathLike) -> None:
    """Write a file's tensors into the parameters and buffers of the same names, whatever their precision.

    A batch normalisation whose counter of batches the file lacks keeps its own.
    Raises: ModelError where the file is missing or damaged, or where names or shapes differ; nothing is written then.
    """
    found, _ = read_tensors(Path(path))
    own = model.state_dict()
    counters = {name: t for name, t in own.items() if name.rpartition(".")[2] == COUNTER and name not in found}
    try:
        model.load_state_dict({**found, **counters})
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: dict[str, str]) -> None:
    """Write name -> Tensor or array and metadata (of several keys safetensors would shuffle the order) as one file."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(to_host(t.data if isinstance(t, Tensor) else t), order="C") for name, t in tensors.items()}
    content = save(arrays, metadata)
    with replacing(path) as file:
        file.write(content)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and its metadata. Raises: ModelError where it is missing or damaged, or holds
    numbers that NumPy does not know (bfloat16)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"there is no file {path}") from error
    except TypeError as error:
        raise ModelError(f"{path} holds numbers that NumPy does not know: {error}") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is damaged or no safetensors file: {error}") from error
