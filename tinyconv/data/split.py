"""Cutting a labelled set in two, every class in the same proportion on both sides."""

from __future__ import annotations

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def stratified(labels: np.ndarray, held_out: int, seed: int = 0) -> Pair:
    """Indices of the samples to keep and of those to hold out, each in ascending order.

    Of class c with n_c of n samples, floor(n_c*held_out/n) are held out; the few still missing come one each from the
    classes whose fraction was cut most. Which samples of a class: a permutation drawn from the seed.
    Args: labels (n,) integers; held_out, 1 to n-1. Raises: ValueError with the numbers.

    >>> keep, held = stratified(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 2)
    >>> len(keep), len(held)
    (6, 2)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers in one dimension, got {labels.dtype} of shape {labels.shape}")
    n = len(labels)
    if not 1 <= held_out < n:
        raise ValueError(f"held_out must be 1 to {n - 1} of {n} samples, got {held_out}")
    _, of_class, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share, cut = np.divmod(counts * held_out, n)
    share[np.argsort(-cut, kind="stable")[:held_out - share.sum()]] += 1
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(of_class[order], kind="stable")]  # class after class, shuffled within each
    place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)  # 0, 1, 2, ... within each class
    is_held = place < np.repeat(share, counts)
    return np.sort(order[~is_held]), np.sort(order[is_held])


def split(images: np.ndarray, labels: np.ndarray, held_out: int = 10_000, seed: int = 0) -> tuple[Pair, Pair]:
    """A training and a validation set from one set, stratified: ((images, labels), (images, labels)), all copies.

    Args: images (n, ...) and labels (n,); held_out, the samples of the validation set (of MNIST's 60,000 the usual
    10,000). The same seed gives the same split. Raises: ValueError where lengths differ or held_out is out of reach.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.shape[:1] != labels.shape[:1]:
        raise ValueError(f"images of shape {images.shape} and labels of shape {labels.shape}: their lengths differ")
    keep, held = stratified(labels, held_out, seed)
    return (images[keep], labels[keep]), (images[held], labels[held])
