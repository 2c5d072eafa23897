"""The trace: what it says of small networks worked by hand, its findings, and its graph."""

import re
import threading
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from traced import traced_network

import tinyconv as tc
from tinyconv.forms import fused
from tinyconv.nn import functional as F
from tinyconv.registry import kernels
from tinyconv.tensor import Tensor
from tinyconv.tracing.recorder import Step


def leaf(values, dtype=np.float64):
    return tc.tensor(np.array(values, dtype), requires_grad=True)


def rules(t):
    """Of each pull its operation and the rules of its gradients."""
    return [(pull.op, [fill.rule for fill in pull.fills]) for sweep in t.sweeps for pull in sweep.pulls]


def small(x, w):
    """sum(relu(conv(x, w))), by the reference kernels."""
    with tc.use("reference"), tc.trace(x=x, w=w) as t:
        F.conv2d(x, w).relu().sum().backward()
    return t


network = pytest.fixture(scope="module")(traced_network)


# -- the tree ------------------------------------------------------------------------------------------------------

TREE = """\
3 operations in T, 72 B of results; 1 backward in T
In a gradient rule g is the cotangent of the result; in a map of a form it stands in the slot that the operation filled. \
|g| is its L2 norm.
├─ 1 conv(x=x, w=w) kernel 2: 1x1x2x2 float64, 32 B, T, by reference
├─ 2 relu(x=#1): 1x1x2x2 float64, 32 B, T
├─ 3 sum(x=#2): scalar float64, 8 B, T
└─ backward from #3: 3 nodes, T
   ├─ sum #3  g scalar, |g| 1, T
   │  └─ x <- repeat(y)  for #2, 1x1x2x2, |g| 2
   │     └─ 4 repeat(y=g of #3): 1x1x2x2 float64, 32 B, T
   ├─ relu #2  g 1x1x2x2, |g| 2, T
   │  └─ x <- relu_grad(g, y)  for #1, 1x1x2x2, |g| 1.41
   │     └─ 5 relu_grad(g=#4, y=#2): 1x1x2x2 float64, 32 B, T, by reference
   └─ conv #1  g 1x1x2x2, |g| 1.41, T
      ├─ x <- conv_input_grad(y, w)  for x, 1x1x3x3, |g| 2
      │  └─ 6 conv_input_grad(y=#5, w=w) kernel 2: 1x1x3x3 float64, 72 B, T, by reference
      └─ w <- conv_weight_grad(x, y)  for w, 1x1x2x2, |g| 9.43
         └─ 7 conv_weight_grad(x=x, y=#5) kernel 2: 1x1x2x2 float64, 32 B, T, by reference
"""


def test_the_tree_of_a_small_network_worked_by_hand():
    """y = [[1, 2], [-4, -5]] by w = [[1, 0], [0, -1]]: g is 1 in two cells, so dw = [[1+2, 2+6], [4+0, 0+0]]."""
    x = [[1.0, 2, 6], [4, 0, 0], [1, 8, 5]]
    t = small(leaf([[x]]), leaf([[[[1.0, 0], [0, -1]]]]))
    assert t.steps[0].out.array.tolist() == [[[[1, 2], [-4, -5]]]]
    x_grad, w_grad = (fill.value.array for fill in t.sweeps[0].pulls[-1].fills)
    assert x_grad.tolist() == [[[[1, 1, 0], [0, -1, -1], [0, 0, 0]]]] and w_grad.tolist() == [[[[3, 8], [4, 0]]]]
    text = re.sub(r"\d[\d.e+]* (us|ms|s)\b", "T", t.tree(200))
    assert text.split("kernels, and")[0] == TREE


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_tree_is_wider_than_asked(network, width):
    assert max(map(len, network.tree(width).split("\n"))) <= width


# -- rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run, expected", [
    (lambda x, w, b: F.conv2d(x, w, b), ("conv", ["x <- conv_input_grad(y, w)", "w <- conv_weight_grad(x, y)",
                                                  "b <- channel_sum(g)"])),
    (lambda x, w, b: F.conv_transpose2d(x, w.reshape(1, 2, 2, 2)),
     ("conv_input_grad", ["y <- conv(x, w)", "w <- conv_weight_grad(x, y)"])),
    (lambda x, w, b: F.linear(x.reshape(4, 4), w.reshape(2, 4), b),
     ("linear", ["x <- linear_input_grad(y, w)", "w <- linear_weight_grad(x, y)", "b <- channel_sum(g)"])),
    (lambda x, w, b: F.max_pool2d(x, 2), ("max_pool", ["x <- pool_scatter(y)"])),
    (lambda x, w, b: F.avg_pool2d(x, 2), ("avg_pool", ["x <- avg_pool_adjoint(y)"])),
    (lambda x, w, b: x.relu(), ("relu", ["x <- relu_grad(g, y)"])),
    (lambda x, w, b: x.tanh(), ("tanh", ["x <- g * (1.0 - y * y)"])),
    (lambda x, w, b: x * x, ("mul", ["x <- mul_input_grad(y, w)", "w <- mul_weight_grad(x, y)"])),
    (lambda x, w, b: x - 3.0 * x, ("sub", ["a <- g", "b <- neg(g)"])),
    (lambda x, w, b: tc.cat([b, b]), ("cat", ["x <- a slice of g for each", "x1 <- a slice of g for each"])),
    (lambda x, w, b: F.cross_entropy(x.reshape(4, 4), tc.tensor([0, 1, 2, 3])),
     ("cross_entropy", ["x <- cross_entropy backward, one pass"])),
])
def test_rules_by_name(run, expected):
    x, w, b = leaf(np.arange(16.0).reshape(1, 1, 4, 4)), leaf(np.ones((2, 1, 2, 2))), leaf([1.0, 2.0])
    with tc.trace() as t:
        y = run(x, w, b)
        y.backward(np.ones(y.shape))
    assert rules(t)[0] == expected


def test_a_broadcast_sum_is_an_expand_and_an_add():
    x, b = leaf(np.ones((2, 3))), leaf([1.0, 2.0, 3.0])
    with tc.trace(b=b) as t:
        (x + b).sum().backward()
    assert rules(t) == [("sum", ["x <- repeat(y)"]), ("add", ["a <- g", "b <- g"]), ("expand", ["x <- sum_to(y)"])]
    (fill,) = t.sweeps[0].pulls[-1].fills
    assert str(fill.source) == "b" and fill.value.shape == (3,) and fill.value.array.tolist() == [2, 2, 2]


def test_an_operand_used_twice_gets_both_gradients():
    x = leaf([1.0, 2.0])
    with tc.trace(x=x) as t:
        (x * x).sum().backward()
    first, second = t.sweeps[0].pulls[-1].fills
    assert [(f.slot, str(f.source), len(f.added)) for f in (first, second)] == [("x", "x", 0), ("w", "x", 1)]
    assert second.added[0].out.array.tolist() == [2, 4] == x.grad.tolist()


# -- kernels, shapes, bytes ----------------------------------------------------------------------------------------


def test_algorithms_and_refusals_are_the_registrys(network):
    seen = set()
    for step in network.steps:
        for choice in step.choices:
            k, dims, dtype = choice.kernel, choice.dims, choice.dtype
            assert k is tc.choose(k.op, dims, dtype)
            seen.add(k.op)
            expected = {other.algorithm: other.refuse(dims, dtype) for other in kernels(k.op)
                        if other is not k and other.device == k.device}
            assert [name for name, _ in choice.others] == list(expected)[::-1]
            for name, why in choice.others:
                assert why and (why == expected[name] or not expected[name])
    assert seen == {"channel_sum", "conv", "linear", "linear_input_grad", "linear_weight_grad", "max_pool", "pool_scatter",
                    "relu_grad", "softmax_nll", "conv_weight_grad"}
    text = network.tree()
    assert "kernels, and why not the others" in text and "by simd: #1" in text.replace("conv ", "")


def test_why_not_the_others_where_one_is_pinned():
    x, w = leaf(np.ones((1, 1, 5, 5))), leaf(np.ones((1, 1, 3, 3)))
    with tc.use("im2col"), tc.trace() as t:
        F.conv2d(x, w)
    (choice,) = t.steps[0].choices
    why = dict(choice.others)
    assert choice.kernel.algorithm == "im2col" and choice.scratch == choice.kernel.scratch(choice.dims, choice.dtype)
    assert why["simd"] == "another was asked for" and why["direct"] == "a lower rung"
    assert why["fft"] == "it runs only where it is asked for"


def test_a_kernel_that_is_named_is_told_once():
    """It is chosen twice: to be checked, and to be run."""
    x, w = leaf(np.ones((1, 1, 5, 5))), leaf(np.ones((1, 1, 3, 3)))
    with tc.trace() as t:
        F.conv2d(x, w, algorithm="im2col").sum().backward()
    assert [c.kernel.algorithm for s in t.steps for c in s.choices] == ["im2col"] * 3


def test_shapes_dtypes_and_bytes(network):
    found = [(s.op, s.out.shape, s.out.dtype, s.bytes) for s in network.events if isinstance(s, Step)]
    pool = [("max_pool", (1, 3, 3, 3), "float32", 108), ("relu", (1, 3, 3, 3), "float32", 108)]  # nn puts the pooling first
    assert found == [("conv", (1, 3, 6, 6), "float32", 432), *pool, ("reshape", (1, 27), "float32", 0),
                     ("linear", (1, 4), "float32", 16), ("cross_entropy", (), "float32", 4)]
    assert network.tensors["image"].bytes == 256 and network.tensors["4.weight"].shape == (4, 27)
    assert all(s.seconds >= 0 for s in network.steps)


def test_only_small_arrays_are_kept():
    x = leaf(np.arange(4.0))
    with tc.trace(keep=3) as t:
        (x * 2.0).sum()
    assert [s.out.array is None for s in t.steps] == [True, False] and t.steps[0].out.norm == np.sqrt(4 * 14)


# -- what went wrong -----------------------------------------------------------------------------------------------


def found(fn):
    with np.errstate(all="ignore"), tc.trace() as t:
        y = fn()
        if y.requires_grad:
            y.backward()
    return t.findings()


def test_the_first_nan_is_named():
    (finding,) = found(lambda: ((leaf([1.0, -1.0]) * 2.0).log() + 1.0).sum())
    assert (finding.kind, finding.where) == ("nan", "log #2")
    assert finding.text == "log #2 made the first NaN: 1 of 2 values of its result, of shape (2,); its operands were finite"


def test_an_infinity_and_the_nan_that_comes_of_it():
    first, second = found(lambda: (lambda y: (y - y).sum())(leaf([1.0, 2.0, 3.0]) / Tensor(np.array([0.0, 1.0, 1.0]))))[:2]
    assert (first.kind, first.where, second.kind, second.where) == ("infinity", "div #1", "nan", "sub #2")
    assert "#1 in slot a held 1 infinite" in second.text


def test_a_nan_that_was_there_before():
    (finding,) = found(lambda: leaf([1.0, np.nan]).exp().sum())
    assert finding.kind == "nan" and finding.text.startswith("leaf 1 in slot x held 1 NaN") and "exp #1" in finding.text


def test_an_infinity_made_by_a_gradient_rule():
    (finding, *_) = found(lambda: leaf([0.0, 1.0]).sqrt().sum())
    assert finding.kind == "infinity" and finding.where.startswith("div #") and "1 of 2" in finding.text


def test_a_nan_made_by_a_fused_backward_pass():
    bad = fused("bad", lambda x: x, lambda x: x.copy(), lambda needs, g, out, x: [g * np.nan])
    (finding,) = found(lambda: bad(leaf([1.0, 2.0]) * 1.0).sum())
    assert finding.kind == "nan" and "the gradient x <- bad backward, one pass of #1 made the first NaN" in finding.text


def chain(scale, depth=30):
    x = leaf([[0.5, -0.5]])
    for _ in range(depth):
        x = (x * scale).tanh() if scale < 1 else x * scale
    return x.sum()


@pytest.mark.parametrize("scale, kind", [(0.5, "vanishing"), (3.0, "exploding")])
def test_gradients_that_vanish_or_explode(scale, kind):
    """Each scale takes the norm, sqrt(2) at the last, by its factor: the first beyond the bound is the one that is named."""
    (finding,) = found(lambda: chain(scale))
    assert finding.kind == kind
    if kind == "exploding":  # sqrt(2) * 3^k > 10^4 first for k = 9: at the tenth scale from the last
        assert finding.where == "scale #21" and "at 21 of 31 operations; most at scale #1" in finding.text
    bound = "below 1e-06" if kind == "vanishing" else "above 10000"
    assert f"{bound} of the 1 that the backward pass began with" in finding.text


def test_bounds_can_be_set():
    x = leaf([1.0, 1.0])
    with tc.trace() as t:
        ((x * 1e-3) * 1e-3).sum().backward()
    assert not t.findings() and [f.kind for f in t.findings(vanishing=1e-2)] == ["vanishing"]


def test_a_relu_that_lets_nothing_through():
    (finding,) = found(lambda: (leaf([-1.0, -2.0]) * 2.0).relu().sum())
    assert (finding.kind, finding.where) == ("zero", "relu #2") and "that of #1 is 0 everywhere" in finding.text


# -- well defined --------------------------------------------------------------------------------------------------


def test_second_order_passes_are_traced_too():
    x = leaf([0.5, 2.0])
    with tc.trace(x=x) as t:
        (g,) = tc.autograd.grad((x * x * x).sum(), x, create_graph=True)
        (g * g).sum().backward()
    first, second = t.sweeps
    rule_steps = {e.number for p in first.pulls for f in p.fills for e in (*f.events, *f.added)}
    again = {p.step for p in second.pulls} & rule_steps
    assert again and {s.op for s in t.steps if s.number in again} >= {"mul_input_grad", "mul_weight_grad"}
    assert x.grad.tolist() == [2 * 3 * v * v * 6 * v for v in (0.5, 2.0)]
    assert {fill.rule for p in second.pulls if p.op == "mul_weight_grad" for fill in p.fills} == {
        "x <- mul_input_grad(y, w)", "y <- mul(x, w)"}


def test_a_fused_rule_under_create_graph_is_a_pass_in_a_pass():
    x = leaf([[1.0, 2.0]])
    with tc.trace() as t:
        tc.autograd.grad(F.cross_entropy(x, tc.tensor([0])), x, create_graph=True)
    (fill,) = t.sweeps[0].pulls[0].fills
    assert [type(e).__name__ for e in fill.events].count("Sweep") == 1 and len(t.sweeps) == 1
    assert "backward from" in str(t).split("cross_entropy #1")[1]


def test_gradients_that_are_added_to_those_of_an_earlier_pass():
    x = leaf([1.0])
    with tc.trace(x=x) as t:
        (x * 2.0).backward()
        (x * 3.0).backward()
    assert [len(s.added) for s in t.sweeps] == [0, 1] and t.sweeps[1].added[0].out.array.tolist() == [5.0]


def test_a_trace_in_a_trace_and_one_gone_on_with():
    x = leaf([1.0])
    with tc.trace() as outer:
        x.exp()
        with tc.trace() as inner, pytest.raises(RuntimeError, match="under way"), inner:
            pass
        with inner:
            x.sin()
        x.cos()
    x.tanh()
    with inner:
        x.sqrt()
    assert [s.op for s in outer.steps] == ["exp", "sin", "cos"] and [s.op for s in inner.steps] == ["sin", "sqrt"]


def test_another_thread_is_not_traced():
    x = leaf([1.0])
    with tc.trace() as t:
        thread = threading.Thread(target=x.exp)
        thread.start()
        thread.join()
    assert t.steps == [] and str(t).startswith("0 operations")


def test_a_backward_pass_from_before_the_trace():
    y = (leaf([1.0, 2.0]) * 3.0).sum()
    with tc.trace() as t:
        y.backward()
    assert [p.step for p in t.sweeps[0].pulls] == [None, None] and "from before the trace" in str(t)
    assert t.svg() and t.dot() and t.page()


def test_a_pass_that_fails_leaves_a_trace_that_can_be_read():
    x = leaf([1.0])
    y = x.exp()
    y.backward()
    with tc.trace() as t:
        with pytest.raises(RuntimeError, match="second backward"):
            y.backward()
        x.sin()
    assert [type(e).__name__ for e in t.events] == ["Sweep", "Step"]


def test_names_are_for_tensors():
    with pytest.raises(TypeError, match="wants a Tensor for x, got float"):
        tc.trace(x=1.0)


# -- the graph -----------------------------------------------------------------------------------------------------


def parsed(dot):
    """The nodes of a DOT text with their labels, and its arrows; every line must be one that the grammar allows."""
    quoted = r'"(?:[^"\\]|\\.)*"'
    attributes = rf"\[(?:\w+=(?:{quoted}|[\w.]+)(?:, )?)*\]"
    first, *lines, last = dot.strip().split("\n")
    assert first == "digraph trace {" and last == "}"
    nodes, arrows = {}, []
    for line in lines:
        match = re.fullmatch(rf"  (\w+)(?: -> (\w+))? ({attributes});", line)
        assert match, line
        if match[2]:
            arrows.append((match[1], match[2]))
        elif match[1] not in ("node", "edge"):
            nodes[match[1]] = re.search(rf"label=({quoted})", match[3])[1]
    return nodes, arrows


def test_dot(network):
    nodes, arrows = parsed(network.dot())
    assert list(nodes) == [f"op{n}" for n in range(1, 7)] + [f"back1_{n}" for n in range(6)]
    assert arrows == [(f"op{n}", f"op{n + 1}") for n in range(1, 6)] + [
        (f"back1_{n}", f"back1_{n + 1}") for n in range(5)] + [("op6", "back1_0")]
    assert "w = 0.weight 3x1x3x3" in nodes["op1"] and "w <- conv_weight_grad(x, y) by simd" in nodes["back1_5"]


def branching():
    x = leaf(np.ones((2, 2)))
    with tc.trace(x=x) as t:
        a = x * 2.0
        b, c = a.exp(), a.sin().cos()
        (g,) = tc.autograd.grad((b * c + a).sum(), x, create_graph=True)
        (g * g).sum().backward()
    return t


@pytest.mark.parametrize("made", ["network", "branching"])
def test_svg_has_boxes_that_do_not_overlap_and_an_arrow_for_each_of_dot(made, network):
    t = network if made == "network" else branching()
    nodes, arrows = parsed(t.dot())
    root = ET.fromstring(t.svg())
    ns = {"s": "http://www.w3.org/2000/svg"}
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = {}
    for group in root.findall("s:g", ns):
        rect = group.find("s:rect", ns)
        boxes[group.get("id")] = tuple(float(rect.get(k)) for k in ("x", "y", "width", "height"))
    assert set(boxes) == set(nodes)
    for name, (x, y, w, h) in boxes.items():
        assert 0 <= x and x + w <= width and 0 <= y and y + h <= height
        for other, (x2, y2, w2, h2) in boxes.items():
            apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
            assert name == other or apart, f"{name} and {other} overlap"
    assert len(root.findall("s:path", ns)) == len(arrows) and len(set(arrows)) == len(arrows)
