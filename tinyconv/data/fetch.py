"""Downloading a known file: mirrors tried in turn, the SHA-256 checked, nothing half-written left behind."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from .files import DataError, replacing

TIMEOUT = 15  # seconds for a server to connect, and for each further piece


def fetch(urls: Sequence[str], path: Path, sha256: str) -> None:
    """Download the first of `urls` that gives the file with this SHA-256, and put it at `path`.

    Raises: DataError, one line: what went wrong at each URL and where to put the file by hand, or why `path` cannot
    be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {path.parent} for {path.name}: {error.strerror}; "
                        "pass root=, or set TINYCONV_DATA to a folder that holds the file") from error
    failures = []
    with replacing(path) as file:
        for url in urls:
            file.seek(0)
            file.truncate()
            why = _download(url, file) or _mismatch(file, sha256)
            if not why:
                return
            failures.append(f"{url}: {why}")
        raise DataError(f"cannot download {path.name} ({'; '.join(failures)}); get it elsewhere and put it at {path}, "
                        "or set TINYCONV_DATA to the folder that holds it")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises: DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _download(url: str, file: BinaryIO) -> str:
    """Write what is at `url` to the file. Returns "" or why there is nothing."""
    from pooch import HTTPDownloader  # here: it brings a network stack along, for the one time that data are not there

    print(f"downloading {url}", file=sys.stderr)
    bar = Bar()
    try:
        # identity: a server that compresses on the way would have the gzip file unpacked before it is checked
        HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT,
                       headers={"Accept-Encoding": "identity"})(url, file, None)
    except OSError as error:
        response = getattr(error, "response", None)
        return type(error).__name__ if response is None else f"HTTP {response.status_code}"
    finally:
        bar.close()
    return ""


def _mismatch(file: BinaryIO, sha256: str) -> str:
    """"" or a sentence saying that the file is another one."""
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return "" if found == sha256 else f"{file.tell()} bytes of SHA-256 {found[:16]}..., expected {sha256[:16]}..."


class Bar:
    """The progress bar that pooch asks for (total, update, reset, close), drawn where stderr is a terminal."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.line = ""

    def update(self, n: int) -> None:
        """Add n bytes, and draw again once that shows."""
        self.done += n
        share = min(self.done / self.total, 1.0) if self.total else 0.0
        line = f"\r[{'#' * int(30 * share):<30}] {100 * share:3.0f} % of {self.total / 1e6:.1f} MB"
        if line != self.line and sys.stderr.isatty():
            self.line = line
            print(line, end="", file=sys.stderr, flush=True)

    def reset(self) -> None:
        """Back to nothing."""
        self.done = 0

    def close(self) -> None:
        """End the line, if there is one."""
        if self.line:
            print(file=sys.stderr)
        self.line = ""
