"""Data: files in IDX, data sets, splits, augmentation, and batches of them, all of it NumPy arrays."""

from .digits import digits
from .files import DataError
from .idx import read_idx, write_idx
from .mnist import fashion_mnist, mnist
from .split import split, stratified

__all__ = ["DataError", "digits", "fashion_mnist", "mnist", "read_idx", "split", "stratified", "write_idx"]
