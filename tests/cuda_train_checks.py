"""What test_cuda_train.py runs in a process of its own, in the simulator or on a GPU: optimisers, steps, graphs and runs."""

import numpy as np
import pytest
from no_waiting import no_waiting

import tinyconv as tc
from tinyconv import nn, optim
from tinyconv.kernels import gpu
from tinyconv.kernels.gpu_graph import Graph
from tinyconv.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2),
                                  nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 3))

    def forward(self, x):
        return self.body(x)


OPTIMISERS = {
    "sgd": lambda p: optim.SGD(p, 0.1), "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adagrad": lambda p: optim.Adagrad(p, 0.1), "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adam": lambda p: optim.Adam(p, 0.01, amsgrad=True), "adamw": lambda p: optim.AdamW(p, 0.01),
}


def steps(on, make, dtype="float64", count=2):
    tc.manual_seed(1)
    net = Net().to(dtype)
    opt = make(list(net.parameters()))
    net.to(on)
    rng = np.random.default_rng(2)
    losses = []
    for _ in range(count):
        x, t = rng.standard_normal((2, 1, 8, 8)), rng.integers(0, 3, 2)
        x, t = tc.tensor(x, dtype=dtype, device=on), tc.tensor(t, device=on)
        with no_waiting(), tc.use("cuda_naive"):
            loss = F.cross_entropy(net(x), t)
            opt.zero_grad()
            loss.backward()
            opt.step()
        losses.append(loss.item())
    return net, opt, losses


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimisers_step_is_the_cpus(name):
    """Two steps of every rule on one parameter: the same formula in float64, so the last bits at most."""
    rng = np.random.default_rng(4)
    start, grads = rng.standard_normal((3, 5)), rng.standard_normal((2, 3, 5))
    found = []
    for on in ("cpu", "cuda"):
        p = tc.tensor(start, device=on, requires_grad=True)
        opt = OPTIMISERS[name]([p])
        for g in grads:
            p.grad = tc.tensor(g, device=on)
            with no_waiting():
                opt.step()
        assert all(gpu.is_device(a) == (on == "cuda") for a in opt.state.get(p, {}).values() if not np.isscalar(a))
        found.append(p.cpu().detach().numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-14)


def test_training_steps_of_a_network_are_the_cpus():
    """Convolution, batch norm, ReLU, both poolings, linear, cross entropy, backward and Adam, in float64.

    Adam divides by the root of the squared gradient: an error of 1e-15 in a gradient of 1e-3 is one of 1e-12 in the step.
    """
    def make(p):
        return optim.Adam(p, 0.01)

    want, _, losses = steps("cpu", make)
    got, opt, on_gpu = steps("cuda", make)
    np.testing.assert_allclose(on_gpu, losses, rtol=0, atol=1e-10)
    state = got.state_dict()
    assert all(t.is_cuda for t in state.values())
    for name, t in want.state_dict().items():
        np.testing.assert_allclose(state[name].cpu().numpy(), t.numpy(), rtol=0, atol=1e-9, err_msg=name)
    back = Net().double()
    back.load_state_dict(state)  # from the GPU to the host
    on = Net().double().to("cuda")
    on.load_state_dict(back.state_dict())  # and back
    assert all((on.state_dict()[k].cpu().numpy() == t.numpy()).all() for k, t in back.state_dict().items())
    twin = optim.Adam(on.parameters(), 0.01)
    twin.load_state_dict(opt.state_dict())
    assert all(gpu.is_device(s["exp_avg"]) for s in twin.state.values())


def test_clipping_is_the_cpus_and_does_not_wait():
    g = np.array([3.0, 4.0])
    for norm, total in ((2.0, 5.0), (np.inf, 4.0), (1.0, 7.0)):
        found = []
        for on in ("cpu", "cuda"):
            p = tc.zeros(2, dtype="float64", device=on, requires_grad=True)
            p.grad = tc.tensor(g, device=on)
            with no_waiting():
                before = nn.utils.clip_grad_norm_([p], 1.0, norm)
            found.append((before.item(), p.grad.tolist()))
        assert found[0][0] == total
        np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-15)


def test_dropout_draws_on_the_device_and_again_the_same():
    x = tc.ones(20, 50, device="cuda", requires_grad=True)
    tc.manual_seed(8)
    with no_waiting():
        y = F.dropout(x, 0.25)
        y.sum().backward()
    tc.manual_seed(8)
    again = F.dropout(x, 0.25)
    a = y.cpu().detach().numpy()
    assert set(np.unique(a)) == {np.float32(0), np.float32(4 / 3)}
    assert 0.2 < (a == 0).mean() < 0.3  # 1,000 draws: a standard deviation of 0.014
    np.testing.assert_array_equal(again.cpu().detach().numpy(), a)
    np.testing.assert_array_equal(x.grad.cpu().numpy(), a)
    with no_waiting():
        F.stochastic_pool(tc.rand(1, 2, 4, 4, device="cuda"), 2)


# -- training ----------------------------------------------------------------------------------------------------------


def trained(**settings):
    """Four batches of one epoch on a network of two layers, validated: the weights and the line of the metrics."""
    from tinyconv import train
    from tinyconv.train import loop, problem

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 17, (16, 1, 8, 8)).astype(np.uint8), rng.integers(0, 10, 16)
    config = train.configure(data="digits", epochs=1, batch_size=4, optimizer="sgd", lr=0.1, augment="none", **settings)
    tc.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(2, 10))
    data = problem.Data(train.PROBLEMS["digits"], (images[:14], labels[:14]), (images[14:], labels[14:]), (images, labels))
    with tc.use("cuda_naive"):
        done = loop.fit(problem.on_device(model, config.device), data, config)
    return {k: t.cpu().numpy() for k, t in model.state_dict().items()}, done


@pytest.mark.parametrize("graph", [False, True])
def test_training_on_the_gpu_is_training_on_the_cpu(graph, tmp_path):
    """The last batch is of two samples: a graph does not fit it. float32: a few roundings of 6e-8 in each of four steps."""
    want, on_cpu = trained()
    got, on_gpu = trained(device="cuda", graph=graph)
    for name, w in want.items():
        np.testing.assert_allclose(got[name], w, rtol=0, atol=1e-5, err_msg=name)
    a, b = on_cpu.history[0], on_gpu.history[0]
    assert (a.accuracy, a.validation_accuracy) == (b.accuracy, b.validation_accuracy)
    np.testing.assert_allclose([b.loss, b.validation_loss], [a.loss, a.validation_loss], rtol=1e-5)
    from tinyconv.train.checkpoint import read_tree, write_tree

    write_tree(tmp_path / "state", on_gpu.state_dict())  # from the GPU to a file, and into a run on the CPU
    on_cpu.load_state_dict(read_tree(tmp_path / "state"))
    assert on_cpu.model.state_dict()["0.weight"].device == "cpu"
    np.testing.assert_array_equal(on_cpu.model.state_dict()["0.weight"].numpy(), got["0.weight"])


def test_a_step_that_draws_is_not_recorded():
    graph = Graph(lambda: F.dropout(tc.ones(3, device="cuda")))
    for _ in range(Graph.WARM):
        graph()
    with pytest.raises(RuntimeError, match="random numbers in a step that is recorded"):
        graph()


def test_a_network_reads_on_the_gpu_what_it_reads_on_the_cpu():
    from tinyconv.train import PROBLEMS, evaluate, on_device, predict

    tc.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=3), nn.Flatten(), nn.Linear(8, 10))
    images = np.random.default_rng(1).integers(0, 17, (3, 1, 8, 8)).astype(np.uint8)
    transform, samples = PROBLEMS["digits"].transform, (images, np.array([1, 2, 3]))
    want, score = predict(model, images, transform), evaluate(model, samples, transform)
    on_device(model, "cuda")
    with tc.use("cuda_naive"):
        got, on_gpu = predict(model, images, transform), evaluate(model, samples, transform)
    assert type(got) is np.ndarray and on_gpu.wrong.tolist() == score.wrong.tolist()
    np.testing.assert_allclose(got, want, rtol=1e-5)  # float32, sums of at most 9 terms


def test_linear_layers_in_a_graph_do_without_cublas():
    """Whole numbers: sums are exact in any order. CuPy refuses to record cuBLAS, so the product is not to be asked for."""
    from tinyconv.registry import choose

    rng = np.random.default_rng(6)
    N, I, O = dims = 3, 5, 4
    x, w, y = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((N, I), (O, I), (N, O)))
    want = {"linear": (x, w, x @ w.T), "linear_input_grad": (y, w, y @ w), "linear_weight_grad": (x, y, y.T @ x)}
    for op, (a, b, answer) in want.items():
        fn, found = choose(op, dims, np.dtype("float32"), "cuda").fn, []
        a, b = gpu.to_device(a), gpu.to_device(b)
        graph = Graph(lambda fn=fn, a=a, b=b, found=found: found.append(fn(a, b, dims)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tinyconv.kernels.linear.matmul", None)
            for _ in range(Graph.WARM + 1):
                graph()
        for got in (found[-1], fn(a, b, dims)):
            np.testing.assert_array_equal(gpu.to_host(got), answer)


@pytest.mark.parametrize("step", [
    lambda x: x.max(1).values, lambda x: x.min(2).values, lambda x: tc.pad(x, (1, 1), "reflect"),
    lambda x: tc.pad(x, (2, 1), "circular"),
    lambda x: F.interpolate(x, (5, 7), mode="bilinear"), lambda x: F.interpolate(x, scale_factor=2),
    lambda x: x.gather(2, at(x)), lambda x: F.unpool(x, 2, mode="bed_of_nails"), lambda x: F.nll_loss(x, at(x)[:, 0]),
], ids=["max", "min", "reflect", "circular", "bilinear", "nearest", "gather", "bed_of_nails", "nll"])
def test_what_a_step_needs_from_the_host_was_copied_before_it_is_recorded(step):
    """CuPy refuses a copy from the host while a graph is recorded, and the simulator does."""
    x = tc.tensor(np.random.default_rng(3).standard_normal((2, 3, 3, 4)), device="cuda", requires_grad=True)

    def run():
        (step(x) ** 2).sum().backward()

    graph = Graph(run)
    for _ in range(Graph.WARM + 1):
        x.grad = None
        graph()
    assert x.grad.is_cuda


def at(x):
    return tc.zeros(2, 3, 3, 4, dtype="int64", device=x.device)


@pytest.mark.skipif(not gpu.simulated(), reason="CuPy refuses it in words of its own")
@pytest.mark.parametrize("step, what", [
    (lambda x: x @ x, "matmul, which is cuBLAS's,"), (lambda x: tc.einsum("ij,jk->ik", x, x), "einsum, which is cuBLAS's,"),
    (lambda x: x[[0, 2]], "an index on the host"), (lambda x: x + tc.tensor(np.ones(3), device="cuda"), "a copy from the host"),
    (lambda x: x.cpu(), "a copy to the host"),
], ids=["matmul", "einsum", "list", "array", "cpu"])
def test_what_cupy_does_not_record_the_simulator_does_not_either(step, what):
    x = tc.ones(3, 3, dtype="float64", device="cuda")
    graph = Graph(lambda: step(x))
    for _ in range(Graph.WARM):
        graph()
    with pytest.raises(RuntimeError, match=what):
        graph()
    step(x)  # outside of it, it is as before


def test_a_graph_holds_the_tables_that_its_launches_read():
    """The caches that copied them to the device may forget them."""
    found = []
    graph = Graph(lambda: found.extend((gpu.table((1, 2, 3)), gpu.constant(np.arange(4)))))
    for _ in range(Graph.WARM + 1):
        graph()
    gpu.table.cache_clear()
    assert len(graph.held) == 2 and all(any(held is a for held in graph.held) for a in found[-2:])
    gpu.table((4, 5, 6))
    assert len(graph.held) == 2, "what is not of the graph is not held by it"
