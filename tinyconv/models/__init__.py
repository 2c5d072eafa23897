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
from .architecture import Architecture, ModelError, Shape, channels_of
from .context import Context, DilatedNet
from .decoders import Autoencoder, Discriminator, Generator
from .googlenet import googlenet, googlenet_bn
from .lenet import lenet5
from .mobilenet import mobilenet
from .resnet import resnet18, resnet20
from .segment import FCN, SegNet, UNet
from .sliding import fully_convolutional, slide
from .small import cnn, digits, local, mlp, perceptron, renet
from .vgg import vgg16, vgg_small
from .weights import load_weights, save_weights

__all__ = [
    "FCN", "MODELS", "Architecture", "Autoencoder", "Context", "DilatedNet", "Discriminator", "Generator", "ModelError",
    "SegNet", "UNet", "build", "find",
    "fully_convolutional", "load_weights", "save_weights", "slide",
]


def _pixels(name: str, network: Callable[[int, int], Module], least: int = 8) -> Architecture:
    """A network of segmentation, by the class that makes it."""

    def build(image: Shape, classes: int) -> Module:
        return network(channels_of(name, image, least), classes)

    return Architecture(name, SEGMENTS[name], build, (1, 64, 64), 11, "segment")


def _square(name: str, network: Callable[[int, int], Module]) -> Callable[[Shape, int], Module]:
    """A builder of networks that are told channels and the side of a square."""

    def build(image: Shape, classes: int) -> Module:
        if image[1] != image[2]:
            raise ModelError(f"the model {name} is for square images; these are {image[1]}x{image[2]}")
        return network(image[0], image[1])

    return build


SEGMENTS = {
    "fcn": "Fully convolutional, with skips (Long et al., 2015)",
    "unet": "U-Net: what came down beside what goes up (Ronneberger et al., 2015)",
    "segnet": "SegNet: unpooling by the encoder's indices (Badrinarayanan et al., 2017)",
    "dilated": "Dilated context, no pooling (Yu and Koltun, 2016)",
}

MODELS = {a.name: a for a in (
    Architecture("perceptron", "784-10: one layer, no hidden one", perceptron, (1, 28, 28)),
    Architecture("mlp", "784-100-10: one hidden layer, no convolution; the one to beat", mlp, (1, 28, 28)),
    Architecture("digits", "16C3-32C3-P2-64-10 for images of 8x8", digits, (1, 8, 8)),
    Architecture("lenet5", "LeNet-5 (LeCun et al., 1998): C1 to F6, fully connected C3", lenet5, (1, 32, 32)),
    Architecture("cnn", "20C5-P2-40C5-P2-100-10 with ReLU", cnn, (1, 28, 28)),
    Architecture("alexnet", "AlexNet, in two groups (Krizhevsky et al., 2012)", alexnet, (3, 227, 227), 1000),
    Architecture("vgg16", "VGG-16 (Simonyan and Zisserman, 2015)", vgg16, (3, 224, 224), 1000),
    Architecture("vgg-small", "32C3x2-P2-64C3x2-P2-128C3x2-P2-10, normalised", vgg_small, (1, 28, 28)),
    Architecture("googlenet", "GoogLeNet: Inception modules (Szegedy et al., 2015)", googlenet, (3, 224, 224), 1000),
    Architecture("googlenet-bn", "GoogLeNet with batch normalisation, torchvision's", googlenet_bn, (3, 224, 224), 1000),
    Architecture("resnet18", "ResNet-18 (He et al., 2016)", resnet18, (3, 224, 224), 1000),
    Architecture("resnet20", "ResNet-20 for small images (He et al., 2016)", resnet20, (3, 32, 32)),
    Architecture("mobilenet", "Depthwise-separable (Howard et al., 2017)", mobilenet, (3, 32, 32)),
    Architecture("local", "Weights less and less shared: 16C3, tiled, locally connected", local, (1, 28, 28)),
    Architecture("renet", "ReNet: recurrent sweeps over the image (Visin et al., 2015)", renet, (1, 28, 28)),
    _pixels("fcn", FCN), _pixels("unet", UNet), _pixels("segnet", SegNet), _pixels("dilated", DilatedNet),
    Architecture("autoencoder", "Convolutional autoencoder, through 32 numbers", _square("autoencoder", Autoencoder),
                 (1, 28, 28), task="reconstruct"),
    Architecture("dcgan-generator", "DCGAN: images out of noise (Radford et al., 2016)", _square("dcgan-generator", Generator),
                 (1, 28, 28), task="generate", noise=100),
    Architecture("dcgan-discriminator", "DCGAN: real, or made? (Radford et al., 2016)",
                 _square("dcgan-discriminator", Discriminator), (1, 28, 28), task="judge"),
)}


def find(name: str) -> Architecture:
    """The architecture of this name. Raises: ModelError that lists those there are."""
    if name not in MODELS:
        raise ModelError(unknown("model", name, MODELS))
    return MODELS[name]


def build(name: str, image: Shape, classes: int) -> Module:
    """A new network for images (C, H, W) and this many classes: x (N, C, H, W) -> logits (N, classes).

    Networks for other tasks than to classify give what Architecture.task says.
    Raises: ModelError for an unknown name or an image that the network cannot take.

    >>> sum(p.numel() for p in build("digits", (1, 8, 8), 10).parameters())
    38282
    """
    return find(name).build(image, classes)
