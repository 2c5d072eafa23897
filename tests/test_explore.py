"""The explorer in a real browser: its arithmetic is the library's, and it can be pointed at, typed at and read on a phone."""

import json
import re
from itertools import product

import numpy as np
import pytest
from chromium import Chromium, needs_browser
from typer.testing import CliRunner

from tinyconv.arithmetic import conv_relationship, equivalent_conv, leftover, transposed_relationship
from tinyconv.cli import app
from tinyconv.data import DataError
from tinyconv.dims import conv_dims, output_size, pool_dims
from tinyconv.explore import LIMITS, page, write_page
from tinyconv.kernels.conv import reference
from tinyconv.kernels.pool import reference as pooling

SLOTS = ("x", "w", "y")
FILLS = {"y": reference.conv, "x": reference.conv_input_grad, "w": reference.conv_weight_grad}
TAKES = {"y": ("x", "w"), "x": ("y", "w"), "w": ("x", "y")}

# every combination of corners and of the guide's sizes that fits
GEOMETRIES = [dict(zip("ikspd", g)) for g in (
    *list(product((1, 4, 5, 6, 12), (1, 2, 3, 4), (1, 2, 3), (0, 1, 2, 3), (1, 2)))[::4], (6, 3, 2, 1, 1), (12, 7, 4, 6, 3),
    (3, 1, 1, 2, 1)) if output_size(g[0], g[1], g[2], g[3], g[3], g[4]) >= 1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("explore") / "explore.html"
    write_page(path)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(address):
    chromium = Chromium(address)
    yield chromium
    errors = chromium.errors()
    chromium.close()
    assert errors == []


@pytest.fixture
def reset(browser):
    start = {"i": 5, "k": 3, "s": 2, "p": 1, "d": 1, "map": "y", "pool": {"mode": "max", "k": 2, "s": 2, "p": 0}}
    browser.rest()
    browser.js("state.cotangent = null; explorer.set(arguments[0])", start)
    return browser


def dims_of(g):
    return conv_dims((1, 1, g["i"], g["i"]), (1, 1, g["k"], g["k"]), g["s"], g["p"], g["d"])


def planes(values, dims):
    shapes = {"x": dims.x_shape, "w": dims.w_shape, "y": dims.y_shape}
    return {slot: np.array(values[slot], float).reshape(shapes[slot]) for slot in SLOTS}


def over(browser, geometries, script, **changes):
    """Pairs of a geometry and what the script says once the page shows it."""
    loop = f"return arguments[0].map(g => {{ explorer.set({{...g, ...arguments[1]}}); {script} }})"
    return list(zip(geometries, browser.js(loop, geometries, changes), strict=True))


# the numbers that stand in the cells of the three planes, as a person reads them
READ = """return [1, 2, 3].map(n => [...document.querySelectorAll(`#form figure:nth-of-type(${n}) .cell[data-n]`)]
          .map(c => Number(c.firstChild.data.replace("\u2212", "-"))))"""


# -- without a browser ---------------------------------------------------------------------------------------------


def test_page_is_whole_and_asks_for_nothing():
    """Every part is in it, no placeholder is left, and nothing in it has an address."""
    text = page(i=6, k=2, fills="w")
    assert "{{" not in text and "function triples" in text and "--cell" in text
    assert not re.search(r"""(src|href)\s*=|url\(|@import|fetch\(|https?:""", text)
    start = json.loads(re.search(r"const START = (.*);", text)[1])
    assert (start["i"], start["k"], start["map"]) == (6, 2, "w")


def test_limits_are_those_of_the_sliders():
    form = page().split('id="controls"')[1].split("</form>")[0]
    sliders = re.findall(r'name="(\w)" min="(\d+)" max="(\d+)"', form)
    assert {name: (int(least), int(most)) for name, least, most in sliders} == LIMITS


@pytest.mark.parametrize("geometry, says", [({"i": 13}, "i from 1 to 12, not 13"), ({"fills": "z"}, "not 'z'")])
def test_refusals(geometry, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        write_page(tmp_path / "a.html", **geometry)
    with pytest.raises(DataError):
        write_page(tmp_path / "nowhere" / "a.html")
    assert not list(tmp_path.iterdir())


def test_command(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    path = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["explore", "--stride", "2", "--out", str(path)])
    assert done.exit_code == 0 and done.output.strip() == str(path)
    assert opened == [path.as_uri()] and '"s": 2' in path.read_text()
    CliRunner().invoke(app, ["explore", "--no-open", "--out", str(path)])
    assert len(opened) == 1


# -- its arithmetic ------------------------------------------------------------------------------------------------


@needs_browser
@pytest.mark.parametrize("fills", SLOTS)
def test_the_three_maps_are_the_librarys(browser, fills):
    """What stands in the cells of each slot, for every geometry, equals the reference bit for bit."""
    for g, shown in over(browser, GEOMETRIES, READ, map=fills):
        dims = dims_of(g)
        slots = planes(dict(zip(SLOTS, shown)), dims)
        a, b = (slots[name] for name in TAKES[fills])
        np.testing.assert_array_equal(slots[fills], FILLS[fills](a, b, dims), err_msg=str(g))


@needs_browser
@pytest.mark.parametrize("fills", SLOTS)
def test_gradients_are_the_librarys(browser, fills):
    """The gradient of each operand is the map that fills its slot, from the cotangent that is set."""
    script = "const {values, gradients} = explorer.picture(); return {values, gradients}"
    for g, picture in over(browser, GEOMETRIES, script, map=fills):
        dims = dims_of(g)
        values, gradients = planes(picture["values"], dims), planes(picture["gradients"], dims)
        assert gradients[fills].sum() == 1
        for operand in TAKES[fills]:
            a, b = (gradients[fills] if name == fills else values[name] for name in TAKES[operand])
            np.testing.assert_array_equal(gradients[operand], FILLS[operand](a, b, dims), err_msg=str(g))


@needs_browser
@pytest.mark.parametrize("fills", ["y", "x"])
def test_rules_are_the_librarys(browser, fills):
    """The relationship by number, its formula and its numbers, letter for letter."""
    for g, shown in over(browser, GEOMETRIES, "return document.getElementById('rule').textContent", map=fills):
        i, k, s, p, d = g.values()
        rest = leftover(i, k, s, p, p, d)
        rule = conv_relationship(i, k, s, p, p, d)
        if fills == "x":
            rule = transposed_relationship(rule.size, k, s, p, p, d, rest)
        assert shown.partition(";")[0] == str(rule), g
        assert (f"{rest} row" in shown) == bool(rest), g


@needs_browser
def test_the_direct_convolution_fills_the_same_x(browser):
    """Zeros put in, padding and flipped kernel: its window gives every cell of x, and its sizes are those of the guide."""
    script = """
        const {stretched, flipped, values} = explorer.picture();
        return [values.x, values.x.map((_, n) => stretchedWindow(n, stretched, state)
            .reduce((sum, [at, tap]) => sum + stretched.cells[at].value * flipped[tap], 0)), equivalent(state),
            ["data", "zero", "padding"].map(role => stretched.cells.filter(c => c.role === role).length)]"""
    for g, (x, direct, has, (data, zeros, padding)) in over(browser, GEOMETRIES, script, map="x"):
        i, k, s, p, d = g.values()
        assert x == direct, g
        o = output_size(i, k, s, p, p, d)
        e = equivalent_conv(o, k, s, p, p, d, leftover(i, k, s, p, p, d))
        assert (has["zeros"], has["stretched"], has["before"], has["after"]) == (e.zeros, e.stretched, e.before, e.after), g
        assert (data, zeros) == (o * o, e.stretched**2 - o * o)
        assert padding == (max(e.before, 0) + e.stretched + max(e.after, 0)) ** 2 - e.stretched**2


@needs_browser
@pytest.mark.parametrize("mode", ["max", "average"])
def test_pooling_is_the_librarys(browser, mode):
    """Values, the first of equal maxima, and what the adjoint sends back; averages to float64's rounding (1e-12)."""
    poolings = [{"i": i, "pool": {"mode": mode, "k": k, "s": s, "p": p}}
                for i, k, s, p in product((4, 5, 9), (1, 2, 3), (1, 2, 3), (0, 1)) if i + 2 * p >= k > p]
    script = "return [explorer.picture().values.x, explorer.picture().pooled]"
    for g, (x, found) in over(browser, poolings, script, k=1, s=1, p=0, d=1, map="y"):
        dims = pool_dims((1, 1, g["i"], g["i"]), g["pool"]["k"], g["pool"]["s"], g["pool"]["p"])
        x = np.array(x, float).reshape(dims.x_shape)
        if mode == "max":
            y, at = pooling.max_pool(x, dims)
            assert found["at"] == at.ravel().tolist()
            back = pooling.pool_scatter(y, at, dims)
        else:
            y = pooling.avg_pool(x, dims)
            back = pooling.avg_pool_adjoint(y, dims)
        np.testing.assert_allclose(found["y"], y.ravel(), rtol=1e-12)
        np.testing.assert_allclose(found["back"], back.ravel(), rtol=1e-12, atol=1e-15)


# -- its use -------------------------------------------------------------------------------------------------------


def lit(browser, n):
    """The lit cells of the n-th plane of the form, by their index."""
    return browser.js("return [...document.querySelectorAll(`#form figure:nth-of-type(${arguments[0]}) .cell.lit[data-n]`)]"
                      ".map(c => Number(c.dataset.n))", n)


def cell(plane, n):
    return f"#form figure:nth-of-type({plane}) .cell[data-n='{n}']"


@needs_browser
@pytest.mark.parametrize("slot", [1, 2, 3])
def test_pointing_lights_what_the_form_multiplies(reset, slot):
    """Whichever slot is open, a cell lights the cells of the other two that the reference ties it to."""
    dims = conv_dims((1, 1, 5, 5), (1, 1, 3, 3), 2, 1)
    ties = []
    for ih, iw, kh, kw, oh, ow in product(range(5), range(5), range(3), range(3), range(3), range(3)):
        if ih == oh * 2 + kh - 1 and iw == ow * 2 + kw - 1:
            ties.append((ih * 5 + iw, kh * 3 + kw, oh * 3 + ow))
    assert len(ties) == reference.conv(np.ones(dims.x_shape), np.ones(dims.w_shape), dims).sum()
    for fills in SLOTS:
        reset.js("explorer.set({map: arguments[0]})", fills)
        reset.point(cell(slot, 4))
        for other in (1, 2, 3):
            assert lit(reset, other) == sorted({t[other - 1] for t in ties if t[slot - 1] == 4}), fills


@needs_browser
def test_pointing_at_an_output_shades_the_padding_under_the_kernel(reset):
    reset.point(cell(3, 0))
    assert reset.js("return document.querySelectorAll('#form .cell.pad.lit').length") == 5
    reset.js("explorer.set({i: 6})")  # figure 2.7 of the guide: a row and a column of padding that nothing reads
    assert reset.js("return document.querySelectorAll('#form .cell.pad.unread').length") == 15


@needs_browser
@pytest.mark.parametrize("fills, calls", [
    ("y", "dx = conv_input_grad(g, w), dw = conv_weight_grad(x, g)"), ("x", "dy = conv(g, w), dw = conv_weight_grad(g, y)"),
    ("w", "dx = conv_input_grad(y, g), dy = conv(x, g)")])
def test_gradients_are_named_by_the_rule(reset, fills, calls):
    reset.js("explorer.set({map: arguments[0]})", fills)
    text = reset.js("return document.getElementById('gradients-text').textContent")
    assert f"The cotangent g of {fills}[" in text and text.endswith(f"{calls}.")


@needs_browser
def test_pointing_says_the_sum(reset):
    reset.point(cell(3, 0))
    values = reset.js("return explorer.picture().values")
    says = reset.js("return document.getElementById('says').textContent").replace("\u2212", "-")
    assert says.startswith("y[0,0] = Σ x·w = ") and says.endswith(f"= {values['y'][0]}")
    terms = re.findall(r"\(?(-?\d+)\)?·\(?(-?\d+)\)?", says)
    assert len(terms) == 4 and sum(int(a) * int(b) for a, b in terms) == values["y"][0]


@needs_browser
def test_a_click_sets_the_cotangent(reset):
    reset.click(cell(3, 8))
    assert reset.js("return explorer.picture().gradients.y") == [0] * 8 + [1]
    reset.click(cell(3, 8))
    assert reset.js("return explorer.picture().gradients.x.some(v => v)") is False


@needs_browser
def test_keyboard(reset):
    """Arrows move in a plane, Enter sets a cotangent, digits write a given cell, sliders and maps answer to arrows."""
    active = "return document.activeElement.dataset.n"
    reset.keys(cell(3, 0), "\ue014")  # right
    assert reset.js(active) == "1" and lit(reset, 3) == [1]
    reset.keys(cell(3, 1), "\ue015")  # down
    assert reset.js(active) == "4"
    reset.keys(cell(3, 4), "\ue007")  # Enter on the middle, which was set
    assert reset.js("return explorer.picture().gradients.y.some(v => v)") is False
    reset.keys(cell(1, 0), "7")
    assert reset.js("return explorer.picture().values.x[0]") == 7
    assert reset.js(active) == "0"
    reset.keys(cell(1, 0), "-")
    assert reset.js("return explorer.picture().values.x[0]") == -7
    reset.keys("input[name=s]", "\ue014")
    assert reset.js("return state.s") == 3
    reset.keys("input[name=map][value=y]", "\ue014")
    assert reset.js("return state.map") == "x"
    assert reset.js("return document.querySelectorAll('#form .cell[tabindex=\"0\"]').length") == 3  # one stop a plane


@needs_browser
def test_a_kernel_that_does_not_fit_is_told(reset):
    reset.js("explorer.set({i: 2, k: 7, p: 0})")
    text = "return document.getElementById('rule').textContent"
    assert reset.js(text) == "the kernel does not fit: i + 2p = 2 is smaller than k + (k - 1)*(d - 1) = 7"
    assert reset.js("return document.getElementById('form').hidden")
    reset.js("explorer.set({i: 5, k: 3, pool: {k: 2, p: 3}})")
    assert "pad less than k = 2" in reset.js("return document.getElementById('pool-text').textContent")


@needs_browser
def test_the_address_holds_the_geometry(reset, address):
    reset.js("explorer.set({i: 9, d: 2, map: 'w'})")
    hash_ = reset.call("POST", "/execute/async", args=[], script="setTimeout(() => arguments[0](location.hash), 300)")
    reset.call("POST", "/url", url="about:blank")
    reset.call("POST", "/url", url=address + hash_)
    assert reset.js("return [state.i, state.d, state.map]") == [9, 2, "w"]
    assert reset.js("return performance.getEntriesByType('resource').length") == 0


@needs_browser
def test_phone(address):
    """At 360x640 nothing runs over the side, every cell can be read, and a picture can be taken of it."""
    phone = Chromium(address, 360, 640, phone=True)
    try:
        for g in ({"i": 5, "k": 3, "s": 1, "p": 0, "d": 1}, {"i": 12, "k": 7, "s": 4, "p": 6, "d": 3}):
            for fills in SLOTS:
                phone.js("explorer.set(arguments[0])", {**g, "map": fills})
                assert phone.js("return document.documentElement.scrollWidth") <= 360, g
                small = phone.js("return Math.min(...[...document.querySelectorAll('.plane')].filter(p => p.offsetParent)"
                                 ".map(p => parseFloat(getComputedStyle(p).fontSize)))")
                assert small >= 8, g
        assert phone.picture().startswith(b"\x89PNG")
        assert phone.errors() == []
    finally:
        phone.close()
