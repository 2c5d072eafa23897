"""A Tensor as data: how it is made, its dealings with NumPy, Python numbers, copies."""

import copy
import pickle

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.tensor import Tensor


def leaf(*values, dtype=np.float64):
    return tc.tensor(np.array(values, dtype), requires_grad=True)


# -- making one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data, dtype", [
    (1.0, "float32"), (1, "int64"), (True, "bool"), ([1.0, 2], "float32"), ([[1, 2], [3, 4]], "int64"), ([], "float32"),
    (np.float64(2.0), "float64"), (np.float32(2.0), "float32"), (np.zeros(2), "float64"), (np.zeros(2, np.uint8), "uint8"),
    (range(3), "int64"), (np.zeros(2, np.float16), "float16"), ([np.float64(1.0)], "float32"),
])
def test_dtype_of_what_is_given(data, dtype):
    assert tc.tensor(data).dtype == dtype
    assert tc.tensor(data, dtype="float64").dtype == np.float64


def test_tensor_copies_and_from_numpy_does_not():
    a = np.zeros(2, np.float32)
    copied, shared = tc.tensor(a), tc.from_numpy(a)
    a[0] = 1.0
    assert copied.tolist() == [0.0, 0.0] and shared.tolist() == [1.0, 0.0]
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    tc.from_numpy(frozen).fill_(1.0)
    assert frozen.tolist() == [0.0, 0.0]
    t = tc.tensor([1.0, 2.0])
    assert tc.tensor(t).data is not t.data
    assert tc.tensor([t, t * 2.0]).tolist() == [[1.0, 2.0], [2.0, 4.0]]


@pytest.mark.parametrize("data", ["a", None, object(), [None], np.zeros(2, complex), np.array(["a"]), 2**70])
def test_a_tensor_holds_numbers(data):
    with pytest.raises(TypeError, match="holds numbers"):
        tc.tensor(data)


@pytest.mark.parametrize("call, words", [
    (lambda: tc.from_numpy([1.0]), "wants an array of numbers of NumPy's, got list"),
    (lambda: tc.from_numpy(np.array(["a"])), "wants an array of numbers of NumPy's, got one of <U1"),
    (lambda: tc.from_numpy(np.array([None])), "got one of object"),
    (lambda: tc.from_dlpack([1.0]), "hands out its memory by __dlpack__, got list"),
    (lambda: tc.from_dlpack(np.ones(2, complex)), "a tensor holds numbers, not complex128"),
    (lambda: tc.zeros(2, 3).gather(1, tc.zeros(2, 3)), "gather wants an integer tensor of 2 dimensions as index, got one of "
                                                       r"float32 and shape \(2, 3\)"),
    (lambda: tc.zeros(2, 3).gather(1, [[0]]), "as index, got list"),
])
def test_what_is_taken_as_it_is_must_be_an_array_of_numbers(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_constructors():
    assert tc.zeros(2, 3).tolist() == [[0.0] * 3] * 2 and tc.zeros(2, 3).dtype == np.float32
    assert tc.ones((2,), dtype="float64", requires_grad=True).requires_grad
    assert tc.full((2, 2), 7).tolist() == [[7, 7], [7, 7]] and tc.full((), 0.5).dtype == np.float32
    assert tc.arange(3).tolist() == [0, 1, 2] and tc.arange(3).dtype == np.int64
    assert tc.arange(1.0, 2.0, 0.25).tolist() == [1.0, 1.25, 1.5, 1.75] and tc.arange(3.0).dtype == np.float32
    assert tc.eye(2, 3).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    x = tc.tensor(np.ones((2, 1)))
    assert tc.zeros_like(x).tolist() == [[0.0], [0.0]] and tc.ones_like(x).dtype == np.float64


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_draw_below_1_stays_below_1(dtype):
    class Highest(np.random.Generator):
        def random(self, size):
            return np.full(size, 1 - 2.0**-53)  # the largest that NumPy draws, which float32 rounds to 1

    x = tc.rand(3, dtype=dtype, generator=Highest(np.random.PCG64(0)))
    assert x.dtype == dtype and x.tolist() == [float(np.nextafter(x.dtype.type(1), x.dtype.type(0)))] * 3


# -- NumPy and others ----------------------------------------------------------------------------------------------


def test_asarray_is_a_read_only_view():
    x = leaf(1.0, 2.0)
    for a in (np.asarray(x), x.numpy()):
        assert np.shares_memory(a, x.data) and not a.flags.writeable
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    own = np.array(x)
    own[0] = 9.0
    assert x.tolist() == [1.0, 2.0]
    assert np.asarray(x * 2.0).tolist() == [2.0, 4.0]
    assert np.asarray((x * x).sum()).shape == ()
    with pytest.raises(ValueError, match="copy"):
        np.array(x, dtype=np.float32, copy=False)


def test_results_of_no_dimension_are_arrays_too():
    for y in (tc.tensor(2.0) * 3.0, tc.tensor([1.0, 2.0]).sum(), tc.tensor([1.0, 2.0]).max(), tc.tensor([1.0])[0],
              tc.exp(tc.tensor(1.0)), tc.tensor([1.0, 2.0]) @ tc.tensor([1.0, 2.0]), tc.tensor(1.0) > 0.0):
        assert isinstance(y.data, np.ndarray) and y.shape == () and y.device == "cpu"
        y.fill_(1)


def test_numpy_scalars_do_not_widen():
    t = tc.tensor([1.0, 2.0])
    for s in (np.float64(2.0), np.float32(2.0), np.int64(2), np.True_):
        for r in (t * s, s * t, t + s, s + t, t - s, s - t, t / s, s / t, t**s, s**t, tc.maximum(t, s), tc.where(t > s, t, s)):
            assert isinstance(r, Tensor) and r.dtype == np.float32
    assert (np.float64(2.0) ** t).tolist() == [2.0, 4.0]
    assert (np.float64(8.0) / t).tolist() == [8.0, 4.0]
    assert (np.float64(1.0) - t).tolist() == [0.0, -1.0]


def test_an_array_on_the_left_asks_the_tensor():
    a, t = np.array([3.0, 4.0], np.float32), tc.tensor([1.0, 2.0], requires_grad=True)
    for r, want in ((a * t, [3.0, 8.0]), (a + t, [4.0, 6.0]), (a - t, [2.0, 2.0]), (a / t, [3.0, 2.0]), (a**t, [3.0, 16.0])):
        assert isinstance(r, Tensor) and r.requires_grad and r.tolist() == want
    assert (np.ones((2, 2), np.float32) @ t).tolist() == [3.0, 3.0]
    assert (t @ np.ones((2, 2), np.float32)).tolist() == [3.0, 3.0]
    assert (a > t).tolist() == [True, True] and (a == t).tolist() == [False, False]
    with pytest.raises(TypeError):
        np.exp(t)  # NumPy would silently leave the tape


def test_dtypes_follow_kind_then_dimension():
    f32, f64, i64, u8, b = (tc.tensor(np.ones(2, d)) for d in ("float32", "float64", "int64", "uint8", "bool"))
    zero_d = tc.tensor(np.float64(1.0))
    want = [(f32 + f64, "float64"), (f32 + i64, "float32"), (f32 + zero_d, "float32"), (i64 + zero_d, "float64"),
            (u8 + i64, "int64"), (u8 + 1, "uint8"), (u8 - 1, "uint8"), (i64 * 0.5, "float32"), (i64 / 2, "float32"),
            (b + 1, "int64"), (b * 0.5, "float32"), (i64**2, "int64"), (i64**0.5, "float32"), (tc.exp(i64), "float32"),
            (i64.mean(), "float32"), (u8.sum(), "int64"), (f32.sum(), "float32"), (i64.softmax(0), "float32"),
            (tc.maximum(i64, 0.5), "float32"), (tc.where(b, i64, 0.5), "float32"), (tc.where(b, 1.0, 0.0), "float32"),
            (i64.clip(0.5), "float32"), (f32.clip(np.float64(0.5)), "float32"), (tc.cat([f32, i64]), "float32"),
            (tc.stack([f32, f64]), "float64"), (f32 @ f64, "float64"), (f32 > f64, "bool"), (f32.argmax(), "int64")]
    for i, (t, dtype) in enumerate(want):
        assert t.dtype == dtype, i


def test_mixed_dtypes_get_gradients_of_their_own():
    a, b = tc.tensor([1.0, 2.0], requires_grad=True), leaf(3.0, 4.0)
    (tc.cat([a, b]) * tc.cat([b, a])).sum().backward()
    assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64
    assert a.grad.tolist() == [6.0, 8.0] and b.grad.tolist() == [2.0, 4.0]
    assert a.to("float64").dtype == a.double().dtype == np.float64
    assert not a.long().requires_grad and a.bool().dtype == np.bool_ and a.int().dtype == np.int32
    with pytest.raises(TypeError, match="complex64"):
        a.to("complex64")


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of PyTorch's tensors
def test_dlpack():
    torch = pytest.importorskip("torch", reason="exchanges memory with PyTorch, which is not installed")
    t = tc.tensor([1.0, 2.0])
    shared = torch.from_dlpack(t)
    shared[0] = 5.0
    assert t.tolist() == [5.0, 2.0]
    assert np.from_dlpack(t).tolist() == [5.0, 2.0]
    assert tc.tensor(torch.ones(2, dtype=torch.float64)).dtype == np.float64


# -- looking at one ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t, text", [
    (tc.tensor([1.0, 2.0]), "tensor([1., 2.])"),
    (tc.tensor(3), "tensor(3)"),
    (tc.tensor([1.0], dtype="float64"), "tensor([1.], dtype=float64)"),
    (tc.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
    (tc.tensor([1.0], requires_grad=True) * 2.0, "tensor([2.], op=scale)"),
    (tc.tensor([[1.0], [2.0]]), "tensor([[1.],\n        [2.]])"),
    (tc.zeros(0, 3), "tensor([], shape=(0, 3))"),
])
def test_repr(t, text):
    assert repr(t) == str(t) == f"{t}" == text


def test_as_python_numbers():
    t = tc.tensor(2.5)
    assert float(t) == t.item() == 2.5 and int(t) == 2 and f"{t:.2f}" == "2.50"
    assert [10, 20, 30][tc.tensor(1)] == 20
    assert bool(tc.tensor([1.0])) and not tc.tensor(0)
    with pytest.raises(ValueError, match=r"\(2,\) is neither true nor false"):
        bool(tc.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"item.*\(2,\)"):
        tc.tensor([1.0, 2.0]).item()
    with pytest.raises(TypeError):
        f"{tc.tensor([1.0, 2.0]):.2f}"


def test_iteration_ends_and_stays_on_the_tape():
    x = tc.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    rows = list(x)
    assert len(rows) == len(x) == 2 and rows[1].tolist() == [3.0, 4.0]
    first, second = x
    (first * second).sum().backward()
    assert x.grad.tolist() == [[3.0, 4.0], [1.0, 2.0]]
    for one in (iter, len, list):
        with pytest.raises(TypeError, match="no dimensions"):
            one(tc.tensor(1.0))


def test_comparison_and_membership():
    t = tc.tensor([[1.0, 2.0]])
    assert 2.0 in t and 3.0 not in t and tc.tensor(1.0) in t
    assert (t == None) is False and (t != None) is True and (t == "a") is False  # noqa: E711
    assert (t == [[1.0, 3.0]]).tolist() == [[True, False]]
    assert ((t > 1.0) & (t < 3.0)).tolist() == [[False, True]] and (~(t > 1.0) | (t == 2)).all() and not (t > 5.0).any()
    assert ((t > 1.0) ^ True).tolist() == [[True, False]]
    with pytest.raises(TypeError):
        t < "a"  # noqa: B015
    assert not (leaf(1.0) > 0.0).requires_grad


def test_tensors_are_hashed_by_identity():
    a, b = tc.tensor([1.0]), tc.tensor([1.0])
    assert len({a, b, a}) == 2 and {a: 1}[a] == 1


def test_deepcopy_makes_a_leaf_of_its_own():
    class Named(Tensor):
        __slots__ = ("name",)

    w = Named([1.0, 2.0], requires_grad=True)
    w.name = ["w"]
    (w * 3.0).sum().backward()
    twin, again = copy.deepcopy([w, w])
    assert twin is again and type(twin) is Named and twin.requires_grad and twin.name == ["w"] and twin.name is not w.name
    twin.grad.zero_()
    with tc.no_grad():
        twin.zero_()
    assert w.tolist() == [1.0, 2.0] and w.grad.tolist() == [3.0, 3.0]
    (twin * 5.0).sum().backward()
    assert twin.grad.tolist() == [5.0, 5.0] and w.grad.tolist() == [3.0, 3.0]
    assert not copy.deepcopy(tc.tensor([1])).requires_grad
    with pytest.raises(RuntimeError, match="only a leaf can be deep-copied"):
        copy.deepcopy(w * 2.0)


def test_pickle_is_refused():
    for save in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="safetensors"):
            save(tc.tensor([1.0]))


def test_operations_want_tensors():
    for call in (lambda: tc.exp(2.0), lambda: tc.exp(np.ones(2)), lambda: tc.softmax([1.0]), lambda: tc.cat([np.ones(2)])):
        with pytest.raises((TypeError, AttributeError), match=r"tensor|list"):
            call()
