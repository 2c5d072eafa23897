"""Write the tables of README and the book from the recorded results: `python bench/tables.py`, or with --check see that they
are up to date.

What stands between two marks is replaced by tables of every machine in bench/results: of the suites that the mark names,
or of all that have some. WRITERS holds who writes what, by the first word of the mark.

    <!-- bench steps: written by bench/tables.py --> ... <!-- /bench -->
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tinyconv.bench.record import load
from tinyconv.bench.summary import SUITES, markdown
from tinyconv.reproduce import markdown as reproduced

HERE = Path(__file__).parent
PAGES = (HERE.parent / "README.md", *sorted((HERE.parent / "docs").rglob("*.md")))
BEGIN, END = "<!-- bench: written by bench/tables.py -->", "<!-- /bench -->"
MARKED = re.compile(r"(<!-- ([a-z-]+)([a-z -]*): written by bench/tables\.py -->).*?(<!-- /\2 -->)", re.S)


def machines(results: Path) -> list[dict[str, dict]]:
    """Of each machine its records, by suite."""
    folders = sorted(folder for folder in results.iterdir() if folder.is_dir()) if results.is_dir() else []
    return [{path.stem: load(path) for path in sorted(folder.glob("*.json")) if path.stem != "last"} for folder in folders]


def tables(results: Path, suites: Iterable[str]) -> str:
    """The timings of every machine, one after the other."""
    return "\n\n".join(filter(None, (markdown(records, suites or SUITES) for records in machines(results))))


def mnist_tables(results: Path, suites: Iterable[str]) -> str:
    """The MNIST table of every machine that trained rows of it, with `tinyconv reproduce`."""
    return "\n\n".join(reproduced(found["mnist-table"]) for found in machines(results) if "mnist-table" in found)


WRITERS = {"bench": tables, "mnist-table": mnist_tables}


def replaced(text: str, results: Path) -> str:
    """The text with new tables between its marks. Raises: ValueError where it has no marks."""
    text, count = MARKED.subn(
        lambda match: f"{match[1]}\n\n{WRITERS[match[2]](results, match[3].split())}\n\n{match[4]}", text)
    if not count:
        raise ValueError(f"no marks {BEGIN} and {END}")
    return text


def main(check: bool, pages: Iterable[Path] = PAGES, results: Path = HERE / "results") -> None:
    """Write the tables, or exit with a word where they are not what was recorded."""
    for page in pages:
        old = page.read_text(encoding="utf-8")
        if not MARKED.search(old):
            continue
        new = replaced(old, results)
        if check and new != old:
            sys.exit(f"the tables of {page.name} are not those of bench/results: run python bench/tables.py")
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main("--check" in sys.argv)
