"""The command line: `tinyconv train` and its neighbours.

Commands import what they need when they run, so that `tinyconv --help` answers at once. What goes wrong for a reason that
the user can mend is told in one line (stderr.py), with exit status 2; a traceback always means a mistake in tinyconv.
Read next: train.py, the main job.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from typing import Any

from .app import app
from .stderr import note

__all__ = ["app", "main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line on `args` (without them, those of the process) and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # bars, where the encoding has none, are no reason to stop
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _Once(warnings.showwarning)
            status = app(args, prog_name="tinyconv", standalone_mode=False)
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        status = told(error)
        if status is None:
            raise
    if status == 130:
        note("interrupted")
    sys.exit(status)


class _Once:
    """Shows a warning that is the user's to know as one line, and once; any other as Python does."""

    def __init__(self, usual: Callable[..., None]):
        self.usual, self.seen = usual, set[str]()

    def __call__(self, *args: Any, **more: Any) -> None:
        """message, category, and where it came from: as warnings.showwarning."""
        text = " ".join(str(args[0]).split())
        if args[1] is not UserWarning:
            self.usual(*args, **more)
        elif text not in self.seen:
            self.seen.add(text)
            note(text)


def told(error: Exception) -> int | None:
    """Tell an error that is the user's to mend, and give its exit status; None for any other."""
    if type(error).__name__ == "Abort":  # what typer makes of Ctrl-C, by version
        return 130
    message = getattr(error, "format_message", None)  # a flag or argument that typer refused
    text = _refusal(message()) if message else reason(error)
    if text is None:
        return None
    if text:  # the help that stands in for an empty command line says enough
        note(text)
    return 2


def _refusal(text: str) -> str:
    """What typer says of a flag or argument, as tinyconv says it: "--epochs: 'x' is not a valid int"."""
    text = re.sub(r"^Invalid value(?: for '?([^':]+)'?)?: ", lambda found: f"{found[1]}: " if found[1] else "", text)
    return (text[:1].lower() + text[1:]).removesuffix(".")


def reason(error: Exception) -> str | None:
    """The line of an error that says itself what to do; None for one that does not."""
    from ..data import DataError
    from ..models import ModelError
    from ..plot import PlotError
    from ..train import TrainError

    if isinstance(error, DataError | ModelError | PlotError | TrainError):
        return str(error)
    if isinstance(error, OSError):
        return ": ".join(filter(None, [str(error.filename or ""), error.strerror or str(error)]))
    if isinstance(error, MemoryError):
        return "there is not enough memory: try a smaller --batch-size"
    return None
