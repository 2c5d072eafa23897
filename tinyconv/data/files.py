"""What all files of data share: the one exception, and writing that never leaves half a file behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


class DataError(ValueError):
    """Data that are missing, damaged or not what they should be, told in one line with the file and the numbers."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, open to write and read, that takes the place of `path` when the block ends well and vanishes if not.

    Raises: DataError where the folder or the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")  # same folder: the rename is then one atomic step
    try:
        with part.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points there: a power cut leaves the old file or the new
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it is gone where all went well, and was never there where the folder is none
            part.unlink()
