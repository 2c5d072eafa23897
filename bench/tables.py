"""Write README's tables from the recorded results: `python bench/tables.py`, or with --check see that they are up to date.

What stands between two marks is replaced by the tables of every machine in bench/results: one pair of marks for what
`tinyconv bench` recorded, one for `tinyconv reproduce`.
"""

import sys
from pathlib import Path

from tinyconv.bench.record import load
from tinyconv.bench.summary import markdown
from tinyconv.reproduce import markdown as reproduced

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BENCH = "<!-- bench: written by bench/tables.py -->", "<!-- /bench -->"
MNIST_TABLE = "<!-- mnist-table: written by bench/tables.py -->", "<!-- /mnist-table -->"


def machines(results: Path) -> list[dict[str, dict]]:
    """Of each machine its records, by suite."""
    folders = sorted(folder for folder in results.iterdir() if folder.is_dir()) if results.is_dir() else []
    return [{path.stem: load(path) for path in sorted(folder.glob("*.json")) if path.stem != "last"} for folder in folders]


def tables(results: Path) -> str:
    """The timings of every machine, one after the other."""
    return "\n\n".join(filter(None, map(markdown, machines(results))))


def mnist_tables(results: Path) -> str:
    """The MNIST table of every machine that trained rows of it."""
    return "\n\n".join(reproduced(found["mnist-table"]) for found in machines(results) if "mnist-table" in found)


def replaced(text: str, new: str, marks: tuple[str, str] = BENCH) -> str:
    """The text with `new` between the marks. Raises: ValueError where it has no marks."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"{README.name} needs the marks {marks[0]} and {marks[1]}")
    return f"{before}{begin}\n\n{new}\n\n{end}{after}" if new else f"{before}{begin}\n{end}{after}"


def main(check: bool, readme: Path = README, results: Path = HERE / "results") -> None:
    """Write the tables, or exit with a word where they are not what was recorded."""
    old = readme.read_text(encoding="utf-8")
    new = replaced(replaced(old, tables(results)), mnist_tables(results), MNIST_TABLE)
    if check and new != old:
        sys.exit("README's tables are not those of bench/results: run python bench/tables.py")
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main("--check" in sys.argv)
