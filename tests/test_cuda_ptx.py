"""Every CUDA kernel compiles, for three generations of GPUs, and keeps its numbers in registers. No GPU is needed.

Registers, shared memory and spills are read from the assembler; `pytest --junitxml` keeps them as properties.
"""

import inspect
import re
from importlib.util import find_spec

import pytest
from numba import types

from tinyconv.kernels import gpu
from tinyconv.kernels.conv import cuda_depthwise, cuda_im2col, cuda_naive, cuda_shared, cuda_tiled, cuda_winograd_loops
from tinyconv.kernels.conv.cuda_depthwise import Window
from tinyconv.kernels.conv.cuda_plan import WORDS
from tinyconv.kernels.conv.cuda_tiled_loops import correlate
from tinyconv.kernels.conv.cuda_tiled_weights import _add, correlate_weights
from tinyconv.kernels.conv.winograd_tiles import SIZES

pytestmark = [
    pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed: pip install 'tinyconv[cuda]'"),
    pytest.mark.skipif(gpu.simulated(), reason="the simulator compiles nothing"),
]
CCS = ((7, 5), (8, 0), (9, 0))
REALS, TABLES = ("out", "a", "w", "x", "y", "bias", "each", "cols", "u"), ("phases", "places", "terms", "w_at", "g")
REGISTERS, SHARED, MOST = 65536, 48 << 10, 255  # of a multiprocessor, of a block, of a thread
WINDOWS = [Window((1, k, k), (1, s, s), (1, d, d), rows) for k, s, d, rows in
           ((3, 1, 1, 4), (3, 2, 1, 4), (3, 1, 2, 4), (5, 1, 1, 1), (7, 1, 1, 1))]
WINDOWS.append(Window((3, 3, 3), (1, 1, 1), (1, 1, 1), 1))


def kernels(dtype):
    """(name, function, whether it is tried by default) of every kernel."""
    for module, names in ((cuda_naive, ("forward", "input_grad", "weight_grad")), (cuda_im2col, ("gather", "scatter"))):
        for name, kernel in zip(names, module._kernels(dtype)):
            yield f"{module.__name__.split('.')[-1]}.{name}", kernel, True
    for name, kernel in zip(("correlate", "weights"), cuda_shared._kernels(cuda_shared.SIDE, dtype)):
        yield f"cuda_shared.{name}", kernel, True
    yield "add_parts", _add(dtype), True
    for w in WINDOWS:
        label = "x".join(map(str, w.kernel)) + f"s{w.stride[-1]}d{w.dilation[-1]}"
        common = w in (WINDOWS[0], WINDOWS[4])
        for flipped in (False, True):
            yield f"depthwise.{label}.forward.flipped{flipped:d}", cuda_depthwise._forward(w, flipped, dtype), common
        yield f"depthwise.{label}.spread", cuda_depthwise._spread(w, dtype), common
        yield f"depthwise.{label}.weights", cuda_depthwise._weights(w, cuda_depthwise.BLOCK, dtype), common
    for m, k in SIZES:
        for name, kernel in cuda_winograd_loops.kernels(m, k, dtype)._asdict().items():
            yield f"winograd.{m}x{k}.{name}", kernel, (m, k) == (4, 3)
    for i, tile in enumerate(cuda_tiled.TILES):
        for words in WORDS:
            label = f"tiled.{tile.BM}x{tile.BN}.words{words}"
            for V in (tile.V, 1):
                yield f"{label}.V{V}", correlate(tile._replace(V=V), words, dtype), i == 0 and words == 1
            yield f"{label}.weights", correlate_weights(tile, words, dtype), i == 0 and words == 1


def grid():
    for dtype in ("float32", "float64"):
        for name, kernel, common in kernels(dtype):
            for cc in CCS:
                quick = common and dtype == "float32" and (cc == CCS[-1] or name == "tiled.128x128.words1.V4")
                label = f"{name}-{dtype}-sm{cc[0]}{cc[1]}"
                yield pytest.param(kernel, dtype, cc, id=label, marks=() if quick else pytest.mark.sweep)


def signature(kernel, dtype):
    kinds = {**dict.fromkeys(REALS, types.CPointer(gpu.real(dtype))), **dict.fromkeys(TABLES, types.CPointer(types.int32))}
    return tuple(kinds.get(name, types.int32) for name in inspect.signature(kernel.fn).parameters)


@pytest.mark.parametrize("kernel, dtype, cc", list(grid()))
def test_compiles_and_spills_nothing(kernel, dtype, cc, record_property):
    made = gpu.build(kernel, signature(kernel, dtype), cc)
    for name in ("registers", "shared", "spilled"):
        record_property(name, getattr(made, name))
    assert f".target sm_{cc[0]}{cc[1]}" in made.ptx and len(made.code) > 1000
    assert made.spilled == 0, f"{made.spilled} bytes a thread spilled or kept in memory, with {made.registers} registers"
    assert 0 < made.registers <= MOST and made.registers * kernel.threads <= REGISTERS and made.shared <= SHARED
    other = {"float32": r"\.f64\b", "float64": r"\.f32\b"}[dtype]
    assert not re.search(other, made.ptx), "arithmetic in the other precision, which costs a conversion each"
    assert not re.search(r"\b(atom|red)\.", made.ptx), "atomics make the order of sums a matter of luck"


@pytest.mark.parametrize("make", [correlate, correlate_weights])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_inner_loop_is_what_it_is_drawn_to_be(dtype, make):
    """The largest tile: 8x8 outer products, one for each term of a slice, all unrolled, from fetches of 16 bytes."""
    tile = next(iter(cuda_tiled.TILES))
    ptx = gpu.build(make(tile, 1, dtype), signature(make(tile, 1, dtype), dtype), (9, 0)).ptx
    kind, width = {"float32": ("f32", "v4"), "float64": ("f64", "v2")}[dtype]
    assert ptx.count(f"fma.rn.{kind}") == tile.BK * tile.TM * tile.TN
    fetches = tile.BK * (tile.TM + tile.TN) // int(width[1])
    assert ptx.count(f"ld.shared.{width}.{kind}") == fetches and f"ld.shared.{kind}" not in ptx
    assert ".local" not in ptx and ptx.count("bar.sync") == 2  # behind the first slice, and one for each


def test_a_spill_is_seen():
    """More sums than a thread has registers: the assembler says so, and the test above would fail."""
    fat = cuda_tiled.Tile(256, 256, 8, 16, 16, 4)
    kernel = correlate(fat, 1, "float32")
    assert gpu.build(kernel, signature(kernel, "float32"), (9, 0)).spilled > 0
