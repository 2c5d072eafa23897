"""What the bench times: tasks and their operands, cases resized by name, suites and what is chosen of them."""

from dataclasses import asdict

import numpy as np
import pytest

from tinyconv import cases
from tinyconv.bench import nets, suites
from tinyconv.bench.task import POOLS, SLOTS, Task, conv_case, dims_of, operands, work
from tinyconv.registry import kernels


def test_operands_are_the_same_in_every_process():
    task = Task("conv", "conv_weight_grad", "lenet.c1:N=2")
    first, second = operands(task), operands(Task(**asdict(task)))
    assert all((a == b).all() and a.dtype == np.float32 for a, b in zip(first, second))
    assert [a.shape for a in first] == [(2, 1, 32, 32), (2, 6, 28, 28)]
    assert not (operands(Task("conv", "conv_weight_grad", "lenet.c1:N=2", "float64"))[0][0] == first[0][0]).all()


@pytest.mark.parametrize(("name", "x", "w"), [
    ("vgg.64:N=1,H=14", (1, 64, 14, 14), (64, 64, 3, 3)),
    ("vgg.64:C=8,k=5", (8, 8, 56, 56), (64, 8, 5, 5)),
    ("depthwise:C=16", (8, 16, 56, 56), (16, 1, 3, 3)),
    ("small.line:H=20", (2, 3, 20), (4, 3, 5)),
])
def test_cases_are_resized_by_name(name, x, w):
    dims = conv_case(name)
    assert (dims.x_shape, dims.w_shape) == (x, w)


@pytest.mark.parametrize(("name", "says"), [
    ("vgg.63", r"no case .vgg.63.; did you mean .vgg.64.\? There are: lenet.c1"),
    ("vgg.64:Q=3", "resized by N, C, O, H and k, each with a whole number, not by 'Q=3'"), ("vgg.64:H=x", "not by 'H=x'"),
    ("vgg.64:N", "not by 'N'")])
def test_unknown_cases_are_named(name, says):
    with pytest.raises(ValueError, match=says):
        conv_case(name)


@pytest.mark.parametrize("name", POOLS)
def test_positions_lie_in_their_windows(name):
    """The positions that pool_scatter is timed with are those of cells of the windows."""
    dims = POOLS[name]
    _, at = operands(Task("pool", "pool_scatter", name))
    for flat_axis, (size, o_size, s, k, (lo, _)) in enumerate(
            zip(dims.input, dims.output, dims.stride, dims.kernel, dims.padding)):
        i = at // dims.input[1] if flat_axis == 0 else at % dims.input[1]
        first = np.arange(o_size).reshape(-1, *(1,) * (1 - flat_axis)) * s - lo
        assert ((i >= np.maximum(first, 0)) & (i < np.minimum(first + k, size))).all()


def test_suites_hold_what_the_project_promises():
    conv = list(suites.tasks("conv"))
    assert {t.case for t in conv} == set(cases.layers) and {t.op for t in conv} == set(SLOTS)
    steps = [t.case for t in suites.tasks("steps")]
    assert steps == ["mnist@10", "mnist@64", "mnist@256", "lenet5@64", "bnnet@32", "autoencoder@64"]
    assert len(list(suites.tasks("pool"))) == 24


def test_filters_choose_tasks():
    chosen = list(suites.tasks("conv", ops="conv_*", names="vgg.*,small.line,vgg.64:N=1,H=14", dtypes=("float64",)))
    assert {t.case for t in chosen} == {"vgg.64", "vgg.128", "vgg.256", "vgg.512", "small.line", "vgg.64:N=1,H=14"}
    assert {t.op for t in chosen} == {"conv_input_grad", "conv_weight_grad"} and {t.dtype for t in chosen} == {"float64"}


def test_a_pattern_may_hold_a_size():
    suites.check_names(["growth"], "*", "mnist.c2:N=*")
    assert {t.case for t in suites.tasks("growth", names="mnist.c2:N=*")} == {f"mnist.c2:N={n}" for n in (1, 4, 16, 64, 256)}
    assert not list(suites.tasks("conv", names="mnist.c2:N=*"))


def test_a_quick_bench_has_a_taste_of_each_suite():
    """In the order in which it is left out where time is short; growth needs more cases than there is time for."""
    few = {suite: list(suites.tasks(suite, quick=True)) for suite in suites.SUITES}
    assert list(few)[:2] == ["ladder", "conv"] and [suite for suite, found in few.items() if not found] == ["growth"]
    assert {task.op for task in few["conv"]} == set(SLOTS)
    case = conv_case(few["ladder"][0].case)
    assert not [k.algorithm for k in kernels("conv") if k.device == "cpu" and k.refuse(case, np.dtype("float32"))
                and k.algorithm not in ("aot", "columns")]  # aot needs a compiler, columns few channels, winograd many
    for suite, found in few.items():
        assert suite in ("ladder", "growth") or {t.case for t in found} <= {t.case for t in suites.tasks(suite)}


def test_the_work_of_a_task_is_counted_from_its_dims():
    assert work(Task("conv", "conv", "small.hand")) == {"flops": 2 * 4 * 4, "bytes": 4 * (9 + 4 + 4)}
    pool = dims_of(Task("pool", "max_pool", "24.2s2"))
    assert work(Task("pool", "max_pool", "24.2s2"))["bytes"] == pool.bytes() + 8 * np.prod(pool.y_shape)
    convs, linears = (20 * 24 * 24 * 25, 40 * 8 * 8 * 20 * 25), (640 * 100, 100 * 10)
    step = 3 * (sum(convs) + sum(linears)) - convs[0]  # forward and two gradients, none of the images
    assert nets.work(Task("steps", "step", "mnist@10")) == {"flops": 2 * 10 * step}
