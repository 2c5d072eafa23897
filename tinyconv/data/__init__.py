"""Data: files in IDX, MNIST and Fashion-MNIST, embedded digits, scenes of them, splits, augmentation, and batches of them.

    images, labels = digits()
    for x, t in Loader(images, labels, batch_size=64, shuffle=True, transform=normalise(scale=16)): ...

Everything here gives NumPy arrays. Read next: loader.py.
"""

from .augment import compose, crop, expand_shifts, flip, mean_std, normalise, shift
from .digits import digits
from .files import DataError
from .idx import read_idx, write_idx
from .loader import Loader
from .mnist import fashion_mnist, mnist
from .scenes import scenes
from .split import split, stratified

__all__ = ["DataError", "Loader", "compose", "crop", "digits", "expand_shifts", "fashion_mnist", "flip", "mean_std",
           "mnist", "normalise", "read_idx", "scenes", "shift", "split", "stratified", "write_idx"]
