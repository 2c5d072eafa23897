"""Networks that put out images: a convolutional autoencoder, and DCGAN's generator with the discriminator that judges it.

Sizes are multiples of 4; `width` is the number of maps at half the size of the image, twice as many at a quarter.

    encoder         size -width C4/2-> size/2 -2 width C4/2-> size/4
    decoder         size/4 -width TC4/2-> size/2 -C TC4/2-> size              TC: a transposed convolution
    generator       noise -2 width TC-> size/4, then as the decoder

A kernel that the stride does not divide covers some cells once and some more often, in the pattern of a checkerboard; 4 is
even at stride 2, 3 and 5 are not. upsample="resize" enlarges first and convolves then: no overlap, whatever the kernel.
Sources: A. Radford, L. Metz, S. Chintala (2016), DCGAN; A. Odena, V. Dumoulin, C. Olah (2016), on checkerboards.
"""

from __future__ import annotations

from ..nn import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    LeakyReLU,
    Linear,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    Upsample,
    init,
)
from ..ops import reshape
from ..tensor import Tensor
from .architecture import ModelError

UPSAMPLE = ("transposed", "resize")


def enlarge(C: int, O: int, kernel_size: int, upsample: str) -> Module:
    """From C maps to O of twice the size: a transposed convolution of stride 2, or nearest neighbours and a convolution."""
    if upsample == "transposed":
        return ConvTranspose2d(C, O, kernel_size, 2, padding=(kernel_size - 1) // 2, output_padding=kernel_size % 2)
    if upsample == "resize":
        return Sequential(Upsample(scale_factor=2), Conv2d(C, O, kernel_size, padding="same"))
    raise ModelError(f"upsample must be one of {', '.join(UPSAMPLE)}, got {upsample!r}")


def _quarter(name: str, size: int) -> int:
    if size < 8 or size % 4:
        raise ModelError(f"the model {name} takes square images of 8x8 and more whose size 4 divides; these are {size}x{size}")
    return size // 4


class Autoencoder(Sequential):
    """x (N, C, size, size) -> the same, through `code` numbers: what is learned is how to describe an image in so few.

    The output is between 0 and 1, as pixels are. `model.encoder(x)` gives the codes (N, code), `model.decoder` images of them.
    """

    def __init__(self, channels: int = 1, size: int = 28, width: int = 16, code: int = 32, kernel_size: int = 4,
                 upsample: str = "transposed"):
        cells = _quarter("autoencoder", size)
        super().__init__({
            "encoder": Sequential(Conv2d(channels, width, 4, 2, padding=1), ReLU(), Conv2d(width, 2 * width, 4, 2, padding=1),
                                  ReLU(), Flatten(), Linear(2 * width * cells * cells, code)),
            "decoder": Sequential(Linear(code, 2 * width * cells * cells), Unflatten(2 * width, cells, cells), ReLU(),
                                  enlarge(2 * width, width, kernel_size, upsample), ReLU(),
                                  enlarge(width, channels, kernel_size, upsample), Sigmoid())})


class Unflatten(Module):
    """(N, features) -> (N, *shape)."""

    def __init__(self, *shape: int):
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return reshape(x, x.shape[0], *self.shape)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


class Generator(Sequential):
    """Noise (N, noise) -> images (N, channels, size, size) between -1 and 1. Weights start normal, of deviation 0.02."""

    def __init__(self, channels: int = 1, size: int = 28, noise: int = 100, width: int = 32, kernel_size: int = 4,
                 upsample: str = "transposed"):
        super().__init__({
            "noise": Unflatten(noise, 1, 1),
            "project": ConvTranspose2d(noise, 2 * width, _quarter("dcgan-generator", size), bias=False),
            "bn1": BatchNorm2d(2 * width), "relu1": ReLU(),
            "up1": enlarge(2 * width, width, kernel_size, upsample), "bn2": BatchNorm2d(width), "relu2": ReLU(),
            "up2": enlarge(width, channels, kernel_size, upsample), "tanh": Tanh()})
        self.apply(_as_dcgan)


class Discriminator(Sequential):
    """Images (N, channels, size, size) -> logits (N, 1), above 0 for what looks real."""

    def __init__(self, channels: int = 1, size: int = 28, width: int = 32):
        super().__init__({
            "conv1": Conv2d(channels, width, 4, 2, padding=1), "relu1": LeakyReLU(0.2),
            "conv2": Conv2d(width, 2 * width, 4, 2, padding=1, bias=False), "bn2": BatchNorm2d(2 * width),
            "relu2": LeakyReLU(0.2),
            "judge": Conv2d(2 * width, 1, _quarter("dcgan-discriminator", size)), "flatten": Flatten()})
        self.apply(_as_dcgan)


def _as_dcgan(layer: Module) -> None:
    """Radford et al., section 3 and their code: weights N(0, 0.02), of batch normalisation N(1, 0.02)."""
    if isinstance(layer, Conv2d | ConvTranspose2d | BatchNorm2d):
        for name, p in layer.named_parameters():
            if name == "bias":
                init.zeros_(p)
            else:
                init.normal_(p, float(isinstance(layer, BatchNorm2d)), 0.02)
