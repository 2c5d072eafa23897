"""Schedules of the learning rate: by hand, and against PyTorch's."""

import json
import math

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import optim


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")


def params():
    return [tc.nn.Parameter(np.zeros(2))]


def rates(schedule, steps):
    found = [schedule.get_last_lr()[0]]
    for _ in range(steps):
        schedule.step()
        found.append(schedule.get_last_lr()[0])
    return found


SCHEDULES = [
    (lambda o, m: m.StepLR(o, 3, 0.5)), (lambda o, m: m.MultiStepLR(o, [2, 5], 0.1)), (lambda o, m: m.ExponentialLR(o, 0.9)),
    (lambda o, m: m.CosineAnnealingLR(o, 6, 0.01)), (lambda o, m: m.LinearLR(o, 0.2, 0.8, 4)),
    (lambda o, m: m.LambdaLR(o, lambda t: 1 / (1 + t))),
    (lambda o, m: m.SequentialLR(o, [m.LinearLR(o, 0.1, 1.0, 3), m.CosineAnnealingLR(o, 9)], [3])),
    (lambda o, m: m.OneCycleLR(o, 0.5, 13)), (lambda o, m: m.OneCycleLR(o, 0.5, epochs=4, steps_per_epoch=4, pct_start=0.4)),
    (lambda o, m: m.OneCycleLR(o, 0.5, 13, anneal_strategy="linear", three_phase=True)),
]


@pytest.mark.parametrize("make", SCHEDULES)
def test_schedules_are_pytorchs(torch, make):
    (p,) = params()
    ours = make(optim.SGD([p], lr=0.4, momentum=0.9), optim)
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.4, momentum=0.9)
    theirs = make(opt, torch.optim.lr_scheduler)
    opt.step()
    for got, want in zip(rates(ours, 12), rates(theirs, 12)):
        assert got == pytest.approx(want, rel=1e-9)  # PyTorch multiplies step by step: some 12 roundings


def test_schedules_by_hand():
    def opt():
        return optim.SGD(params(), lr=1.0)

    assert rates(optim.StepLR(opt(), 2, 0.5), 4) == [1, 1, 0.5, 0.5, 0.25]
    assert rates(optim.MultiStepLR(opt(), [3, 1], 0.5), 3) == [1, 0.5, 0.5, 0.25]
    assert rates(optim.CosineAnnealingLR(opt(), 2), 2) == pytest.approx([1, 0.5, 0])
    assert rates(optim.LinearLR(opt(), 0.5, 1.0, 2), 3) == [0.5, 0.75, 1, 1]
    warm = opt()
    assert rates(optim.SequentialLR(warm, [optim.LinearLR(warm, 0.5, 1.0, 2), optim.StepLR(warm, 1, 0.1)], [2]), 4) \
        == pytest.approx([0.5, 0.75, 1, 0.1, 0.01])
    cycle = rates(optim.OneCycleLR(opt(), 2.0, 5, pct_start=0.6, div_factor=4, final_div_factor=10, cycle_momentum=False), 4)
    assert cycle == pytest.approx([0.5, 1.25, 2.0, (2 + 0.05) / 2, 0.05])  # up in 0.6 * 5 - 1 = 2 steps, down in 2


def test_one_cycle_moves_momentum_the_other_way(torch):
    o, t = optim.Adam(params()), torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    ours, theirs = optim.OneCycleLR(o, 0.1, 10), torch.optim.lr_scheduler.OneCycleLR(t, 0.1, 10)
    t.step()
    for _ in range(9):
        assert o.param_groups[0]["betas"] == pytest.approx(t.param_groups[0]["betas"], rel=1e-12)
        ours.step()
        theirs.step()
    with pytest.raises(ValueError, match="a one-cycle schedule of 10 steps was stepped 10 times"):
        ours.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("first", [math.nan, math.inf])  # what a run that begins badly says; everything after is better
def test_plateau_is_pytorchs(torch, mode, threshold_mode, first):
    options = {"mode": mode, "factor": 0.5, "patience": 1, "threshold": 0.1, "threshold_mode": threshold_mode, "cooldown": 1,
               "min_lr": 0.03}
    o, t = optim.SGD(params(), lr=0.4), torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.4)
    ours = optim.ReduceLROnPlateau(o, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(t, **options)
    for metric in [first * ours.sign, 3.0, 2.95, 2.5, 2.6, 2.6, *[2.4] * 4, 1.0, 1.5, 2.0, *[5.0] * 7]:
        ours.step(metric)
        theirs.step(metric)
        assert o.param_groups[0]["lr"] == pytest.approx(t.param_groups[0]["lr"], rel=1e-12)


def test_schedules_resume():
    for make in SCHEDULES:
        if make is SCHEDULES[5]:
            continue  # a function is not saved
        a, b = (make(optim.SGD(params(), lr=0.4, momentum=0.9), optim) for _ in range(2))
        rates(a, 5)
        b.load_state_dict(json.loads(json.dumps(a.state_dict())))
        assert b.get_last_lr() == a.get_last_lr() and rates(a, 5) == rates(b, 5)
    o = optim.SGD(params(), lr=1.0)
    a, b = optim.ReduceLROnPlateau(o, patience=2), optim.ReduceLROnPlateau(o, patience=2)
    a.step(1.0)
    a.step(2.0)
    b.load_state_dict(json.loads(json.dumps(a.state_dict())))
    assert b.state_dict() == a.state_dict()


@pytest.mark.parametrize("call, words", [
    (lambda o: optim.StepLR(o, 0), "step_size must be at least 1, got 0"),
    (lambda o: optim.StepLR(o, math.nan), "step_size must be at least 1, got nan"),
    (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), optim.StepLR(optim.SGD(params()), 1)], [3]),
     "schedule 1 of 2 writes to another optimiser"),
    (lambda o: optim.CosineAnnealingLR(o, 0), "T_max must be at least 1, got 0"),
    (lambda o: optim.LinearLR(o, 0.0), "got 5, 0.0 and 1.0"),
    (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), "1 schedules want 0 rising milestones, got [3]"),
    (lambda o: optim.OneCycleLR(o, 0.1), "total_steps, or both"),
    (lambda o: optim.OneCycleLR(o, 0.1, 0), "got 0, 0.3 and 'cos'"),
    (lambda o: optim.OneCycleLR(o, [0.1, 0.2], 5), "2 values of max_lr for 1 parameter groups"),
    (lambda o: optim.OneCycleLR(optim.Adagrad(o.param_groups[0]["params"]), 0.1, 5), "Adagrad has neither momentum nor betas"),
    (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), "a factor between 0 and 1, got 'min', 'rel' and 1.0"),
    (lambda o: optim.StepLR(o, 1).load_state_dict({"last_epoch": 1, "base_lrs": [1, 2]}),
     "the state has 2 groups, the optimiser 1"),
])
def test_schedules_refuse(call, words):
    with pytest.raises(ValueError) as caught:
        call(optim.SGD(params(), lr=0.1))
    assert words in str(caught.value)
