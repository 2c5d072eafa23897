"""Write README's tables from the recorded results: `python bench/tables.py`, or with --check see that they are up to date.

What stands between the two marks is replaced by the tables of every machine in bench/results.
"""

import sys
from pathlib import Path

from tinyconv.bench.record import load
from tinyconv.bench.summary import markdown

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- bench: written by bench/tables.py -->", "<!-- /bench -->"


def tables(results: Path) -> str:
    """The tables of every machine, one after the other."""
    machines = sorted(folder for folder in results.iterdir() if folder.is_dir()) if results.is_dir() else []
    found = [{path.stem: load(path) for path in sorted(folder.glob("*.json")) if path.stem != "last"} for folder in machines]
    return "\n\n".join(filter(None, map(markdown, found)))


def replaced(text: str, new: str) -> str:
    """The text with `new` between the marks. Raises: ValueError where it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{README.name} needs the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"


def main(check: bool, readme: Path = README, results: Path = HERE / "results") -> None:
    """Write the tables, or exit with a word where they are not what was recorded."""
    old = readme.read_text(encoding="utf-8")
    new = replaced(old, tables(results))
    if check and new != old:
        sys.exit("README's tables are not those of bench/results: run python bench/tables.py")
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main("--check" in sys.argv)
