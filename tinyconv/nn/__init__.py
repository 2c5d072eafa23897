"""Layers and networks: Module (module.py), layers by family, the same as functions (functional.py), initial weights (init.py).

Names, arguments and `state_dict` keys are PyTorch's wherever PyTorch has the thing.
"""

from . import functional, init, utils
from .activation import LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from .containers import ModuleList, Sequential
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Flatten, Identity, Linear
from .local import LocallyConnected2d, TiledConv2d
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss, SmoothL1Loss
from .module import Buffer, Module, Parameter
from .norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Dropout,
    Dropout2d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LocalResponseNorm,
)
from .pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    GlobalAvgPool,
    GlobalMaxPool,
    LPPool1d,
    LPPool2d,
    LPPool3d,
    LPPoolFeatures,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MedianPool,
    MixedPool,
    StochasticPool,
)
from .recurrent import GRUCell, LSTMCell, ReNet, RNNCell
from .resizing import Fold, PixelShuffle, PixelUnshuffle, Unfold, Upsample, UpsamplingBilinear2d, UpsamplingNearest2d
from .unpooling import MaxUnpool1d, MaxUnpool2d, MaxUnpool3d, Unpool

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d",
    "BatchNorm3d", "Buffer", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "CrossEntropyLoss", "Dropout", "Dropout2d", "Flatten", "Fold", "GRUCell", "GlobalAvgPool", "GlobalMaxPool", "GroupNorm",
    "HuberLoss", "Identity", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "L1Loss", "LPPool1d", "LPPool2d",
    "LPPool3d", "LPPoolFeatures", "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "LocalResponseNorm", "LocallyConnected2d",
    "LogSoftmax", "MSELoss", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "MedianPool",
    "MixedPool", "Module", "ModuleList", "NLLLoss", "Parameter", "PixelShuffle", "PixelUnshuffle", "RNNCell", "ReLU", "ReNet",
    "Sequential", "SiLU", "Sigmoid", "SmoothL1Loss", "Softmax", "Softplus", "StochasticPool", "Tanh", "TiledConv2d", "Unfold",
    "Unpool", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "functional", "init", "utils",
]
