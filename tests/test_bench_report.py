"""What is made of measurements: the machine's peak, ratios and means, tables, the README's too, comparisons, records."""

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from numba.core import config
from recorded import a_record, made_up
from rich.console import Console

from tinyconv.bench import machine, record, report
from tinyconv.bench.contest import OURS, ratio, summary
from tinyconv.bench.summary import markdown

TABLES = Path(__file__).parents[1] / "bench" / "tables.py"


@pytest.mark.skipif(config.DISABLE_JIT, reason="without the compiler there is no machine to measure")
def test_the_peak_is_measured_on_multiply_adds_that_happen():
    """Each chain runs acc = acc/2 + 1, whose limit is 2, and the chains are added up."""
    out = np.zeros(2)
    machine._spin4(2, 100, out)
    assert out.tolist() == [2.0 * machine.CHAINS] * 2
    assert machine.peak("float32", seconds=0.01) > machine.peak("float64", seconds=0.01) / 2 > 0


def test_ratios_are_taken_within_rounds():
    """The machine was twice as slow in the second half: the ratio does not see it."""
    assert ratio(made_up([2, 2, 4, 4, 4]), made_up([1, 1, 2, 2, 2])) == 2.0
    assert summary([[1.0, 3.0], [2.0]]) == {"median": 2.0, "low": 1.5, "high": 2.5, "calls": 3, "rounds": [2.0, 2.0]}


def test_a_mean_is_of_every_line_of_its_table():
    """A step timed on one thread and on two is two lines, though one case."""
    rows = [made_up([seconds] * 3, suite="steps", op="step", case="mnist@10", library=library, threads=threads,
                    chosen=library == OURS)
            for library, threads, seconds in ((OURS, 1, 1.0), ("torch", 1, 4.0), (OURS, 2, 1.0), ("torch", 2, 1.0))]
    peaks = {"float32@1": 4e11, "float32@2": 4e11}
    text = markdown({"steps": {**a_record(), "suite": "steps", "rows": rows, "peaks": peaks}})
    assert "(**4.00**)" in text and "(**1.00**)" in text and "geometric mean |  |  | (**2.00**)" in text


def test_the_table_fits_a_terminal_and_shows_the_gain():
    screen = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for _, table in report.tables(a_record()):
        screen.print(table)
    text = screen.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert re.search(r"\*simd +1\.00 ms +\d+% +1000\.0 +250% +2\.00 +2\.00", text)
    assert re.search(r"geometric mean +2\.00 +2\.00", text)


def test_a_chosen_algorithm_that_loses_is_shown_as_such():
    rows = [made_up([2.0] * 3, chosen=True), made_up([1.0] * 3, library="torch", algorithm="")]
    grid = report.grids({**a_record(), "rows": rows})[0]
    assert [line.loses for line in grid.lines] == [True, False] and grid.means[0][-1] == "0.50"


def test_the_roof_is_the_tighter_of_two_bounds():
    full = a_record()
    assert report.roof(made_up([1.0]), full) == 10**9 / 4e11
    assert report.roof(made_up([1.0], flops=10), full) == 10**7 / 2e10


def test_compared_records():
    old, new = a_record(), a_record()
    new["rows"] = [{**row, **{k: row[k] * (0.5 if row["op"] == "conv" else 1.5 if row["op"] == "conv_input_grad" else 1.02)
                              for k in ("median", "low", "high") if k in row}} for row in new["rows"]]
    new["rows"].append(made_up([1.0], case="vgg.128"))
    found, alone = record.compare(old, new)
    verdicts = {(c["op"], c["verdict"]) for c in found}
    assert alone == (0, 1) and found[0]["verdict"] == "faster"
    assert verdicts == {("conv", "faster"), ("conv_input_grad", "slower"), ("conv_weight_grad", "same")}
    noisy = {"rows": [{**made_up([1.0] * 4), "low": 0.5, "high": 2.5}]}
    assert record.compare(noisy, {"rows": [made_up([2.0] * 4)]})[0][0]["verdict"] == "same"
    elsewhere = {**new, "machine": {**new["machine"], "cpu": "another"}}
    said = report.compared(old, elsewhere, found, alone)
    assert any("two machines" in line for line in said) and "1 rows are in the new one alone" in said
    assert not any("two machines" in line for line in report.compared(old, new, found, (0, 0)))
    assert "the other libraries came out 1.09 times as fast: so much is the machine's doing" in said  # cbrt(2 / 1.5 / 1.02)


def test_records_are_written_whole(tmp_path):
    record.save(a_record(), tmp_path / "new" / "conv.json")
    assert record.load(tmp_path / "new" / "conv.json")["rows"] == a_record()["rows"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["conv.json"]
    for text, says in (("{", "cannot be read"), ("[1]", "it has no"), ('{"rows": []}', "it has no machine, suite"),
                       (json.dumps({**a_record(), "rows": 3}), "and rows"),
                       (json.dumps({**a_record(), "rows": [1]}), "and rows")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=rf"bad\.json.*{says}"):
            record.load(tmp_path / "bad.json")


def test_tables_of_a_readme_are_those_recorded(tmp_path):
    """Generated, checked, and seen to be stale after an edit; losses are shown in their place."""
    spec = spec_from_file_location("tables", TABLES)
    tables = module_from_spec(spec)
    spec.loader.exec_module(tables)
    full = a_record()
    full["rows"][0:3] = [made_up([1e-3] * 4), made_up([2e-3] * 4, algorithm="simd", chosen=True),
                         made_up([1e-3] * 4, library="torch", algorithm="")]
    record.save(full, tmp_path / "results" / "a-machine" / "conv.json")
    record.save(full, tmp_path / "results" / "a-machine" / "last.json")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    with pytest.raises(SystemExit, match=r"run python bench/tables\.py"):
        tables.main(True, [readme], tmp_path / "results")
    tables.main(False, [readme], tmp_path / "results")
    tables.main(True, [readme], tmp_path / "results")
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert f"{full['machine']['cpu']}, {full['machine']['cores']} cores" in text and text.count("vgg.64") == 7
    assert "| `conv` | 2 | 1 | 0.50 (0.50, vgg.64) | 0.50 (0.50, vgg.64) | 125% |" in text
    assert "| vgg.64 | 2 | 2.00 ms (0.50) | 1.00 ms (**2.00**) | 1.00 ms (**2.00**) |" in text
    with pytest.raises(ValueError, match="no marks"):
        tables.replaced("no marks", tmp_path / "results")
    record.save(full, tmp_path / "results" / "a-machine" / "ladder.json")
    named = tables.replaced(f"{tables.BEGIN.replace(':', ' ladder:')}\nold\n{tables.END}", tmp_path / "results")
    assert "old" not in named and "**Every algorithm.**" in named and "Layers" not in named
    assert "| `im2col` | **1.00 ms** | 2.00 ms | 2.00 ms |" in named and "| PyTorch | **1.00 ms** | 2.10 ms |" in named
