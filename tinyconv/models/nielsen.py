"""The networks of M. Nielsen, "Neural Networks and Deep Learning" (2015), chapter 6, as its program network3.py builds them.

    784 -20C5-> 24 -P2-> 12 -40C5-> 8 -P2-> 4, flat: 640 -> 100 -> 10

The weights of a layer are drawn from N(0, 1/n_out), n_out its units (after pooling, for one input map), its biases from
N(0, 1); the softmax layer starts at 0. Dropout stands before a layer and, as there, scales the layer's input by 1 - p when
the network is used, not by 1/(1 - p) while it learns: `Dropout` and `Scale` together are that.
Read next: reproduce/table.py, what these are trained with and what they then reach.
"""

from __future__ import annotations

from math import sqrt

from ..nn import Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential, Sigmoid, init
from ..tensor import Tensor
from .architecture import Architecture, ModelError, Shape


class Scale(Module):
    """x times a constant."""

    def __init__(self, factor: float):
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"


def network(maps: tuple[int, ...], hidden: tuple[int, ...], activation: type[Module], image: Shape, classes: int,
            p: float = 0.0) -> Module:
    """Convolutions of 5x5 with these maps, each pooled by 2; hidden layers; a softmax layer's logits. p: of the dropout.

    Raises: ModelError for an image too small for the convolutions.
    """
    C, H, W = image
    layers: dict[str, Module] = {}
    for i, O in enumerate(maps, 1):
        H, W = (H - 4) // 2, (W - 4) // 2
        if min(H, W) < 1:
            raise ModelError(f"convolution {i} of 5x5 and the pooling leave nothing of an image of {image[1]}x{image[2]}")
        layers |= {f"conv{i}": drawn(Conv2d(C, O, 5), O * 5 * 5 / 4), f"pool{i}": MaxPool2d(2), f"act{i}": activation()}
        C = O
    layers["flatten"] = Flatten()
    n_in = C * H * W
    for i, n_out in enumerate((*hidden, classes), 1):
        if p:
            layers |= {f"drop{i}": Dropout(p), f"scale{i}": Scale(1 - p)}
        last = i > len(hidden)
        layers[f"fc{i}"] = zero(Linear(n_in, n_out)) if last else drawn(Linear(n_in, n_out), n_out)
        if not last:
            layers[f"fcact{i}"] = activation()
        n_in = n_out
    return Sequential(layers)


def drawn(layer: Conv2d | Linear, n_out: float) -> Module:
    """The layer, its weights from N(0, 1/n_out) and its biases from N(0, 1)."""
    init.normal_(layer.weight, 0.0, sqrt(1 / n_out))
    init.normal_(layer.bias, 0.0, 1.0)
    return layer


def zero(layer: Linear) -> Module:
    """The layer, all of it 0: every class is as likely as any other."""
    init.zeros_(layer.weight)
    init.zeros_(layer.bias)
    return layer


def _named(name: str, summary: str, maps: tuple[int, ...], hidden: tuple[int, ...], activation: type[Module],
           p: float = 0.0) -> Architecture:
    return Architecture(name, summary, lambda image, classes: network(maps, hidden, activation, image, classes, p), (1, 28, 28))


NIELSEN = (
    _named("nielsen-baseline", "784-100-10, sigmoid (Nielsen, 2015)", (), (100,), Sigmoid),
    _named("nielsen-v1", "20C5-P2-100-10, sigmoid", (20,), (100,), Sigmoid),
    _named("nielsen-v2", "20C5-P2-40C5-P2-100-10, sigmoid", (20, 40), (100,), Sigmoid),
    _named("nielsen-v3", "v2 with ReLU; the network of v4 too", (20, 40), (100,), ReLU),
    _named("nielsen-v5", "20C5-P2-40C5-P2-100-100-10, ReLU", (20, 40), (100, 100), ReLU),
    _named("nielsen-v6", "v5 with 1000 for 100, and dropout", (20, 40), (1000, 1000), ReLU, 0.5),
)
