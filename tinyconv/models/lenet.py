"""LeNet-5, layer by layer under the names of the paper, for images of 32x32 (those of 28x28 are padded by 2).

    32 -C1, 6C5-> 28 -S2-> 14 -C3, 16C5-> 10 -S4-> 5 -C5, 120C5-> 1 -F6-> 84 -> classes

Two things are not the paper's: C3 sees all six maps (2,416 parameters; the paper's table of connections saves 900), and
the output is a linear layer in place of radial basis functions. S2 and S4 average, without trainable coefficients.
Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition" (1998), II.B.
"""

from __future__ import annotations

from ..nn import AvgPool2d, Conv2d, Flatten, Linear, Module, Sequential, Tanh
from .architecture import ModelError, Shape


def lenet5(image: Shape, classes: int) -> Module:
    """C1 156, C3 2,416, C5 48,120, F6 10,164 and the output 850 parameters, for one channel and ten classes."""
    C, H, W = image
    if (H, W) not in ((28, 28), (32, 32)):
        raise ModelError(f"the model lenet5 takes images of 32x32, or of 28x28 which it pads; these are {H}x{W}")
    return Sequential({
        "c1": Conv2d(C, 6, 5, padding=(32 - H) // 2), "tanh1": Tanh(), "s2": AvgPool2d(2),
        "c3": Conv2d(6, 16, 5), "tanh3": Tanh(), "s4": AvgPool2d(2),
        "c5": Conv2d(16, 120, 5), "tanh5": Tanh(), "flatten": Flatten(),
        "f6": Linear(120, 84), "tanh6": Tanh(),
        "output": Linear(84, classes)})
