"""Docstrings as reStructuredText: they are written to be read as they stand, so that what Sphinx would take for marks is not.

What is indented is an equation or a table, shown as it is; `names` are code; >>> begins an example; words that open a
paragraph of their own, such as Raises:, are bold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

OPENERS = ("Args", "Returns", "Raises", "Source", "Sources", "Shapes", "Read next")


def process(app, what, name, obj, options, lines: list[str]) -> None:
    """The hook of autodoc: `lines` are changed in place."""
    lines[:] = turned(lines)


def turned(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText.

    >>> turned(["A *line* of `code`.", "", "    y = 2*x", "", "Raises: never."])
    ['A \\\\*line\\\\* of ``code``.', '', '::', '', '    y = 2*x', '', '**Raises:** never.', '']
    """
    out: list[str] = []
    for paragraph in _paragraphs(lines):
        if paragraph[0].startswith(">>>"):
            out += [*paragraph, ""]
            continue
        for indented, lines_of in groupby(paragraph, key=lambda line: line.startswith("  ")):
            part = list(lines_of)
            out += ["::", "", *part, ""] if indented else [*map(_text, _opened(part)), ""]
    return out


def _paragraphs(lines: list[str]) -> list[list[str]]:
    return [list(group) for blank, group in groupby(lines, key=lambda line: not line.strip()) if not blank]


def _opened(lines: Iterable[str]) -> list[str]:
    """A blank line before each word that opens, so that it begins a paragraph."""
    out: list[str] = []
    for line in lines:
        if out and line.split(":")[0] in OPENERS and ":" in line:
            out.append("")
        out.append(line)
    return out


def _text(line: str) -> str:
    parts = re.split(r"`([^`]+)`", line)
    text = "".join(f"``{part}``" if n % 2 else re.sub(r"([\\*|_`])", r"\\\1", part) for n, part in enumerate(parts))
    opener = re.match(r"(\w[\w ]*):", line)
    return f"**{opener[0]}**{text[len(opener[0]):]}" if opener and opener[1] in OPENERS else text
