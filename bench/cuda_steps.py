"""Training steps of the MNIST networks on a GPU, for bench/cuda_work.py: by calls, as one captured graph, and by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinyconv as tc
from tinyconv.bench import nets
from tinyconv.bench.task import Task
from tinyconv.kernels import gpu
from tinyconv.kernels.gpu_graph import Graph

from .cuda_work import record_of, why

BURST = 20  # steps between two events: training is a row of steps, and Python or the GPU may be what it waits for


def build(task: Task, lib: Any, wrap: Callable, lr: float, device: str) -> Callable[[], Any]:
    """One training step on a device, from the same first weights in either library: nets.py's, moved there."""
    name = task.case.partition("@")[0]
    net = nets.network(lib.nn, name)
    state = net.state_dict()
    drawn = nets.weights(task, {key: tuple(value.shape) for key, value in state.items()}, "float32")
    net.load_state_dict({**state, **{key: wrap(value) for key, value in drawn.items()}})
    net.to(device)
    images, target = (wrap(a).to(device) for a in nets.batch(task, "float32"))
    optimiser = lib.optim.SGD(net.parameters(), lr=lr, momentum=nets.MOMENTUM)

    def step() -> Any:
        optimiser.zero_grad()
        loss = lib.nn.functional.cross_entropy(net(images), target)
        loss.backward()
        optimiser.step()
        return loss

    return step


def calls(step: Callable[[], Any], way: str) -> Callable[[], Any]:
    """The step as it is, or as a graph, which runs some times as it is before it is recorded; the loss as a tensor."""
    if way == "eager":
        return step
    kept: list[Any] = []
    graph = Graph(lambda: kept.__setitem__(slice(None), [step()]))

    def run() -> Any:
        graph()
        return kept[0]

    return run


def judge(task: Task, lib: Any, wrap: Callable, device: str, way: str) -> None:
    """Raises ArithmeticError where the first losses are not those of tinyconv on the CPU, in float64."""
    want = nets.first_losses(task, tc.nn, tc.optim, tc.from_numpy, "float64")
    step = calls(build(task, lib, wrap, nets.MOVING, device), way)
    got = np.array([float(step().item()) for _ in range(nets.LOSSES)])
    if not np.allclose(got, want, rtol=nets.TOLERANCE, atol=0):
        raise ArithmeticError(f"wrong: losses {got} where {want} are right")


def step_rows(clock: Any, torch: Any, case: str) -> Iterator[dict]:
    """{"row": ...} or {"failure": ...} for each way of running the training step of NET@BATCH. A time is a share of BURST."""
    task = Task("cuda", "step", case)
    ways: list[tuple[str, Any, Callable]] = [("graph", tc, tc.from_numpy), ("eager", tc, tc.from_numpy)]
    if torch:
        ways.append(("eager", torch, torch.from_numpy))
    device = "cpu" if gpu.simulated() else "cuda"  # the simulator would take minutes for a step
    for way, lib, wrap in ways:
        about = {"suite": "cuda", "op": "step", "case": case, "dtype": "float32", "threads": 0,
                 "library": "tinyconv" if lib is tc else "torch", "algorithm": way}
        try:
            judge(task, lib, wrap, device, way)
            step = calls(build(task, lib, wrap, nets.STILL, device), way)
            for _ in range(Graph.WARM + 1):
                step()
            times = clock.times(step, 0.2, burst=BURST)
        except Exception as error:  # a row that fails is shown, and the others go on
            yield {"failure": {**about, "why": why(error)}}
            continue
        yield {"row": {**about, **record_of(times)}}
