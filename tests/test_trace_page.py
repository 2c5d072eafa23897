"""The page of a trace, in a real browser, and the command that writes it."""

import json
import re

import numpy as np
import pytest
from chromium import Chromium, needs_browser
from traced import traced_network
from typer.testing import CliRunner

import tinyconv as tc
from tinyconv.cli import app

network = pytest.fixture(scope="module")(traced_network)


# -- the page ------------------------------------------------------------------------------------------------------


def data_of(page):
    return json.loads(re.search(r"^const DATA = (.*);$", page, re.M)[1])


def test_page_is_whole_and_asks_for_nothing(network):
    text = network.page("</script><b>A & B")
    assert "{{" not in text and text.count("</script>") == 1
    assert not re.search(r"""(src|href)\s*=|url\(|@import|fetch\(|https?:""", text)
    data = data_of(text)
    assert data["title"] == "</script><b>A & B" and [m["pass"] for m in data["moments"]] == ["forward"] * 6 + ["backward"] * 9
    first = data["moments"][0]
    assert first["rule"] == "#1 = conv(x=image, w=0.weight, b=0.bias)"
    assert first["kernels"][0]["algorithm"] in ("columns", "simd")  # as vectors have masks or not
    shown = data["values"][first["makes"]["value"]]
    np.testing.assert_allclose(np.reshape(shown["numbers"], (1, 3, 6, 6)), network.steps[0].out.array, rtol=5e-4)  # four digits


def test_page_of_what_is_not_a_number():
    x = tc.tensor(np.array([1.0, -1.0]), requires_grad=True)
    with np.errstate(all="ignore"), tc.trace(x=x) as t:
        x.log().sum().backward()
    data = data_of(t.page())
    assert data["moments"][0]["bad"] and data["values"][data["moments"][0]["makes"]["value"]]["numbers"] == [0.0, "nan"]
    assert "log #1 made the first NaN" in data["findings"][0]


@pytest.fixture(scope="module")
def address(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    network.write(folder, "a small network")
    return (folder / "trace.html").as_uri()


def said(browser):
    return browser.js("return ['count', 'pass', 'name', 'rule'].map(id => document.getElementById(id).textContent)")


@needs_browser
def test_page_steps_with_keys_buttons_and_slider(address, network):
    browser = Chromium(address)
    try:
        assert said(browser) == ["1 of 15", "forward", "conv #1", "#1 = conv(x=image, w=0.weight, b=0.bias)"]
        browser.keys("body", "\ue014\ue014")  # right, right
        assert said(browser)[:3] == ["3 of 15", "forward", "relu #3"]
        browser.keys("body", "\ue012")  # left
        assert said(browser)[0] == "2 of 15"
        browser.keys("body", "b")
        assert said(browser)[1:] == ["backward", "cross_entropy #6, x", "x <- cross_entropy backward, one pass"]
        browser.keys("body", "\ue010")  # end
        assert said(browser) == ["15 of 15", "backward", "conv #1, b", "b <- channel_sum(g)"]
        browser.keys("#at", "\ue012")  # on the slider too one key is one step
        assert said(browser)[0] == "14 of 15"
        browser.keys("body", "\ue011")  # home
        browser.click("#on")
        browser.click("#list button:nth-of-type(5)")
        assert said(browser)[2] == "linear #5"
        bias = network.steps[4].operands[2].value.array
        cells = browser.js("return [...document.querySelectorAll('#takes [data-slot=b] .cells span')].map(c => c.textContent)")
        assert [float(c.replace("\u2212", "-")) for c in cells] == [float(f"{v:.4g}") for v in bias.tolist()]
        browser.point("#takes [data-slot=b] .cells span:nth-of-type(2)")
        assert browser.js("return document.getElementById('says').textContent") == f"b[1] = {cells[1]}"
        browser.click("#list button:nth-of-type(1)")
        browser.point("#made canvas")  # somewhere in the first plane of 1x3x6x6
        where, value = browser.js("return document.getElementById('says').textContent").split(" = ")
        at = tuple(map(int, re.findall(r"\d+", where)))
        cell = network.steps[0].out.array[at]
        assert at[:2] == (0, 0) and float(value.replace("\u2212", "-")) == float(f"{cell:.4g}")
        assert browser.errors() == []
    finally:
        browser.close()


@needs_browser
def test_page_fits_a_phone(address):
    browser = Chromium(address, width=360, height=740, phone=True)
    try:
        for n in range(15):
            browser.js("show(arguments[0])", n)
            assert browser.js("return document.documentElement.scrollWidth") <= 360
        assert browser.errors() == []
    finally:
        browser.close()


# -- the command ---------------------------------------------------------------------------------------------------


def test_command_prints_the_tree_of_lenet5():
    done = CliRunner().invoke(app, ["trace"], catch_exceptions=False)
    assert done.exit_code == 0 and max(map(len, done.output.split("\n"))) <= 80
    assert "1 conv(x=image, w=c1.weight, b=c1.bias) kernel 5: 1x6x28x28 float32" in " ".join(done.output.split())
    assert "x <- avg_pool_adjoint(y)" in done.output and "backward from #13: 13 nodes" in done.output
    assert "No NaN or infinity, no gradient that vanishes or explodes." in done.output


def test_command_writes_all_forms(tmp_path):
    out = tmp_path / "there"
    done = CliRunner().invoke(app, ["trace", "--model", "digits", "--digit", "3", "--out", str(out)], catch_exceptions=False)
    names = ["trace.txt", "trace.svg", "trace.dot", "trace.html"]
    assert done.output.split("\n")[:-1] == [str(out / name) for name in names]
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    assert data_of((out / "trace.html").read_text())["title"] == "digits, forward and backward, on a 8"
