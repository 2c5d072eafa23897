"""1,797 real handwritten digits of 8x8 pixels, shipped with the package: enough to train a network in seconds, offline.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits" (1998), UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, licence CC BY 4.0. They are the set's test part (13 writers), in its order, its values
unchanged; each pixel counts the ink in a 4x4 block of a 32x32 bitmap, 0 to 16. `digits.npz` holds images (1797, 8, 8)
and labels (1797,) in uint8, and in uint16 the indices `held_out` (360,) of the fixed test split, drawn by stratified().
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np


def digits(train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, 8x8: images (N, 1, 8, 8) uint8, 0 is paper and 16 ink, and labels (N,) int64, 0 to 9.

    Args: train, the 1,437 training samples rather than the 360 held out (35 to 37 of each class, the same for ever).

    >>> images, labels = digits(train=False)
    >>> images.shape, labels[:8].tolist()
    ((360, 1, 8, 8), [2, 2, 0, 8, 7, 8, 3, 4])
    """
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as held:
        is_held = np.zeros(len(held["labels"]), bool)
        is_held[held["held_out"]] = True
        rows = is_held != train
        return held["images"][rows][:, None], held["labels"][rows].astype(np.int64)
