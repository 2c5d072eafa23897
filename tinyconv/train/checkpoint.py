"""A tree of dicts, lists, numbers and arrays as one safetensors file: the arrays as tensors, the rest as JSON beside them.

Nothing in such a file is ever executed. In the JSON an array is {"$array": its name}, its name the way to it in the tree.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..device import kind, to_host
from ..models import ModelError, weights
from ..tensor import Tensor
from .config import TrainError

NOTE = "tinyconv"  # the one key of the files' metadata: of several, safetensors would shuffle the order
ARRAY = "$array"
UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what loading a state of other parts may raise


def write_tensors(path: Path, tensors: dict[str, Any], note: Any = None) -> None:
    """Write name -> Tensor or array, and a note that JSON can hold; the file is complete or not there at all."""
    weights.write_tensors(path, tensors, {NOTE: json.dumps(note)})


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a safetensors file, and its note as JSON ("null" for none). Raises: TrainError where it is missing or
    damaged."""
    try:
        arrays, metadata = weights.read_tensors(path)
    except ModelError as error:
        raise TrainError(str(error)) from error
    return arrays, metadata.get(NOTE, "null")


def write_tree(path: Path, tree: dict[str, Any]) -> None:
    """Write a tree of dicts (ints among their keys come back as strings), lists, arrays, numbers, strings and None."""
    arrays: dict[str, np.ndarray] = {}
    packed = _pack(tree, "", arrays)
    write_tensors(path, arrays, packed)


def read_tree(path: Path) -> dict[str, Any]:
    """What write_tree wrote. Raises: TrainError where it is missing or damaged."""
    arrays, note = read_tensors(path)
    try:
        tree = json.loads(note, object_hook=lambda d: arrays[d[ARRAY]] if ARRAY in d else d)
    except (ValueError, KeyError, TypeError) as error:  # no JSON, or the name of an array that is not there
        raise TrainError(f"{path} is damaged: its note cannot be read ({error})") from error
    if not isinstance(tree, dict):
        raise TrainError(f"{path} holds tensors, but no state of a run")
    return tree


def _pack(tree: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, Tensor | np.ndarray) or kind(tree) == "cuda":
        arrays[name] = _array(tree)
        return {ARRAY: name}
    if isinstance(tree, dict):
        return {str(key): _pack(value, f"{name}/{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_pack(value, f"{name}/{i}", arrays) for i, value in enumerate(tree)]
    return tree.item() if isinstance(tree, np.generic) else tree


def _array(value: Any) -> np.ndarray:
    """On the host, where files are written from."""
    return to_host(value.data if isinstance(value, Tensor) else value)
