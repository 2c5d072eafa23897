"""Write the tables of README and the book from the recorded results: `python bench/tables.py`, or with --check see that they
are up to date.

What stands between two marks is replaced by tables of every machine in bench/results: of all suites that have some, or
of those that the mark names.

    <!-- bench steps: written by bench/tables.py --> ... <!-- /bench -->
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tinyconv.bench.record import load
from tinyconv.bench.summary import SUITES, markdown

HERE = Path(__file__).parent
PAGES = (HERE.parent / "README.md", *sorted((HERE.parent / "docs").rglob("*.md")))
BEGIN, END = "<!-- bench: written by bench/tables.py -->", "<!-- /bench -->"
MARKED = re.compile(rf"({BEGIN.replace(':', '([a-z ]*):')}).*?({END})", re.S)


def tables(results: Path, suites: Iterable[str] = SUITES) -> str:
    """The tables of every machine, one after the other."""
    machines = sorted(folder for folder in results.iterdir() if folder.is_dir()) if results.is_dir() else []
    found = [{path.stem: load(path) for path in sorted(folder.glob("*.json")) if path.stem != "last"} for folder in machines]
    return "\n\n".join(filter(None, (markdown(records, suites) for records in found)))


def replaced(text: str, results: Path) -> str:
    """The text with new tables between its marks. Raises: ValueError where it has no marks."""
    text, count = MARKED.subn(
        lambda match: f"{match[1]}\n\n{tables(results, match[2].split() or SUITES)}\n\n{match[3]}", text)
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
