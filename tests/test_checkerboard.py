"""The checkerboard: its measure against a Fourier transform, and layers of random weights against counts made by hand."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.models.decoders import enlarge
from tinyconv.plot.checkerboard import artefact, checkerboard, power


def test_the_artefact_by_hand():
    """Kernel 3, stride 2: along an axis cells are covered once and twice by turns, in two dimensions 1, 2, 2, 4: their mean
    is 9/4, their mean square 25/4, so the variance over the squared mean is (100 - 81)/81."""
    counts = np.outer([1, 2] * 4, [1, 2] * 4)
    assert artefact(counts) == pytest.approx(19 / 81, rel=1e-14)
    assert artefact(np.full((6, 6), 3.0)) == 0
    assert artefact(np.outer([2, 1, 1] * 2, [1, 1, 1] * 2), 3) == pytest.approx(2 / 16, rel=1e-14)  # mean 4/3, variance 2/9


@pytest.mark.parametrize("stride", [2, 3])
def test_the_artefact_is_energy_at_the_frequencies_of_the_stride(stride):
    """Whatever else is in the map: |Y|**2 at the multiples of 1/stride but 0, over |Y|**2 at 0."""
    y = np.random.default_rng(0).random((12, 18))
    energy = np.abs(np.fft.fft2(y)) ** 2
    at = energy[::12 // stride, ::18 // stride]
    assert artefact(y, stride) == pytest.approx((at.sum() - at[0, 0]) / at[0, 0], rel=1e-10)


def test_maps_without_whole_periods_are_refused():
    with pytest.raises(ValueError, match="9x8 has no whole periods of 2"):
        artefact(np.ones((9, 8)))


@pytest.mark.parametrize("kernel, upsample, expected", [
    (3, "transposed", (1 + 1 / 9) ** 2 - 1), (5, "transposed", (1 + 1 / 25) ** 2 - 1),
    (2, "transposed", 0), (4, "transposed", 0), (3, "resize", 0), (4, "resize", 0), (5, "resize", 0)])
def test_random_weights_leave_what_the_counts_say(kernel, upsample, expected):
    """Counts m and m + 1 along an axis, k = 2m + 1: mean k/2 and deviation 1/2, so 1/k**2 an axis.

    A mean of y*y is off by some sqrt(2/n): n are, for each phase, 16 draws x 16 maps of random weights, over a few hundred
    taps of noise: 0.09 were they one number each, and the artefact goes with its square where it is 0, 0.008, and with twice
    itself times that where it is not.
    """
    found = artefact(power(kernel, upsample, size=12, draws=16))
    assert abs(found - expected) < 0.008 + 2 * 0.09 * expected


def test_resize_convolution_leaves_none_whatever_the_weights():
    """A constant stays one under nearest neighbours and a convolution; a transposed one of an even kernel, even on average,
    has a pattern of its own in each draw."""
    tc.manual_seed(0)
    resize, even = (enlarge(1, 1, 4, upsample)(tc.ones(1, 1, 12, 12)).detach().numpy()[0, 0, 4:-4, 4:-4]
                    for upsample in ("resize", "transposed"))
    assert artefact(resize) < 1e-12  # float32 sums of the same 16 products in the same order
    assert artefact(even) > 1e-3


def test_the_picture(tmp_path):
    three, four, resized = checkerboard(tmp_path / "a.png")
    assert three > 0.2 and max(four, resized) < 0.001
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
