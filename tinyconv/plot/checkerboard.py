"""The checkerboard that transposed convolutions leave: where it comes from, how strong it is, and how it goes.

Along an axis a kernel of size k at stride s covers some cells floor(k/s) times and others ceil(k/s) times, by turns; in two
dimensions the counts multiply. Under random weights the mean of y*y is proportional to them, so that the pattern is there
before anything is learnt: for k = 3, s = 2 the counts are 1 and 2 along an axis, the artefact (1 + 1/9)**2 - 1 = 19/81.
An even kernel is even on average: a single draw of its weights, or weights learnt, may have a pattern of their own. Nearest
neighbours and a convolution have none, whatever the weights.
Source: A. Odena, V. Dumoulin, C. Olah (2016), "Deconvolution and Checkerboard Artifacts", Distill.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..models.decoders import enlarge
from ..nn import Module, ReLU, Sequential
from ..random import manual_seed
from ..tensor import from_numpy, no_grad
from .figure import INK, new_figure, write_figure

STRIDE, MAPS = 2, 16
WAYS = (("kernel 3, stride 2", 3, "transposed"), ("kernel 4, stride 2", 4, "transposed"),
        ("enlarged, then kernel 3", 3, "resize"))


def artefact(power: np.ndarray, stride: int = STRIDE) -> float:
    """Energy of a map (H, W) at the frequencies j/stride, over that of its mean: 0 for none.

    By Parseval it is the variance of the means of the stride*stride phases over the square of their mean.
    Raises: ValueError where the stride does not divide H and W, so that the phases are not alike.
    """
    H, W = power.shape
    if H % stride or W % stride:
        raise ValueError(f"a map of {H}x{W} has no whole periods of {stride}")
    phases = power.reshape(H // stride, stride, W // stride, stride).mean((0, 2))
    return float(phases.var() / phases.mean() ** 2)


def power(kernel_size: int, upsample: str, seed: int = 0, size: int = 16, draws: int = 64) -> np.ndarray:
    """The mean of y*y (2*size - 8, 2*size - 8) over random weights and noise, away from the borders, for one layer that
    doubles the size; upsample as in models.decoders.enlarge."""
    manual_seed(seed)
    x = from_numpy(np.random.default_rng(seed).standard_normal((8, MAPS, size, size), np.float32))
    total = np.zeros((2 * size, 2 * size))
    for _ in range(draws):
        with no_grad():
            total += np.square(_unbiased(enlarge(MAPS, MAPS, kernel_size, upsample))(x).numpy(), dtype=np.float64).mean((0, 1))
    return total[4:-4, 4:-4] / draws


def checkerboard(path: str | Path, seed: int = 0) -> list[float]:
    """Draw, for three ways to enlarge, an image out of random weights, and the mean power of a layer with its artefact.

    Returns the artefacts. Raises: PlotError where matplotlib is not installed, DataError where `path` cannot be written.
    """
    figure = new_figure(7.2, 5.4)
    grid, found = figure.subplots(2, len(WAYS)), []
    maps = [power(kernel, upsample, seed) for _, kernel, upsample in WAYS]
    for (name, kernel, upsample), mean, (above, below) in zip(WAYS, maps, grid.T):
        found.append(artefact(mean))
        above.imshow(_image(kernel, upsample, seed), cmap="gray", interpolation="nearest")
        above.set_title(name, fontsize=10, color=INK)
        below.imshow(mean[:12, :12] / mean.mean(), cmap="gray", vmin=0, vmax=2, interpolation="nearest")
        below.set_title(f"artefact {found[-1]:.3f}", fontsize=9, color=INK)
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
    grid[0, 0].set_ylabel("three layers, one draw of weights", fontsize=9, color=INK)
    grid[1, 0].set_ylabel("one layer, mean of y² over draws", fontsize=9, color=INK)
    figure.suptitle("Noise, enlarged by random weights", fontsize=11, color=INK)
    write_figure(figure, path)
    return found


def _image(kernel_size: int, upsample: str, seed: int) -> np.ndarray:
    """An image (64, 64) out of noise (MAPS, 8, 8), by three layers that double the size, with ReLU between."""
    manual_seed(seed)
    x = from_numpy(np.random.default_rng(seed).standard_normal((1, MAPS, 8, 8), np.float32))
    layers = [_unbiased(enlarge(MAPS, O, kernel_size, upsample)) for O in (MAPS, MAPS, 1)]
    with no_grad():
        return Sequential(layers[0], ReLU(), layers[1], ReLU(), layers[2])(x).numpy()[0, 0]


def _unbiased(layer: Module) -> Module:
    """Without biases, which would only lift the whole map."""
    for p in layer.parameters():
        if p.ndim == 1:
            p.data[...] = 0
    return layer
