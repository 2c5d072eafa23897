"""IDX, the file format of MNIST: one array, plain or gzipped.

    00 00 | type, 1 byte | number of dimensions, 1 byte | each size, 4 bytes | the elements in C order, all big-endian

The types are 08 uint8, 09 int8, 0b int16, 0c int32, 0d float32, 0e float64. A file that ends too soon or too late, or
whose gzip stream is damaged, is refused. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", last section.
Read next: mnist.py, which finds such files or downloads them.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from .files import DataError, replacing

TYPES = {code: np.dtype(name) for code, name in
         {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}.items()}
MAX_DIMS = 64  # of a NumPy array; the format would allow 255
DEFLATE_MAX = 1032  # bytes that one byte of a gzip stream can stand for, at most


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file; whether it is gzipped is seen from its first bytes, not from its name.

    Returns: a new array in the byte order of the machine.
    Raises: DataError, one line, where the file is missing, damaged, too short, too long or no IDX file.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.peek(2)[:2] != b"\x1f\x8b":
                return _read(file, path, size)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(cast(BinaryIO, unpacked), path, DEFLATE_MAX * size)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except EOFError as error:
        raise DataError(f"{path} is cut off: its gzip stream does not reach its end in {size} bytes") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: its gzip stream does not unpack ({error})") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _read(file: BinaryIO, path: str | os.PathLike[str], most: int) -> np.ndarray:
    """The array in an open IDX file that holds `most` bytes or fewer."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= MAX_DIMS:
        raise DataError(f"{path} is no IDX file: it begins with {magic.hex(' ') or 'nothing'}, not with 00 00, a type "
                        f"({', '.join(f'{code:02x}' for code in TYPES)}) and 1 to {MAX_DIMS} dimensions")
    rank = magic[3]
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(f"{path} is cut off: {rank} dimensions need a header of {4 + 4 * rank} bytes, "
                        f"{4 + len(sizes)} are there")
    shape, dtype = struct.unpack(f">{rank}I", sizes), TYPES[magic[2]]
    need, room = prod(shape) * dtype.itemsize, most - 4 - 4 * rank
    what = f"shape {shape} of {dtype.name} needs {need} bytes"
    if need > room:  # before memory is asked for, which a damaged header could ask for without end
        raise DataError(f"{path} is cut off: {what}, {room} are the most it can hold")
    flat = np.empty(need, np.uint8)
    found = file.readinto(flat.data) if need else 0  # type: ignore[attr-defined]
    if found < need:
        raise DataError(f"{path} is cut off: {what}, {found} are there")
    beyond = len(file.read())  # reaching the end also has gzip compare its checksum
    if beyond:
        raise DataError(f"{path} is too long: {what}, {beyond} more follow")
    return flat.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as an IDX file, gzipped where the name ends in .gz; the file is complete or not there at all.

    Args: array of uint8, int8, int16, int32, float32 or float64, in 1 to 64 dimensions of at most 2**32 - 1 each.
    The bytes depend on the array alone. Raises: DataError for another array, or where the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_idx(f"{folder}/ramp.gz", np.arange(6, dtype=np.int16).reshape(2, 3))
    ...     read_idx(f"{folder}/ramp.gz")
    array([[0, 1, 2],
           [3, 4, 5]], dtype=int16)
    """
    array, path = np.asarray(array), Path(path)
    wanted = array.dtype.newbyteorder(">")
    code = next((code for code, dtype in TYPES.items() if dtype == wanted), None)
    if code is None:
        raise DataError(f"IDX has no type for {array.dtype}: it has {', '.join(t.name for t in TYPES.values())}")
    if not 1 <= array.ndim <= MAX_DIMS or max(array.shape) >= 2**32:
        raise DataError(f"IDX holds 1 to {MAX_DIMS} dimensions of at most {2**32 - 1} each, got shape {array.shape}")
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    with replacing(path) as file:
        data = np.ascontiguousarray(array, wanted).data
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:  # no name, no time: same bytes
                packed.write(header)
                packed.write(data)
        else:
            file.write(header)
            file.write(data)
