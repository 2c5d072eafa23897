"""Networks by name: a table of builders that take the shape of an image and the number of classes.

    model = build("lenet5", (1, 28, 28), classes=10)

Weights are drawn from the default generator (`tinyconv.manual_seed`). Names of layers are PyTorch's or torchvision's where
the network exists there, so that weights.py reads and writes its files.
Read next: lenet.py, the network it began with.
"""

from __future__ import annotations

from collections.abc import Callable

from ..names import unknown
from ..nn import Module
from .alexnet import alexnet
from .architecture import TASKS, Architecture, ModelError, Shape, channels_of
from .context import Context, DilatedNet
from .decoders import Autoencoder, Discriminator, Generator
from .googlenet import googlenet, googlenet_bn
from .lenet import lenet5
from .mobilenet import mobilenet
from .nielsen import NIELSEN
from .normed import bncnn
from .resnet import resnet18, resnet20
from .segment import FCN, SegNet, UNet
from .sliding import fully_convolutional, slide
from .small import cnn, digits, local, mlp, perceptron, renet
from .vgg import vgg16, vgg_small
from .weights import load_weights, save_weights

__all__ = [
    "FCN", "MODELS", "TASKS", "Architecture", "Autoencoder", "Context", "DilatedNet", "Discriminator", "Generator",
    "ModelError", "SegNet", "UNet", "build", "classifier", "find", "fully_convolutional", "load_weights", "save_weights",
    "slide",
]


def _pixels(name: str, summary: str, network: Callable[[int, int], Module]) -> Architecture:
    """A network of segmentation, from the class that makes it: network(channels, classes)."""

    def build(image: Shape, classes: int) -> Module:
        return network(channels_of(name, image, 8), classes)

    return Architecture(name, summary, build, (1, 64, 64), 11, "segment")


def _square(name: str, summary: str, network: Callable[[int, int], Module], task: str, noise: int = 0) -> Architecture:
    """A network for square images that knows no classes: network(channels, size)."""

    def build(image: Shape, classes: int) -> Module:
        if image[1] != image[2]:
            raise ModelError(f"the model {name} is for square images; these are {image[1]}x{image[2]}")
        return network(image[0], image[1])

    return Architecture(name, summary, build, (1, 28, 28), task=task, noise=noise)


MODELS = {a.name: a for a in (
    Architecture("perceptron", "784-10: one layer, no hidden one", perceptron, (1, 28, 28)),
    Architecture("mlp", "784-100-10: one hidden layer", mlp, (1, 28, 28)),
    Architecture("digits", "16C3-32C3-P2-64-10, for 8x8", digits, (1, 8, 8)),
    Architecture("lenet5", "LeNet-5 (LeCun et al., 1998)", lenet5, (1, 32, 32)),
    Architecture("cnn", "20C5-P2-40C5-P2-100-10 with ReLU", cnn, (1, 28, 28)),
    Architecture("bncnn", "32C3x2-P2-64C3x2-P2-10, batch norm", bncnn, (1, 28, 28)),
    Architecture("alexnet", "AlexNet (Krizhevsky et al., 2012)", alexnet, (3, 227, 227), 1000),
    Architecture("vgg16", "VGG-16 (Simonyan, Zisserman, 2015)", vgg16, (3, 224, 224), 1000),
    Architecture("vgg-small", "six layers of 3x3, normalised", vgg_small, (1, 28, 28)),
    Architecture("googlenet", "GoogLeNet (Szegedy et al., 2015)", googlenet, (3, 224, 224), 1000),
    Architecture("googlenet-bn", "the same as torchvision has it", googlenet_bn, (3, 224, 224), 1000),
    Architecture("resnet18", "ResNet-18 (He et al., 2016)", resnet18, (3, 224, 224), 1000),
    Architecture("resnet20", "ResNet-20 (He et al., 2016)", resnet20, (3, 32, 32)),
    Architecture("mobilenet", "depthwise-separable (Howard, 2017)", mobilenet, (3, 32, 32)),
    Architecture("local", "tiled, then locally connected", local, (1, 28, 28)),
    Architecture("renet", "ReNet: sweeps (Visin et al., 2015)", renet, (1, 28, 28)),
    _pixels("fcn", "FCN with skips (Long et al., 2015)", FCN),
    _pixels("unet", "U-Net (Ronneberger et al., 2015)", UNet),
    _pixels("segnet", "SegNet: unpooling by indices", SegNet),
    _pixels("dilated", "dilated context (Yu, Koltun, 2016)", DilatedNet),
    _square("autoencoder", "convolutional, through 32 numbers", Autoencoder, "reconstruct"),
    _square("dcgan-generator", "images out of noise (Radford, 2016)", Generator, "generate", noise=100),
    _square("dcgan-discriminator", "real, or made? (Radford, 2016)", Discriminator, "judge"),
    *NIELSEN,
)}


def find(name: str) -> Architecture:
    """The architecture of this name. Raises: ModelError that lists those there are."""
    if name not in MODELS:
        raise ModelError(unknown("model", name, MODELS))
    return MODELS[name]


def classifier(name: str) -> Architecture:
    """The architecture of this name, which must give a class of each image. Raises: ModelError that says what it gives."""
    found = find(name)
    if found.task != "classify":
        raise ModelError(f"the model {name} gives {TASKS[found.task]}: here it takes one that classifies images")
    return found


def build(name: str, image: Shape, classes: int) -> Module:
    """A new network for images (C, H, W) and this many classes: x (N, C, H, W) -> logits (N, classes).

    Networks for other tasks than to classify give what Architecture.task says.
    Raises: ModelError for an unknown name or an image that the network cannot take.

    >>> sum(p.numel() for p in build("digits", (1, 8, 8), 10).parameters())
    38282
    """
    return find(name).build(image, classes)
