"""The pages of the book as what they hold: blocks to run, in order, and pictures that commands on the page have drawn.

A block of ```python is a program, or a session (`>>>`) with what it prints. A block of ```console holds lines of
`$ tinyconv ...`, each with what it prints, or with nothing, where that is not looked at. tests/test_docs.py runs them all;
conf.py runs those that leave pictures.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from shutil import rmtree

FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.M | re.S)
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
PICTURES = "_pictures"
DRAWS = ("draw", "trace", "train", "pictures", "lr-range", "dcgan")  # the commands that leave pictures


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the line of the page that it begins at."""

    language: str
    text: str
    line: int


def pages(docs: Path) -> list[Path]:
    """Every page that is written by hand, the chapters among them."""
    return sorted(p for p in docs.rglob("*.md") if not {"_build", PICTURES} & set(p.parts))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order; of directives, such as ```{math}, there is nothing to run."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if not match[1].startswith("{"):
            yield Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)


def commands(block: Block) -> Iterator[tuple[list[str], str]]:
    """The commands of a console block, each as arguments and with what it is shown to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        line, _, shown = part.replace("\\\n", "").partition("\n")
        yield shlex.split(line, comments=True), shown


def images(page: Path) -> list[str]:
    """The paths of the pictures that a page shows."""
    return IMAGE.findall(page.read_text(encoding="utf-8"))


def draw_pictures(docs: Path) -> None:
    """Run the drawing commands of every page in a folder of its own, where what they drew last is older than the page."""
    for page in pages(docs):
        wanted = [arguments for block in blocks(page) if block.language == "console" for arguments, _ in commands(block)
                  if arguments[1] in DRAWS]
        folder = docs / PICTURES / page.stem
        shown = [page.parent / image for image in images(page) if PICTURES in image]
        if all(path.exists() and path.stat().st_mtime > page.stat().st_mtime for path in shown):
            continue
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with chdir(folder):
            for arguments in wanted:
                run(arguments)


def run(arguments: list[str]) -> None:
    """A command line of tinyconv, in this process and silently. Raises: RuntimeError where it fails."""
    from tinyconv.cli import main

    try:
        with redirect_stdout(StringIO()):
            main(arguments[1:])
    except SystemExit as done:
        if done.code:
            raise RuntimeError(f"{shlex.join(arguments)} ended with status {done.code}") from None
