"""The trace of a forward and a backward pass: what ran, which rule made each gradient, what it cost, and what went wrong.

    with tinyconv.trace(model, image=x) as t:
        loss_of(model(x)).backward()
    print(t)                        the tree; t.findings(), t.dot(), t.svg(), t.page() and t.write(folder) show the same

Read next: recorder.py, what is written down while it happens; ../mode.py, how it comes to hear of it.
"""

from .trace import Trace, trace

__all__ = ["Trace", "trace"]
