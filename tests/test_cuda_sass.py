"""What the assembler made of the loops of cuda_tiled. No GPU is needed, only numba-cuda and nvdisasm.

A multiprocessor issues one instruction a cycle for each quarter of its lanes, whatever it is: what is no multiply-add takes
the place of one.
"""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_cuda_ptx import signature

from tinyconv.kernels import gpu
from tinyconv.kernels.conv.cuda_tiled import TILES
from tinyconv.kernels.conv.cuda_tiled_loops import correlate
from tinyconv.kernels.conv.cuda_tiled_weights import correlate_weights


def nvdisasm():
    """The disassembler: on the PATH, or of the package nvidia-cuda-nvdisasm."""
    found = find_spec("nvidia")
    shipped = [path for folder in (found.submodule_search_locations or () if found else ())
               for path in Path(folder).glob("*/bin/nvdisasm")]
    return shutil.which("nvdisasm") or (str(shipped[0]) if shipped else None)


pytestmark = [
    pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed: pip install 'tinyconv[cuda]'"),
    pytest.mark.skipif(nvdisasm() is None, reason="nvdisasm is not installed: pip install nvidia-cuda-nvdisasm"),
    pytest.mark.skipif(gpu.simulated(), reason="the simulator compiles nothing"),
]


def longest_loop(kernel, folder):
    """The instructions of the longest loop, for compute capability 9.0: from a label to the branch back to it."""
    path = folder / "kernel.cubin"
    path.write_bytes(gpu.build(kernel, signature(kernel, "float32"), (9, 0)).code)
    text = subprocess.run([nvdisasm(), "-c", str(path)], capture_output=True, text=True, check=True).stdout
    code, labels, loops = [], {}, []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(code)
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?(\S+?)(?:\s(.*))?;", line):
            code.append(found[1])
            target = re.search(r"\.L_\w+", found[2] or "")
            if found[1].startswith("BRA") and target and target[0] in labels:
                loops.append(code[labels[target[0]]:])
    return max(loops, key=len)


@pytest.mark.parametrize("make, least", [(correlate, 0.8), (correlate_weights, 0.78)])
def test_four_in_five_instructions_are_multiply_adds(make, least, tmp_path, record_property):
    """Of the largest tile: 512 in a slice, with 32 fetches from shared memory that they cannot do without."""
    tile = next(iter(TILES))
    loop = longest_loop(make(tile, 1, "float32"), tmp_path)
    share = sum(op.startswith("FFMA") for op in loop) / len(loop)
    record_property("share", share)
    assert sum(op.startswith("FFMA") for op in loop) == tile.BK * tile.TM * tile.TN
    assert share >= least, f"{share:.3f} of {len(loop)} instructions"
    assert sum(op.startswith("BRA") for op in loop) == 1, "a branch, over which the assembler moves no fetch"


@pytest.mark.sweep
def test_the_shares_that_choose_a_tile_are_those_of_its_loop(tmp_path):
    """To 0.03: another assembler may take an instruction or two more."""
    shares = {}
    for tile in TILES:
        loop = longest_loop(correlate(tile, 1, "float32"), tmp_path)
        shares[tile] = sum(op.startswith("FFMA") for op in loop) / len(loop)
    most = shares[next(iter(TILES))]
    for tile, share in TILES.items():
        assert share == pytest.approx(shares[tile] / most, abs=0.03), (tile, shares)
