"""What a trained network sees: its worst mistakes, the maps of its layers, and which pixels its answer hangs on.

Read next: plot/insight.py, which draws all this; mode.py, how one looks on while a network runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..autograd import grad
from ..mode import Watch, watched
from ..nn import Module
from ..op import Op
from ..tensor import Tensor, from_numpy, no_grad
from .problem import Transform
from .score import device_of_model


def worst(probabilities: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` misread samples, those first whose true class was given the least probability.

    probabilities: (N, classes). labels: (N,).

    >>> worst(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 1, 1, 1]), 5)
    array([3, 1])
    """
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[probabilities[wrong, labels[wrong]].argsort(kind="stable")][:most]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """name: the operation, and of which layer. maps: what it gave for one image, (C, H, W)."""

    name: str
    maps: np.ndarray


class _Look(Watch):
    """Keeps every result that still is maps (1, C, H, W), of one pixel or more a side."""

    def __init__(self, model: Module):
        self.names = {id(p): name.rpartition(".")[0] for name, p in model.named_parameters()}
        self.found: list[Maps] = []

    def ran(self, op: Op, operands: tuple[Tensor, ...], meta: dict, out: Tensor) -> None:
        """An operation has run."""
        if out.ndim == 4:
            layer = next((self.names[id(t)] for t in operands if id(t) in self.names), "")
            self.found.append(Maps(f"{op.name} {layer}".strip(), out.detach().cpu().numpy()[0].copy()))


def layer_maps(model: Module, image: np.ndarray, transform: Transform) -> list[Maps]:
    """The maps that `model`, in evaluation mode, makes of one image (C, H, W), operation by operation."""
    look, mode = _Look(model), model.training
    x = _placed(model, image[None], transform)
    model.eval()
    try:
        with no_grad(), watched(look):
            model(x)
    finally:
        model.train(mode)
    return look.found


def abridged(found: list[Maps], most: int) -> list[Maps]:
    """At most `most` of the results of `layer_maps`, in their order; all of them where they are no more.

    Of more, the one that each convolution's normalisation, activation and pooling end in; of too many of these, evenly.
    """
    if len(found) <= most:
        return found
    starts = [i for i, layer in enumerate(found) if i == 0 or layer.name.startswith("conv")]
    ends = [i - 1 for i in starts[1:]] + [len(found) - 1]
    whole = [Maps(found[i].name if i == j else f"{found[i].name} to {found[j].name.split()[0]}", found[j].maps)
             for i, j in zip(starts, ends)]
    at = np.linspace(0, len(whole) - 1, min(most, len(whole))).round().astype(int)
    return [whole[i] for i in at]


def saliency(model: Module, images: np.ndarray, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels the answer hangs on: |d logit of the class read / d pixel|, the largest of the channels, and that class.

    images: (N, C, H, W). Returns (N, H, W) and labels (N,); the parameters and their gradients are left as they were.
    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks" (2013), section 3.
    """
    mode = model.training
    x = _placed(model, images, transform).requires_grad_()
    model.eval()
    try:
        logits = model(x)
    finally:
        model.train(mode)
    read = logits.detach().cpu().numpy().argmax(1)
    chosen = from_numpy(np.eye(logits.shape[1], dtype=np.float32)[read]).to(x.device)
    (g,) = grad((logits * chosen).sum(), [x])  # a sample's logits know of its own pixels only: in evaluation mode nothing mixes
    assert g is not None
    return np.abs(g.detach().cpu().numpy()).max(1), read


def _placed(model: Module, images: np.ndarray, transform: Transform) -> Tensor:
    return from_numpy(transform(images, np.random.default_rng(0))).to(device_of_model(model))
