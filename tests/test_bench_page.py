"""The page of a record and its pictures: they hold what was measured, and the page needs nothing else."""

import re

import pytest
from recorded import a_record, made_up


def test_the_page_needs_nothing_else(tmp_path):
    page = pytest.importorskip("tinyconv.bench.page")
    pytest.importorskip("matplotlib", reason="the page is drawn by matplotlib")
    written = page.draw(a_record(), tmp_path, "conv")
    assert [p.name for p in written] == ["conv-gains.png", "conv-roofline.png", "conv.html"]
    text = (tmp_path / "conv.html").read_text()
    assert text.count("<svg") == 2 and "it is only an example" in text and "vgg.64" in text
    assert not re.search(r"(src|href)=[\"']?(https?:|/)", text.replace("xlink:href=\"#", ""))


def test_pictures_of_ladders_and_growth(tmp_path):
    page = pytest.importorskip("tinyconv.bench.page")
    pytest.importorskip("matplotlib", reason="the pictures are drawn by matplotlib")
    rows = [made_up([seconds], suite="growth", case=f"vgg.64:N={n}", algorithm=name, chosen=name == "simd")
            for n in (1, 2, 4) for name, seconds in (("simd", n * 1e-3), ("im2col", n * 2e-3), ("direct", n * 1e-2))]
    figures = dict(page.figures({**a_record(), "rows": rows}))
    assert set(figures) == {"roofline", "ladder", "growth"}
    lines = figures["growth"].axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["conv chosen", "conv im2col", "conv direct"]
    assert [list(line.get_xdata()) for line in lines] == [[1, 2, 4]] * 3 and list(lines[0].get_ydata()) == [1, 2, 4]
    bars = figures["ladder"].axes[0].containers
    assert [bar.get_label() for bar in bars] == ["direct", "im2col", "simd"]  # slowest first
    assert [round(patch.get_width()) for patch in bars[2]] == [1000, 500, 250]  # GFLOP/s
