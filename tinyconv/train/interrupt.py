"""Ctrl-C as a wish, not a blow: the batch that is under way is finished, and what was learnt is saved."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupt:
    """While this context lasts, the first SIGINT or SIGTERM makes `self()` True; the second raises KeyboardInterrupt.

    told: called at the first one. For the main thread only, where Python handles signals.
    """

    def __init__(self, told: Callable[[], None] = lambda: None):
        self.told = told
        self.wished = False
        self.before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.wished

    def __enter__(self) -> Interrupt:
        self.before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True
        self.told()
