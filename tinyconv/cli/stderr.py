"""What is said beside the results, on stderr: one line, which a terminal is given broken between words."""

from __future__ import annotations

import shutil
import sys
from textwrap import fill


def note(text: str) -> None:
    """A line on stderr. A path or a command in it stays whole on a terminal too, where it may be as wide as it likes."""
    line = f"tinyconv: {' '.join(text.split())}"
    if sys.stderr.isatty():  # elsewhere one line is easier to search and to cut
        line = fill(line, shutil.get_terminal_size().columns, subsequent_indent="  ", break_long_words=False,
                    break_on_hyphens=False)
    print(line, file=sys.stderr, flush=True)
