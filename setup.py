"""The compiled part: ahead-of-time kernels in C (csrc/), exposed by Cython.

Without a C compiler the install goes on: the extension is optional, the build says that it was left out, and so does the
registry's record of every kernel that needs it. No flag names a processor, so that a wheel runs on all of them.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = ["/O2", "/std:c11"] if os.name == "nt" else ["-O3", "-std=c11", "-fno-math-errno", "-ffp-contract=fast"]


class BuildWhatCompiles(build_ext):
    """build_ext that says, in a line one can act on, which optional extension is missing."""

    def run(self) -> None:
        super().run()
        for extension in self.extensions:
            if not os.path.exists(self.get_ext_fullpath(extension.name)):
                print(f"tinyconv: {extension.name} was NOT built (see the compiler's message above). Everything works "
                      "without it, by the other kernels; for the compiled ones install a C compiler and reinstall tinyconv.",
                      file=sys.stderr)


setup(
    cmdclass={"build_ext": BuildWhatCompiles},
    ext_modules=[
        Extension(
            "tinyconv.kernels._aot",
            sources=["csrc/_aot.pyx", "csrc/conv.c", "csrc/levels.c", "csrc/pool.c", "csrc/threads.c"],
            depends=[str(path) for path in sorted(Path("csrc").glob("*.h"))],
            include_dirs=["csrc"],
            extra_compile_args=FLAGS,
            optional=True,
        )
    ],
)
