"""A made-up record of the bench, for the tests of what is made of records."""

from tinyconv.bench import record
from tinyconv.bench.contest import OURS, summary
from tinyconv.bench.task import SLOTS


def made_up(seconds, **changes):
    row = {"suite": "conv", "op": "conv", "case": "vgg.64", "dtype": "float32", "library": OURS, "algorithm": "im2col",
           "chosen": False, "threads": 2, "flops": 10**9, "bytes": 10**7, "scratch": 10**6, "first": 1.0}
    return {**row, **summary([[s] for s in seconds]), **changes}


def a_record():
    rows = []
    for op in SLOTS:
        rows += [made_up([2e-3] * 4, op=op), made_up([1e-3, 1.1e-3, 1e-3, 1e-3], op=op, algorithm="simd", chosen=True),
                 made_up([3e-3, 2.2e-3, 2e-3, 2e-3], op=op, library="torch", algorithm="")]
        rows.append({**rows[0], "op": op, "algorithm": "fft", "refused": "it is only an example"})
        del rows[-1]["median"]
    return {**record.new("conv"), "rows": rows, "peaks": {"float32@2": 4e11}, "bandwidth": {"2": 2e10},
            "libraries": {OURS: "0.1.0", "torch": "2.13"}}
