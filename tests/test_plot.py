"""The pictures of a run: they hold the numbers they were given, and leave one whole PNG or nothing."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from tinyconv import plot
from tinyconv.data import DataError
from tinyconv.plot import curve, tiles

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Line:
    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


HISTORY = [Line(1, 2.0, 0.25, 1.5, 0.5), Line(2, 1.0, 0.75, 0.5, 0.875), Line(3, 0.5, 0.9375, 0.25, 1.0)]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been written."""
    figures = []
    for module in (curve, tiles):
        monkeypatch.setattr(module, "write_figure", lambda figure, path: figures.append(figure))
    return figures


def test_learning_curve_holds_the_history(drawn):
    plot.learning_curve(HISTORY, "unused.png", "a title")
    loss, misread = drawn[0].axes
    assert drawn[0].get_suptitle() == "a title"
    for axes, train, validation in ((loss, [2, 1, 0.5], [1.5, 0.5, 0.25]), (misread, [75, 25, 6.25], [50, 12.5, 0])):
        a, b = axes.lines
        assert list(a.get_xdata()) == list(b.get_xdata()) == [1, 2, 3]
        assert list(a.get_ydata()) == train and list(b.get_ydata()) == validation


@pytest.mark.parametrize("accuracies, ticks", [((0.77, 0.934), [5, 10, 20, 50]), ((0.98, 1.0), [0, 1, 2, 5])])
def test_the_error_axis_ends_at_the_marks_around_what_it_holds(drawn, accuracies, ticks):
    plot.learning_curve([Line(i, 1.0, a, 1.0, a) for i, a in enumerate(accuracies, 1)], "unused.png")
    axes = drawn[0].axes[1]
    assert axes.get_yticks().tolist() == ticks and axes.get_ylim() == (ticks[0], ticks[-1])


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_epochs_are_whole_numbers(drawn, count):
    plot.learning_curve([Line(i, 1.0, 0.5, 1.0, 0.5) for i in range(1, count + 1)], "unused.png")
    for axes in drawn[0].axes:
        low, high = axes.get_xlim()
        shown = [t for t in axes.get_xticks().tolist() if low <= t <= high]
        assert shown and all(t.is_integer() for t in shown)


def test_learning_curve_is_named_by_what_it_holds(drawn):
    plot.learning_curve(HISTORY, "unused.png", "", "squared error", "variance not explained, %")
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == ["loss (squared error)", "variance not explained, %"]


def test_filters_hold_the_weights_on_one_scale(drawn):
    weight = np.random.default_rng(0).standard_normal((6, 1, 5, 4)).astype(np.float32)
    plot.filters(weight, "unused.png")
    images = drawn[0].axes[0].images
    assert len(images) == 6
    top = np.abs(weight).max()
    for image, kernel in zip(images, weight):
        assert (np.asarray(image.get_array()) == kernel[0]).all()
        assert image.get_clim() == (-top, top)
    corners = {(image.get_extent()[0], image.get_extent()[3]) for image in images}  # each in a place of its own
    assert len(corners) == 6


def test_filters_of_several_channels_are_their_mean_and_no_more_than_most(drawn):
    weight = np.random.default_rng(0).standard_normal((9, 3, 3, 3))
    plot.filters(weight, "unused.png", most=4)
    images = drawn[0].axes[0].images
    assert len(images) == 4
    np.testing.assert_array_equal(images[2].get_array(), weight[2].mean(0))


@pytest.mark.parametrize("count", [6, 16, 20, 32, 64, 96])
def test_filters_leave_no_gap_in_the_last_row(count):
    assert count % tiles._columns(count) == 0


def test_one_png_each_and_nothing_else(tmp_path):
    plot.learning_curve(HISTORY[:1], tmp_path / "curve.png")
    plot.filters(np.zeros((1, 1, 3, 3), np.float32), tmp_path / "filters.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.png", "filters.png"]
    assert all(p.read_bytes().startswith(PNG) for p in tmp_path.iterdir())


@pytest.mark.parametrize("draw", [lambda path: plot.learning_curve(HISTORY, path),
                                  lambda path: plot.filters(np.ones((2, 1, 3, 3)), path)])
def test_a_folder_that_is_not_there_is_told(tmp_path, draw):
    with pytest.raises(DataError, match=r"cannot write .*nowhere"):
        draw(tmp_path / "nowhere" / "x.png")


def test_the_wrong_things_are_told():
    with pytest.raises(ValueError, match="at least one epoch"):
        plot.learning_curve([], "x.png")
    with pytest.raises(ValueError, match=r"got shape \(3, 3\)"):
        plot.filters(np.zeros((3, 3)), "x.png")


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(plot.PlotError, match="pip install matplotlib"):
        plot.learning_curve(HISTORY, "x.png")


def test_no_global_state_of_pyplot(tmp_path):
    code = (f"import sys, numpy, tinyconv.plot as p; p.filters(numpy.ones((1, 1, 3, 3)), {str(tmp_path / 'x.png')!r}); "
            "print('matplotlib.pyplot' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
