"""A classifier slid over an image, window by window and as one convolutional network: `python -m bench.sliding [--size 256]`.

LeNet-5 on windows of 32x32, a step of 4. Both answers are compared before they are timed; the two take turns, after a call
of each that is not counted, and the median counts. Without a flag an image of 128x128, 25 x 25 windows.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter

import numpy as np

import tinyconv as tc
from tinyconv.models import build, fully_convolutional, slide

IMAGE, STEP, ROUNDS = (1, 32, 32), 4, 7


def main() -> None:
    """Print the work and the time of both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="side of the image")
    size = parser.parse_args().size
    tc.manual_seed(0)
    model = build("lenet5", IMAGE, 10).eval()
    whole = fully_convolutional(model, IMAGE)
    x = tc.tensor(np.random.default_rng(0).standard_normal((1, 1, size, size)).astype(np.float32))
    ways = {"window by window": lambda: slide(model, x, IMAGE, STEP), "as one network": lambda: whole(x)}
    with tc.no_grad():
        answers = [way().numpy() for way in ways.values()]
        off = float(np.abs(answers[0] - answers[1]).max())
        if off > 1e-5 * np.abs(answers[0]).max():
            raise SystemExit(f"the answers differ by {off}")
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = perf_counter()
                way()
                seconds[name].append(perf_counter() - began)
    windows = answers[0].shape[2] * answers[0].shape[3]
    macs = {"window by window": windows * model.summary(IMAGE).macs, "as one network": whole.summary((1, size, size)).macs}
    print(f"LeNet-5 at {windows:,} places of an image of {size}x{size}; largest difference {off:.1e}")
    for name, times in seconds.items():
        print(f"  {name:<16}  {macs[name] / 1e6:8.1f} M multiply-adds  {1e3 * median(times):8.1f} ms")


if __name__ == "__main__":
    main()
