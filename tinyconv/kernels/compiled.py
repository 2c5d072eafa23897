"""The compiled extension, None where no C compiler was at hand, and the vector level that its kernels run at.

Every kernel of csrc/ is there once for each level, from one source (csrc/levels.h): baseline, avx2, avx512; on ARM neon.
The best that this CPU has is taken, or the one that TINYCONV_AOT_LEVEL names.
"""

from __future__ import annotations

import os

try:
    from . import _aot  # type: ignore[attr-defined]
except ImportError:
    _aot = None


def levels() -> tuple[str, ...]:
    """The vector levels of this CPU, least first; none without the extension."""
    return () if _aot is None else _aot.levels()


def level() -> int:
    """The number of the level to run at. Raises: ValueError where TINYCONV_AOT_LEVEL names one that is not here."""
    wanted, here = os.environ.get("TINYCONV_AOT_LEVEL"), levels()
    if wanted and wanted not in here:
        raise ValueError(f"TINYCONV_AOT_LEVEL is {wanted!r}; this CPU has {', '.join(here)}")
    return here.index(wanted) if wanted else len(here) - 1
