"""A tree of dicts, lists, numbers and arrays as one safetensors file: the arrays as tensors, the rest as JSON beside them.

Nothing in such a file is ever executed. In the JSON an array is {"$array": its name}, its name the way to it in the tree.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import replacing
from ..tensor import Tensor
from .config import TrainError

TREE = "tree"  # the key of the JSON in the file's metadata
ARRAY = "$array"


def write_tensors(path: Path, tensors: dict[str, Any], notes: dict[str, str] | None = None) -> None:
    """Write name -> Tensor or array as a safetensors file; it is complete or not there at all."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(_array(t), order="C") for name, t in tensors.items()}
    content = save(arrays, notes)
    with replacing(path) as file:
        file.write(content)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the notes of a safetensors file. Raises: TrainError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise TrainError(f"there is no file {path}") from error
    except (OSError, SafetensorError) as error:
        raise TrainError(f"{path} is damaged or no safetensors file: {error}") from error


def write_tree(path: Path, tree: dict[str, Any]) -> None:
    """Write a tree of dicts (ints among their keys come back as strings), lists, arrays, numbers, strings and None."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_pack(tree, "", arrays))
    write_tensors(path, arrays, {TREE: text})


def read_tree(path: Path) -> dict[str, Any]:
    """What write_tree wrote. Raises: TrainError where it is missing or damaged."""
    arrays, notes = read_tensors(path)
    if TREE not in notes:
        raise TrainError(f"{path} holds tensors, but no state of a run")
    return json.loads(notes[TREE], object_hook=lambda d: arrays[d[ARRAY]] if ARRAY in d else d)


def _pack(tree: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, Tensor | np.ndarray):
        arrays[name] = _array(tree)
        return {ARRAY: name}
    if isinstance(tree, dict):
        return {str(key): _pack(value, f"{name}/{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_pack(value, f"{name}/{i}", arrays) for i, value in enumerate(tree)]
    return tree.item() if isinstance(tree, np.generic) else tree


def _array(value: Any) -> np.ndarray:
    return value.data if isinstance(value, Tensor) else value
