"""Data: files in IDX, data sets, splits, augmentation, and batches of them, all of it NumPy arrays."""

from .augment import compose, crop, expand_shifts, flip, mean_std, normalise, shift
from .digits import digits
from .files import DataError
from .idx import read_idx, write_idx
from .mnist import fashion_mnist, mnist
from .split import split, stratified

__all__ = ["DataError", "compose", "crop", "digits", "expand_shifts", "fashion_mnist", "flip", "mean_std", "mnist", "normalise", "read_idx", "shift", "split", "stratified", "write_idx"]
