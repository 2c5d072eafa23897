"""The embedded digits and their fixed split, and stratified splits, by counting."""

import hashlib
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest

from tinyconv.data import digits, split, stratified


def test_digits_are_those_of_uci():
    """Classes as the set's description counts them; pixels and labels by checksum of the published values."""
    parts = [digits(train=True), digits(train=False)]
    for (images, labels), n in zip(parts, (1437, 360)):
        assert images.shape == (n, 1, 8, 8) and images.dtype == np.uint8 and images.flags.c_contiguous
        assert labels.shape == (n,) and labels.dtype == np.int64
    counts = sum(np.bincount(labels, minlength=10) for _, labels in parts)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    everything = np.concatenate([images for images, _ in parts])
    assert everything.max() == 16 and everything.min() == 0
    with files("tinyconv.data").joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        sums = {name: hashlib.sha256(stored[name].astype("<u2").tobytes()).hexdigest()[:16] for name in stored.files}
    assert sums == {"images": "adb48773177b1086", "labels": "f14a07436451a9da", "held_out": "ccfbbab2148588a1"}


def test_digits_split_is_stratified_disjoint_and_whole():
    (x, t), (y, u) = digits(), digits(train=False)
    share = np.bincount(u) / (np.bincount(t) + np.bincount(u))
    assert abs(share - 360 / 1797).max() < 1 / 174  # within one sample of each class
    rows = Counter(a.tobytes() for a in x) + Counter(a.tobytes() for a in y)
    assert len(rows) == 1797 and set(rows.values()) == {1}  # no two of the 1,797 are equal, so none is on both sides


def test_digits_are_fresh_arrays():
    images, labels = digits()
    images[:], labels[:] = 0, 0
    assert digits()[0].any() and digits()[1].any()


def test_digits_look_like_digits():
    """The nearest training digit names 9 of 10 held-out ones: labels and images belong together (chance is 1 of 10)."""
    (x, t), (y, u) = digits(), digits(train=False)
    a, b = (v.reshape(len(v), 64).astype(float) for v in (x, y))
    distance = (a * a).sum(1) - 2 * b @ a.T
    assert (t[distance.argmin(1)] == u).mean() > 0.9


@pytest.mark.parametrize("held_out", [1, 7, 50, 99])
def test_stratified_by_counting(held_out):
    labels = np.random.default_rng(0).choice([3, 5, 9], 100, p=[0.6, 0.3, 0.1])
    keep, held = stratified(labels, held_out, seed=4)
    assert sorted([*keep.tolist(), *held.tolist()]) == list(range(100)) and len(held) == held_out
    assert (np.diff(keep) > 0).all() and (np.diff(held) > 0).all()
    for c in (3, 5, 9):
        assert abs((labels[held] == c).sum() - held_out * (labels == c).sum() / 100) < 1


def test_stratified_is_drawn_from_the_seed_over_the_whole_class():
    labels = np.arange(1000) % 2
    _, one = stratified(labels, 100, seed=1)
    assert (one == stratified(labels, 100, seed=1)[1]).all() and not (one == stratified(labels, 100, seed=2)[1]).all()
    often = sum(np.bincount(stratified(labels, 100, seed=s)[1], minlength=1000) for s in range(400))
    assert abs(often - 40).max() < 6 * np.sqrt(400 * 0.1 * 0.9)  # each sample is held out one time in ten


def test_split_keeps_pairs_together():
    images, labels = np.arange(60)[:, None] * [1, 1], np.arange(60) % 3
    (x, t), (y, u) = split(images, labels, held_out=12, seed=5)
    assert len(y) == 12 and np.bincount(u).tolist() == [4, 4, 4]
    assert (x[:, 0] % 3 == t).all() and (y[:, 0] % 3 == u).all()
    assert sorted([*x[:, 0], *y[:, 0]]) == list(range(60))
    y[:] = -1
    assert (images >= 0).all()


def test_split_is_50_000_to_10_000_unasked():
    labels = np.repeat(np.arange(10), 6000)
    (_, t), (_, u) = split(labels, labels)
    assert np.bincount(t).tolist() == [5000] * 10 and np.bincount(u).tolist() == [1000] * 10


@pytest.mark.parametrize("call, message", [
    (lambda: stratified(np.arange(5), 5), "held_out must be 1 to 4 of 5 samples, got 5"),
    (lambda: stratified(np.arange(5), 0), "got 0"),
    (lambda: stratified(np.arange(5.0), 2), "integers in one dimension"),
    (lambda: stratified(np.zeros((2, 2), int), 1), r"got int64 of shape \(2, 2\)"),
    (lambda: split(np.zeros((3, 2)), np.zeros(4, int), 1), r"shape \(3, 2\) and labels of shape \(4,\): their lengths"),
])
def test_bad_splits(call, message):
    with pytest.raises(ValueError, match=message):
        call()
