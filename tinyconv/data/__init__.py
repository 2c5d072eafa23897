"""Data: files in IDX, data sets, splits, augmentation, and batches of them, all of it NumPy arrays."""

from .files import DataError
from .idx import read_idx, write_idx

__all__ = ["DataError", "read_idx", "write_idx"]
