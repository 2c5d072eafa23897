"""The one source of randomness: a seeded NumPy generator, used wherever no other is passed in.

Initial weights, dropout and shuffling draw from `default_generator()`. It starts from seed 0, so that a program gives the
same numbers every time it runs; `manual_seed` starts it afresh.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["default_generator", "get_rng_state", "manual_seed", "set_rng_state"]

_default = np.random.Generator(np.random.PCG64(0))


def default_generator() -> np.random.Generator:
    """The generator that is used where none is given."""
    return _default


def manual_seed(seed: int) -> np.random.Generator:
    """Start the default generator from `seed`, and return it.

    >>> manual_seed(7).integers(100) == manual_seed(7).integers(100)
    np.True_
    """
    _default.bit_generator.state = np.random.PCG64(seed).state
    return _default


def get_rng_state() -> dict[str, Any]:
    """Where the default generator stands, as a dictionary of ints and strings that JSON can hold."""
    return dict(_default.bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the default generator where `get_rng_state` found it. Raises ValueError for a state of another generator."""
    name = state.get("bit_generator")
    if name != "PCG64":
        raise ValueError(f"a random state of PCG64 is wanted, got one of {name!r}")
    _default.bit_generator.state = state
