"""What test_cuda_tensor.py runs in a process of its own, in the simulator or on a GPU: tensors, ops and their gradients."""

import numpy as np
import pytest
from no_waiting import no_waiting

import tinyconv as tc
from tinyconv.kernels import gpu
from tinyconv.nn import functional as F

RNG = np.random.default_rng(5)
A, B = RNG.standard_normal((2, 3, 4)) + 0.1, RNG.random((2, 3, 4)) + 0.5
IMG = RNG.permutation(2 * 5 * 6).reshape(1, 2, 5, 6) / 20 - 1  # no ties
V = RNG.standard_normal(2)
W = RNG.standard_normal((4, 2, 3, 3))
LOGITS, CLASSES = RNG.standard_normal((5, 3)), np.array([0, 2, 1, 1, 2])


def aim(t):
    return tc.tensor(CLASSES, device=t.device)


# name: arrays, and a function of tensors made of them; the sum of squares of what it gives is differentiated
OPS = {
    "add": ([A, B], lambda a, b: a + b), "sub": ([A, B], lambda a, b: 1.0 - a - b), "mul": ([A, B], lambda a, b: a * b * 2.0),
    "div": ([A, B], lambda a, b: a / b + 1.0 / b), "pow": ([B, A], lambda a, b: a**b + a**3.0),
    "broadcast": ([A, B[:, :1]], lambda a, b: a * b + b), "expand": ([A[:, :1]], lambda a: a.expand(2, 3, 4)),
    "exp": ([A], tc.exp), "log": ([B], tc.log), "log1p": ([B], tc.log1p), "sqrt": ([B], tc.sqrt), "rsqrt": ([B], tc.rsqrt),
    "sin": ([A], tc.sin), "cos": ([A], tc.cos), "tanh": ([A], tc.tanh), "abs": ([A], tc.abs), "sigmoid": ([A], tc.sigmoid),
    "softplus": ([A], tc.softplus), "relu": ([A], tc.relu), "silu": ([A], F.silu), "leaky_relu": ([A], F.leaky_relu),
    "clip": ([A], lambda a: tc.clip(a, -0.5, 0.5)), "maximum": ([A, B], tc.maximum), "minimum": ([A, B], tc.minimum),
    "where": ([A, B], lambda a, b: tc.where(a > 0.2, a, b) + tc.where(b > 1.0, b, 0.5)),
    "sum": ([A], lambda a: a.sum(1) + a.sum()), "mean": ([A], lambda a: a.mean((0, 2))), "var": ([A], lambda a: a.var(1)),
    "std": ([A], lambda a: a.std(2)), "amax": ([A], lambda a: a.amax(1)), "amin": ([A], lambda a: a.amin()),
    "max": ([A], lambda a: a.max(1).values), "softmax": ([A], lambda a: a.softmax(1)),
    "log_softmax": ([A], lambda a: a.log_softmax(1)), "logsumexp": ([A], lambda a: a.logsumexp(1)),
    "reshape": ([A], lambda a: a.reshape(4, 6)), "permute": ([A], lambda a: a.permute(2, 0, 1)),
    "flip": ([A], lambda a: a.flip(1)),
    "slice": ([A], lambda a: a[:, 1:, ::2]), "take": ([A], lambda a: a[:, np.array([2, 0, 2])]),
    "take by a tensor": ([A], lambda a: a[tc.tensor([1, 1, 0], device=a.device)]),
    "cat": ([A, B], lambda a, b: tc.cat([a, b], 1)),
    "stack": ([A, B], lambda a, b: tc.stack([a, b])), "split": ([A], lambda a: a.split(2, 2)[1]),
    "gather": ([A], lambda a: a.gather(1, tc.tensor(np.array([[[0, 1, 2, 1]], [[2, 2, 0, 0]]]), device=a.device))),
    "pad": ([A], lambda a: tc.pad(a, (1, 2), value=3.0)), "pad reflect": ([A], lambda a: tc.pad(a, (1, 2), "reflect")),
    "cast": ([A], lambda a: a.float().double()), "matmul": ([A, B], lambda a, b: a @ b.permute(0, 2, 1)),
    "linear": ([A, RNG.standard_normal((5, 4)), RNG.standard_normal(5)], tc.ops.linear),
    "einsum": ([A, B], lambda a, b: tc.einsum("nij,nkj->ik", a, b)),
    "conv": ([IMG, W, RNG.standard_normal(4)], lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1)),
    "conv_transpose": ([IMG, W.swapaxes(0, 1), V[[0, 1, 0, 1]]], lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1)),
    "unfold": ([IMG], lambda x: tc.nn.functional.unfold(x, 2)),
    "fold": ([RNG.standard_normal((1, 8, 6))], lambda x: tc.nn.functional.fold(x, (3, 4), 2)),
    "max_pool": ([IMG], lambda x: F.max_pool2d(x, 3, 2, 1)),
    "max_pool even": ([IMG], lambda x: F.max_pool2d(x, 2, ties="even")),
    "adaptive_max_pool": ([IMG], lambda x: F.adaptive_max_pool2d(x, (2, 4))),
    "avg_pool": ([IMG], lambda x: F.avg_pool2d(x, 2, 2, 1)),
    "adaptive_avg_pool": ([IMG], lambda x: F.adaptive_avg_pool2d(x, (3, 4))),
    "lp_pool": ([IMG], lambda x: F.lp_pool2d(x, 2, 2)),
    "lp_pool 9": ([IMG], lambda x: F.lp_pool2d(x, 9, 2)), "median_pool": ([IMG], lambda x: F.median_pool(x, 2)),
    "max_unpool": ([IMG], lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(5, 6))),
    "unpool": ([IMG], lambda x: F.unpool(x, 3, 2) + F.unpool(x, 3, 2, mode="bed_of_nails") + F.unpool(x, 3, 2, mode="average")),
    "interpolate": ([IMG], lambda x: F.interpolate(x, (7, 9), mode="bilinear") + F.interpolate(x, (7, 9))),
    "pixel_shuffle": ([IMG.reshape(1, 4, 3, 5)], lambda x: F.pixel_shuffle(x, 2)),
    "batch_norm": ([IMG, V, V + 2], lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
    "layer_norm": ([A, B[0, 0], A[0, 0]], lambda x, w, b: F.layer_norm(x, 4, w, b)),
    "group_norm": ([IMG, V, V], lambda x, w, b: F.group_norm(x, 2, w, b)), "instance_norm": ([IMG], F.instance_norm),
    "local_response_norm": ([IMG], lambda x: F.local_response_norm(x, 2)),
    "cross_entropy": ([LOGITS], lambda x: F.cross_entropy(x, aim(x), label_smoothing=0.1)),
    "cross_entropy weighted": ([LOGITS, B[0, 0, :3]], lambda x, w: F.cross_entropy(x, aim(x), w.detach(), ignore_index=1)),
    "nll_loss": ([LOGITS], lambda x: F.nll_loss(x, aim(x))), "mse_loss": ([A, B], F.mse_loss), "l1_loss": ([A, B], F.l1_loss),
    "huber_loss": ([A, B], F.huber_loss),
    "bce": ([A, B / 2], F.binary_cross_entropy_with_logits),
}


def run(arrays, fn, on, second):
    """The result, the gradients of its sum of squares, and with `second` a gradient of those."""
    ts = [tc.tensor(a, device=on, requires_grad=True) for a in arrays]
    y = fn(*ts)
    grads = tc.autograd.grad((y * y).sum(), ts, create_graph=second, allow_unused=True)
    more = ()
    if second:
        more = tc.autograd.grad(sum((g * g).sum() for g in grads if g is not None), ts, allow_unused=True)
    return [y, *grads, *more]


@pytest.mark.parametrize("name", OPS)
def test_an_op_and_its_gradients_are_the_cpus(name):
    arrays, fn = OPS[name]
    second = name in ("mul", "conv", "max_pool", "batch_norm", "cross_entropy", "take", "interpolate", "linear")
    want = run(arrays, fn, "cpu", second)
    with no_waiting(), tc.use("cuda_naive"):  # of the convolutions the one that is quick to simulate: test_cuda_conv.py has all
        got = run(arrays, fn, "cuda", second)
    for w, g in zip(want, got, strict=True):
        assert (w is None) == (g is None)
        if w is not None:
            assert gpu.is_device(g.data), f"{name} gave an array on the host"
            assert g.shape == w.shape and g.dtype == w.dtype
            # float64: sums of some hundred terms in another order, and functions right to a few eps of 2e-16; what is
            # differentiated twice is divided by a standard deviation, about 0.3, several times more
            atol = (1e-11 if second else 1e-12) * max(1.0, float(np.abs(w.data).max()))
            np.testing.assert_allclose(gpu.to_host(g.data), w.data, rtol=0, atol=atol, equal_nan=True)


# -- tensors -----------------------------------------------------------------------------------------------------------


def test_a_tensor_says_where_it_lives_and_goes_there_and_back():
    t = tc.tensor([1.0, 2.0], requires_grad=True)
    u = t.to("cuda")
    assert (t.device, u.device, t.is_cuda, u.is_cuda) == ("cpu", "cuda:0", False, True)
    assert u.to("cuda:0") is u and t.to("cpu") is t and repr(u) == "tensor([1., 2.], device=cuda:0, op=to)"
    (u * u).sum().backward()
    assert t.grad.device == "cpu" and t.grad.tolist() == [2.0, 4.0]
    both = t.to("cuda", "float64")
    assert (both.device, both.dtype) == ("cuda:0", np.float64) and t.to(both).device == "cuda:0"
    assert t.cuda().cpu().detach().numpy().tolist() == [1.0, 2.0] and u.tolist() == [1.0, 2.0] and u[1].item() == 2.0
    for make in (tc.zeros, tc.ones, tc.rand, tc.randn):
        assert make(2, 3, device="cuda").device == "cuda:0"
    np.testing.assert_array_equal(tc.full((2,), 3.0, device="cuda").cpu().data, [3.0, 3.0])
    np.testing.assert_array_equal(tc.arange(3, device="cuda").cpu().data, [0, 1, 2])
    np.testing.assert_array_equal(tc.eye(2, device="cuda").cpu().data, np.eye(2))
    tc.manual_seed(3)
    here = tc.randn(4)
    tc.manual_seed(3)
    np.testing.assert_array_equal(tc.randn(4, device="cuda").cpu().data, here.data)


def test_numpy_is_refused_with_what_to_do():
    t = tc.ones(2, device="cuda")
    for call in (t.numpy, lambda: np.asarray(t)):
        with pytest.raises(TypeError, match=r"shape \(2,\) on cuda:0 .*\.cpu\(\) copies it to the host first"):
            call()


@pytest.mark.parametrize("call", [
    lambda a, b: a + b, lambda a, b: b * a, lambda a, b: a @ b, lambda a, b: tc.cat([a, b]), lambda a, b: tc.maximum(a, b),
    lambda a, b: F.linear(a, b), lambda a, b: a == b, lambda a, b: F.mse_loss(a, b),
    lambda a, b: F.conv2d(a.reshape(1, 1, 3, 3), b.reshape(1, 1, 3, 3)),
    lambda a, b: F.conv2d(b.reshape(1, 1, 3, 3), a.reshape(1, 1, 3, 3)),
    lambda a, b: F.layer_norm(a, 3, b[0], b[0]), lambda a, b: F.cross_entropy(a, b.long()[0].clip(0, 2)),
    lambda a, b: F.cross_entropy(b, np.array([0, 1, 2])), lambda a, b: tc.einsum("ij,jk->ik", a, b),
], ids=["add", "mul", "matmul", "cat", "maximum", "linear", "eq", "mse", "conv", "conv2", "layer_norm", "ce", "ce2", "einsum"])
def test_mixed_devices_are_refused_with_both_named(call):
    with pytest.raises(RuntimeError, match=r"cuda:0|cpu") as caught:
        call(tc.ones(3, 3), tc.ones(3, 3, device="cuda"))
    text = str(caught.value)
    assert "cpu" in text and "cuda:0" in text and "one device" in text and len(text.split()[0]) > 1


def test_mixed_gradients_are_refused():
    t = tc.ones(2, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="backward of operands on cuda:0 and cpu"):
        (t * 2.0).backward(tc.ones(2))
    with pytest.raises(RuntimeError, match="setting a gradient of operands on cuda:0 and cpu"):
        t.grad = tc.ones(2)


def test_other_devices_are_refused():
    with pytest.raises(ValueError, match="'cuda:1'"):
        tc.ones(2).to("cuda:1")


def test_dlpack_goes_both_ways_without_a_copy():
    t = tc.ones(3, device="cuda")
    other = gpu.xp().from_dlpack(t)
    other[0] = 5.0
    assert t[0].item() == 5.0
    if not gpu.simulated():  # the simulator's arrays tell DLPack that they lie on the host, which is true
        back = tc.from_dlpack(other)
        back.fill_(2.0)
        assert t.tolist() == [2.0, 2.0, 2.0] and back.device == "cuda:0"
        again = gpu.xp().asarray(t)  # by __cuda_array_interface__
        assert again.data.ptr == t.data.data.ptr
    with pytest.raises(AttributeError):
        tc.ones(2).__cuda_array_interface__  # noqa: B018


def test_writing_in_place_brings_arrays_along():
    t = tc.zeros(2, 3, device="cuda")
    t[0] = tc.tensor([1.0, 2.0, 3.0], device="cuda")
    t[1, 1:] = 7.0
    t[np.array([1]), np.array([0])] = 4.0
    assert t.cpu().tolist() == [[1.0, 2.0, 3.0], [4.0, 7.0, 7.0]]
    t.copy_(np.ones(3))
    assert t.is_cuda and t.cpu().tolist() == [[1.0] * 3] * 2


def test_a_class_out_of_range_makes_the_loss_nan_without_waiting():
    logits = tc.zeros(2, 3, device="cuda")
    with no_waiting():
        loss = F.cross_entropy(logits, tc.tensor([0, 3], device="cuda"))
        fine = F.cross_entropy(logits, tc.tensor([0, -100], device="cuda"))
    assert np.isnan(loss.item()) and abs(fine.item() - np.log(3)) < 1e-6


def test_a_gradient_of_no_dimensions_goes_through_a_kernel():
    x = tc.tensor(3.0, device="cuda", requires_grad=True)
    tc.relu(x).backward()
    assert x.grad.shape == () and x.grad.item() == 1.0


def test_what_32_bits_do_not_count_is_refused():
    from tinyconv.kernels.pointwise import _relu_grad_kernel as kernel

    a = gpu.to_device(np.ones(1, np.float32))
    with pytest.raises(ValueError, match="counts with 32 bits, up to 2,147,482,624, got 2,147,483,648"):
        gpu.launch(kernel("float32"), 1, 4, a, 2**31, a, a)
    with pytest.raises(ValueError, match=r"grid of .* beyond"):
        gpu.launch(kernel("float32"), (1, 65536), 4, a, 1, a, a)


def test_indices_beyond_a_plane_reach_no_other_memory():
    """max_unpool on a GPU does not look at its indices: what names no cell goes nowhere, and reads as not a number."""
    y = tc.tensor([[[1.0, 2.0, 3.0]]], device="cuda", requires_grad=True)
    at = tc.tensor([[[-1, 2, 6]]], device="cuda")
    x = F.max_unpool1d(y, at, 2)
    assert x.cpu().tolist() == [[[0.0, 0.0, 2.0, 0.0, 0.0, 0.0]]]
    x.sum().backward()
    np.testing.assert_array_equal(y.grad.cpu().numpy(), [[[np.nan, 1.0, np.nan]]])


@pytest.mark.parametrize("call", [
    lambda a, b: tc.where(b > 0, a, a), lambda a, b: F.batch_norm(b, a[0], a[0], training=True),
    lambda a, b: F.max_unpool1d(b.reshape(1, 3, 3), a.long().reshape(1, 3, 3), 2, duplicates="add"),
    lambda a, b: F.max_unpool1d(a.reshape(1, 3, 3), b.long().reshape(1, 3, 3), 2, duplicates="add"),
    lambda a, b: tc.einsum("ij,ij->ij", b, a),
], ids=["where", "running statistics", "indices on the host", "values on the host", "einsum"])
def test_what_cupy_would_bring_along_or_refuse_in_its_own_words_is_refused_too(call):
    with pytest.raises(RuntimeError, match=r"operands on (cuda:0 and cpu|cpu and cuda:0): they must be on one device"):
        call(tc.ones(3, 3), tc.ones(3, 3, device="cuda"))


@pytest.mark.parametrize("cell", ["RNNCell", "LSTMCell", "GRUCell", "ReNet"])
def test_a_recurrent_layer_starts_where_its_input_lives(cell):
    tc.manual_seed(4)
    layer = getattr(tc.nn, cell)(2, 3).to("float64")
    x = RNG.standard_normal((1, 2, 2, 4) if cell == "ReNet" else (2, 2))
    found = []
    for on in ("cpu", "cuda"):
        got = layer.to(on)(tc.tensor(x, device=on))
        found.append([t.cpu().detach().numpy() for t in (got if isinstance(got, tuple) else (got,))])
    for want, got in zip(*found):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)  # float64: a few sums of at most 8 terms, below 1


def test_gradients_are_checked_on_the_device():
    a = tc.tensor(A, device="cuda", requires_grad=True)
    assert tc.autograd.gradcheck(lambda x: x * x.exp(), a) and tc.autograd.gradgradcheck(lambda x: x * x.exp(), a)
    with pytest.raises(tc.autograd.GradcheckError, match="the tape gives"):
        tc.autograd.gradcheck(lambda x: x * x.detach(), a)


def test_class_weights_may_be_an_array_on_the_device():
    w = gpu.to_device(B[0, 0, :3])
    x = tc.tensor(LOGITS, device="cuda")
    assert F.cross_entropy(x, aim(x), w).item() == F.cross_entropy(x, aim(x), tc.tensor(w)).item()
