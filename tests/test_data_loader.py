"""The loader: every sample once, the same bits with and without its thread, resumed anywhere, no thread left behind."""

import functools
import gc
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from contextvars import ContextVar

import numpy as np
import pytest

import tinyconv.data.loader as loader_module
from tinyconv.data import Loader, compose, flip, normalise, shift

N = 23
X = np.random.default_rng(7).integers(0, 256, (N, 1, 6, 5), dtype=np.uint8)
T = np.arange(N)
AHEAD = [0, 1, 2, 5]


def threads():
    return [t for t in threading.enumerate() if t.name == "tinyconv-loader"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


def same(a, b):
    """Whether two lists of batches are equal bit for bit."""
    return len(a) == len(b) and all(
        len(p) == len(q) and all(u.dtype == v.dtype and u.shape == v.shape and u.tobytes() == v.tobytes()
                                 for u, v in zip(p, q)) for p, q in zip(a, b))


@pytest.mark.parametrize("prefetch", AHEAD)
@pytest.mark.parametrize("transform, drawn", [
    (normalise(), False), (compose(normalise(), normalise(0.5)), False), (flip(), True), (compose(normalise(), flip()), True),
    (lambda x, rng: x, True), (functools.wraps(normalise())(lambda x, rng: x), True)])
def test_a_stream_is_made_for_whom_it_may_serve(monkeypatch, transform, drawn, prefetch):
    """What is known to draw nothing gets no stream; anyone else gets one, a function that does not say so too."""
    made = []
    stream = loader_module._stream
    monkeypatch.setattr(loader_module, "_stream", lambda *numbers: made.append(numbers) or stream(*numbers))
    list(Loader(X, T, batch_size=10, seed=3, transform=transform, prefetch=prefetch))
    assert made == [(3, 0, 1), (3, 0, 2), (3, 0, 3)] * drawn


@pytest.mark.parametrize("prefetch", AHEAD)
def test_in_order(prefetch):
    batches = list(Loader(X, T, batch_size=10, prefetch=prefetch))
    assert same(batches, [(X[:10], T[:10]), (X[10:20], T[10:20]), (X[20:], T[20:])])


@pytest.mark.parametrize("batch_size, drop_last, sizes", [
    (10, False, [10, 10, 3]), (10, True, [10, 10]), (23, False, [23]), (23, True, [23]), (24, False, [23]),
    (1, False, [1] * 23)])
def test_sizes_and_len(batch_size, drop_last, sizes):
    loader = Loader(T, batch_size=batch_size, drop_last=drop_last, shuffle=True)
    assert [len(t) for t, in loader] == sizes and len(loader) == len(sizes)


@pytest.mark.parametrize("prefetch", AHEAD)
@pytest.mark.parametrize("batch_size", [1, 4, 23, 64])
def test_shuffling_gives_each_sample_once_with_its_label(batch_size, prefetch):
    loader = Loader(X, T, batch_size=batch_size, shuffle=True, prefetch=prefetch)
    orders = []
    for _ in range(3):
        seen = []
        for x, t in loader:
            assert (x == X[t]).all()
            seen += t.tolist()
        assert sorted(seen) == list(range(N))
        orders.append(tuple(seen))
    assert len(set(orders)) == 3 and orders[0] != tuple(range(N))


def test_every_place_is_equally_likely():
    """Over 2,000 epochs sample 0 of 5 comes first 400 times; six deviations of sqrt(2000 * 0.2 * 0.8) = 18 are 108."""
    loader = Loader(np.arange(5), batch_size=5, shuffle=True, prefetch=0)
    first = np.bincount([int(next(iter(loader))[0][0]) for _ in range(2000)], minlength=5)
    assert abs(first - 400).max() < 108


def augmented(prefetch=2, seed=3):
    return Loader(X, T, batch_size=4, shuffle=True, seed=seed, prefetch=prefetch,
                  transform=compose(shift(2), flip(), normalise(0.1, 0.3)))


def epochs(loader, n):
    return [list(loader) for _ in range(n)]


def test_bit_for_bit_the_same_with_any_number_of_batches_ahead():
    expected = epochs(augmented(0), 3)
    for prefetch in AHEAD:
        for got, want in zip(epochs(augmented(prefetch), 3), expected):
            assert same(got, want)
    assert not same(epochs(augmented(0, seed=4), 1)[0], expected[0])
    assert not same(expected[0], expected[1])


def test_the_order_is_pinned():
    """Later versions must shuffle as this one does, or a saved run would go on with other batches: seen once, kept."""
    loader = Loader(T, batch_size=23, shuffle=True, seed=1)
    assert next(iter(loader))[0][:8].tolist() == [5, 9, 19, 6, 16, 4, 12, 20]
    assert next(iter(loader))[0][:8].tolist() == [7, 0, 15, 5, 6, 19, 16, 8]


def test_neighbouring_seeds_epochs_and_batches_share_no_stream():
    """What the transform draws first differs for every (seed, epoch, batch), (0, 1, 0) and (1, 0, 0) included."""
    drawn = []

    def spy(x, rng):
        drawn.append(rng.integers(2**63))
        return x

    for seed in range(3):
        epochs(Loader(T, batch_size=4, seed=seed, transform=spy, prefetch=0), 3)
    assert len(set(drawn)) == len(drawn) == 3 * 3 * 6


def test_the_first_batch_is_not_augmented_by_the_stream_that_shuffled():
    def draw_an_order(x, rng):
        return np.stack([x, rng.permutation(N)])

    (shuffled, drawn), = next(iter(Loader(T, batch_size=N, shuffle=True, transform=draw_an_order)))
    assert not (shuffled == drawn).all()


def test_a_generator_gives_the_seed():
    one, two = (Loader(T, shuffle=True, seed=np.random.default_rng(5)) for _ in range(2))
    assert same(list(one), list(two))
    rng = np.random.default_rng(5)
    assert Loader(T, seed=rng).seed != Loader(T, seed=rng).seed


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_copies(shuffle):
    x = X.copy()
    for batch, in Loader(x, shuffle=shuffle, batch_size=4):
        batch[:] = 0
    assert (x == X).all()


def test_other_layouts_and_kinds_of_array(tmp_path):
    turned = np.asfortranarray(X)[::-1]
    mapped = np.memmap(tmp_path / "m", np.uint8, "w+", shape=X.shape)
    mapped[:] = X
    for a in (turned, mapped, X.tolist()):
        got = np.concatenate([b for b, in Loader(a, batch_size=4)])
        assert (got == np.asarray(a)).all()


@pytest.mark.parametrize("prefetch", AHEAD)
@pytest.mark.parametrize("done", range(0, 19, 3))
def test_resumed_after_any_batch(done, prefetch):
    """Three epochs of six batches in one go, and the same cut after `done` of them, the state kept as JSON."""
    whole = list(itertools.chain(*epochs(augmented(0), 3)))
    first, saved = augmented(prefetch), None
    got = []
    while len(got) < done:
        for batch in first:
            got.append(batch)
            if len(got) == done:
                break
    saved = json.dumps(first.state_dict())
    second = augmented(prefetch, seed=99)  # the state brings the seed along
    second.load_state_dict(json.loads(saved))
    while second.epoch < 3:
        got += list(second)
    assert same(got, whole)


def test_the_state_counts_what_was_handed_out():
    loader = augmented()
    it = iter(loader)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (0, 0)
    for done in range(1, 7):
        next(it)
        assert (loader.epoch, loader.state_dict()["batch"]) == (0, done)
    assert next(it, None) is None
    assert (loader.epoch, loader.state_dict()["batch"]) == (1, 0)


def test_a_break_ends_the_epoch():
    """A pass after a break is the whole next epoch, not the rest of this one."""
    expected = epochs(augmented(0), 2)
    loader = augmented()
    for _ in loader:
        break
    assert same(list(loader), expected[1]) and loader.epoch == 2


def test_a_break_after_a_resumption_ends_the_epoch_too():
    expected = epochs(augmented(0), 2)
    loader = augmented()
    loader.load_state_dict({**loader.state_dict(), "batch": 2})
    assert same([next(iter(loader))], expected[0][2:3])
    assert same(list(loader), expected[1])


def test_two_passes_at_once_are_two_epochs():
    expected = epochs(augmented(0), 2)
    pairs = list(zip(loader := augmented(), loader))
    assert same([p for p, _ in pairs], expected[0]) and same([q for _, q in pairs], expected[1])


def test_no_more_is_prepared_than_asked_for():
    made = []

    def spy(x, rng):
        made.append(len(made))
        return x

    it = iter(Loader(T, batch_size=1, transform=spy, prefetch=3))
    next(it)
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(made) == 4  # the one handed out and three ahead
    it.close()


def test_a_break_stops_the_thread_after_the_batch_it_is_making():
    made, main = [], threading.get_ident()

    def wait_for_the_break(x, rng):
        made.append(threading.current_thread().name)
        while x[0] > 0 and "join" not in [f.name for f in traceback.extract_stack(sys._current_frames()[main])]:
            time.sleep(0.001)
        return x

    for _ in Loader(np.arange(1000), batch_size=1, transform=wait_for_the_break, prefetch=5):
        while len(made) < 2:
            time.sleep(0.001)
        break
    assert threads() == [] and made == ["tinyconv-loader"] * 2


def test_an_exception_in_the_loop_stops_the_thread():
    with pytest.raises(ZeroDivisionError):
        for _ in Loader(T, batch_size=1):
            1 / 0  # noqa: B018
    assert threads() == []


def test_a_forgotten_iterator_stops_its_thread():
    it = iter(Loader(T, batch_size=1))
    next(it)
    assert len(threads()) == 1
    del it
    gc.collect()
    assert threads() == []


def test_garbage_collected_by_its_own_thread(monkeypatch):
    """An iterator in a reference cycle may be collected while its thread makes a batch, which must not join itself."""
    complaints, dropped, collected = [], threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    def collect(x, rng):
        if x[0] == 1:
            dropped.wait(5)
            gc.collect()
            collected.set()
        return x

    it = iter(Loader(T, batch_size=1, transform=collect))
    next(it)
    cycle = [it]
    cycle.append(cycle)
    gc.disable()
    try:
        del it, cycle
        dropped.set()
        assert collected.wait(5)
    finally:
        gc.enable()
    for t in threads():
        t.join(5)
    assert threads() == [] and complaints == []


@pytest.mark.parametrize("prefetch", AHEAD)
def test_an_exception_of_the_transform_arrives_with_its_traceback(prefetch):
    def fails_at_three(x, rng):
        if x[0] == 3:
            raise OSError("no such picture")
        return x

    got = []
    with pytest.raises(OSError, match="no such picture") as caught:
        for x, in Loader(T, batch_size=1, transform=fails_at_three, prefetch=prefetch):
            got.append(int(x[0]))
    assert got == [0, 1, 2]  # what came before it is not lost
    assert "fails_at_three" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert threads() == []


@pytest.mark.parametrize("prefetch", AHEAD)
@pytest.mark.parametrize("error", [StopIteration, KeyboardInterrupt, SystemExit])
def test_no_exception_of_the_transform_ends_the_epoch_in_silence(error, prefetch):
    def fails(x, rng):
        raise error

    with pytest.raises((error, RuntimeError)):  # Python makes a StopIteration out of a generator a RuntimeError
        list(Loader(T, transform=fails, prefetch=prefetch))


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C on Windows")
def test_ctrl_c_while_waiting_for_a_batch():
    ended = []

    def interrupt(x, rng):
        if x[0] == 1:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            ended.append(True)
        return x

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background is born deaf to it
    try:
        with pytest.raises(KeyboardInterrupt):
            list(Loader(T, batch_size=1, transform=interrupt))
    finally:
        signal.signal(signal.SIGINT, before)
    assert threads() == [] and ended == [True]


def test_the_transform_runs_in_the_context_of_the_loop():
    var = ContextVar("var", default=0)
    seen = []
    token = var.set(5)
    list(Loader(T, transform=lambda x, rng: seen.append(var.get()) or x))
    var.reset(token)
    assert seen == [5]


@pytest.mark.parametrize("arrays, kw, message", [
    ((), {}, "needs one or more arrays"), ((np.float32(1),), {}, "with a sample axis, got shapes"),
    ((np.zeros(5), np.zeros(4)), {}, "different lengths: 5, 4"),
    ((np.zeros((0, 3)),), {}, r"no samples: the arrays have shapes \[\(0, 3\)\]"),
    ((T,), {"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ((T,), {"batch_size": 2.0}, "batch_size must be an integer"), ((T,), {"batch_size": True}, "least 1, got True"),
    ((T,), {"prefetch": -1}, "prefetch must be an integer of at least 0, got -1"),
    ((T,), {"seed": -1}, "seed must be an integer of at least 0, got -1"), ((T,), {"seed": None}, "least 0, got None"),
    ((T,), {"transform": 3}, "transform must be a function"),
    ((T,), {"batch_size": 24, "drop_last": True}, "drop_last leaves no batch: 23 samples do not fill one of 24"),
])
def test_bad_arguments(arrays, kw, message):
    with pytest.raises(ValueError, match=message):
        Loader(*arrays, **kw)


@pytest.mark.parametrize("change, message", [
    ({"samples": 22}, "of a loader with samples=22, this one has samples=23"),
    ({"batch_size": 8}, "with batch_size=8, this one has batch_size=4"), ({"shuffle": 0}, "with shuffle=0"),
    ({"drop_last": 1}, "with drop_last=1"), ({"batch": 7}, "after batch 7 of an epoch, which has 6 here"),
    ({"epoch": -1}, "epoch must be an integer of at least 0"), ({"more": 1}, "has the keys epoch, batch, seed"),
])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    loader = augmented()
    before = loader.state_dict()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict({**before, "batch": 2, "seed": 8, **change})
    assert loader.state_dict() == before
