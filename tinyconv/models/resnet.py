"""Residual networks: y = relu(F(x) + x), so that a block has only to learn what to change.

ResNet-18 is for images of 224x224, under torchvision's names; where sizes change its shortcut is a convolution of 1x1.
ResNet-20 is the paper's network for CIFAR, 6n + 2 layers with n = 3; its shortcuts have no parameters: every second pixel,
and channels of zeros (option A).

    ResNet-18   224 -64C7/2-> 112 -P3/2-> 56 -64 x2-> 56 -128 x2-> 28 -256 x2-> 14 -512 x2-> 7 -mean-> 512 -> classes
    ResNet-20    32 -16C3->    32 -16 x3-> 32 -32 x3-> 16 -64 x3-> 8 -mean-> 64 -> classes

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition" (2016), table 1 and section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable

from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential, init
from ..ops import pad
from ..tensor import Tensor
from .architecture import Shape, channels_of


class BasicBlock(Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), two convolutions of 3x3, the first with the stride.

    downsample: the shortcut, where x itself does not have the shape of the sum.
    """

    def __init__(self, C: int, O: int, stride: int = 1, downsample: Module | None = None):
        self.conv1, self.bn1 = Conv2d(C, O, 3, stride, padding=1, bias=False), BatchNorm2d(O)
        self.relu = ReLU()
        self.conv2, self.bn2 = Conv2d(O, O, 3, padding=1, bias=False), BatchNorm2d(O)
        if downsample is not None:
            self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (self.downsample(x) if "downsample" in vars(self) else x))


class Shrink(Module):
    """Every second pixel, and channels of zeros before and after to make up O: a shortcut without parameters."""

    def __init__(self, C: int, O: int):
        self.before = (O - C) // 2
        self.after = O - C - self.before

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"{self.before} + {self.after} channels"


def resnet18(image: Shape, classes: int) -> Module:
    """11,689,512 parameters for three channels and 1,000 classes."""
    C = channels_of("resnet18", image, 32)

    def shortcut(C: int, O: int) -> Module:
        return Sequential(Conv2d(C, O, 1, stride=2, bias=False), BatchNorm2d(O))

    stages = [_stage(c, o, 2, shortcut) for c, o in ((64, 64), (64, 128), (128, 256), (256, 512))]
    return _started(Sequential({
        "conv1": Conv2d(C, 64, 7, stride=2, padding=3, bias=False), "bn1": BatchNorm2d(64), "relu": ReLU(),
        "maxpool": MaxPool2d(3, 2, padding=1), **{f"layer{i}": stage for i, stage in enumerate(stages, 1)},
        "avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(512, classes)}))


def resnet20(image: Shape, classes: int) -> Module:
    """269,722 parameters for three channels and ten classes: the 0.27 M of the paper's table 6."""
    C = channels_of("resnet20", image, 4)
    stages = [_stage(c, o, 3, Shrink) for c, o in ((16, 16), (16, 32), (32, 64))]
    return _started(Sequential({
        "conv1": Conv2d(C, 16, 3, padding=1, bias=False), "bn1": BatchNorm2d(16), "relu": ReLU(),
        **{f"layer{i}": stage for i, stage in enumerate(stages, 1)},
        "avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(64, classes)}))


def _stage(C: int, O: int, blocks: int, shortcut: Callable[[int, int], Module]) -> Sequential:
    """Blocks of O channels; where that is more than C, the first halves the sizes."""
    first = BasicBlock(C, O, 2, shortcut(C, O)) if C != O else BasicBlock(C, O)
    return Sequential(first, *(BasicBlock(O, O) for _ in range(blocks - 1)))


def _started(net: Sequential) -> Sequential:
    for layer in net.modules():
        if isinstance(layer, Conv2d):
            init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net
