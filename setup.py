"""The compiled part: ahead-of-time kernels in C (csrc/), exposed by Cython.

Without a C compiler the install goes on: the extension is optional, and the registry's record of it says what is missing.
"""

import os

import numpy as np
from setuptools import Extension, setup

flags = ["/O2"] if os.name == "nt" else ["-O3", "-std=c11", "-ffp-contract=fast", "-fno-math-errno"]

setup(
    ext_modules=[
        Extension(
            "tinyconv.kernels._aot",
            sources=["csrc/_aot.pyx", "csrc/pool.c"],
            depends=["csrc/tinyconv.h"],
            include_dirs=[np.get_include(), "csrc"],
            extra_compile_args=flags,
            optional=True,
        )
    ]
)
