"""Data: files in IDX, data sets, splits, augmentation, and batches of them, all of it NumPy arrays."""

from .files import DataError
from .idx import read_idx, write_idx
from .mnist import fashion_mnist, mnist

__all__ = ["DataError", "fashion_mnist", "mnist", "read_idx", "write_idx"]
