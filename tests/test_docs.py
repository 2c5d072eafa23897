"""The book: every block on every page runs and prints what is shown, every picture has a command, every file named exists."""

import doctest
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinyconv.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OPTIONS = doctest.ELLIPSIS | doctest.REPORT_NDIFF


def load(name):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


book = load("book")
PAGES = book.pages(DOCS)
SIMULATED = ("gpu",)


def differs(wanted, got):
    """"" where the output is what is shown, in which ... stands for anything, else both."""
    wanted, got = ("".join(line.rstrip() + "\n" for line in text.strip("\n").splitlines()) for text in (wanted, got))
    same = doctest.OutputChecker().check_output(wanted, got, OPTIONS)
    return "" if same else f"shown:\n{wanted}\nprinted:\n{got}"


def run_python(block, names, page):
    """A session is checked line by line; a program only has to run."""
    where = f"{page.name}, line {block.line}"
    if not block.text.startswith(">>>"):
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block.text, names, where, str(page), block.line - 1)
    test.globs = names
    said = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)


def run_console(block, page):
    for arguments, shown in book.commands(block):
        assert arguments[0] == "tinyconv", f"{page.name}, line {block.line}: {arguments[0]} is no command of ours"
        done = CliRunner().invoke(app, arguments[1:], prog_name="tinyconv", catch_exceptions=False)
        assert done.exit_code == 0, f"{page.name}, line {block.line}: {shlex.join(arguments)}\n{done.output}"
        if shown.strip():
            assert not differs(shown, done.output), f"{page.name}, line {block.line}: {differs(shown, done.output)}"


def run_page(page, folder):
    """All blocks in one namespace, in order: the page can be typed from top to bottom."""
    names = {"__name__": "__main__"}
    for block in book.blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.language == "python":
            run_python(block, names, page)
        elif block.language == "console":
            run_console(block, page)
        else:
            code = block.language != "text" or re.search(r"^(\$|>>>) ", block.text, re.M)
            assert not code, f"{where}: nothing runs this block"
    for image in book.images(page):
        below, _, path = image.partition(f"{book.PICTURES}/{page.stem}/")
        assert below and (folder / path).stat().st_size > 1000, f"{image} is no picture that a command on the page draws"


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem not in SIMULATED], ids=lambda p: p.stem)
def test_every_block_of_a_page_runs_and_prints_what_is_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem in SIMULATED], ids=lambda p: p.stem)
def test_every_block_of_a_page_about_gpus_runs_in_the_simulator(page, tmp_path):
    """In a process of its own, as Numba reads the switch when it is first imported."""
    pytest.importorskip("numba.cuda", reason="this Numba has no CUDA, and so no simulator of it")
    code = f"from pathlib import Path; import test_docs; test_docs.run_page(Path({str(page)!r}), Path())"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240,
                          env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr


def test_a_page_that_is_wrong_is_seen(tmp_path, monkeypatch):
    """A wrong number, a program that fails, a block in another language, a picture that nothing draws."""
    monkeypatch.chdir(tmp_path)
    for text, word in (
        ("```python\n>>> 1 + 1\n3\n```\n", "Failed example"), ("```python\nassert 1 > 2, 'it is not'\n```\n", "it is not"),
        ("```sh\nls\n```\n", "nothing runs this"), ("![x](../_pictures/bad/x.svg)\n", "x.svg"),
        ("```console\n$ tinyconv shape conv --input 5 --kernel 3\noutput size 4x4\n```\n", "3x3"),
    ):
        page = tmp_path / "bad.md"
        page.write_text(text)
        with pytest.raises((AssertionError, OSError), match=word):
            run_page(page, tmp_path)


def test_every_file_that_a_page_names_exists():
    """Links into the code, and files in code font that look like one of ours."""
    for page in PAGES:
        text = book.FENCE.sub("", page.read_text(encoding="utf-8"))
        for path in re.findall(r"`((?:tinyconv|bench|csrc|docs|tests)/[\w./]*)`", text):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_the_map_of_the_code_names_every_room():
    """The chapter that says in which order to read has a place for each room of the house."""
    text = (DOCS / "book" / "reading.md").read_text(encoding="utf-8")
    rooms = {p.name for p in (ROOT / "tinyconv").iterdir() if p.name[0] != "_" and (p.is_dir() or p.suffix == ".py")}
    missing = sorted(room for room in rooms if not re.search(rf"tinyconv/{re.escape(room)}[/`]", text))
    assert not missing, missing


def test_the_picture_of_the_readme_is_drawn_by_the_command_beside_it(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`tinyconv (draw [^`]*) --out docs/conv.svg`", text)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, [*shlex.split(command), "--out", "conv.svg"]).exit_code == 0
    shapes = [Path(path).read_text(encoding="utf-8").count("<path") for path in (DOCS / "conv.svg", "conv.svg")]
    assert shapes[0] == shapes[1] > 100 and "docs/conv.svg)" in text
