"""The sentence for a name that does not exist, the same wherever a user names a thing."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """One line: what was asked for, the nearest name there is, and all of them.

    >>> unknown("model", "lenet", ["mlp", "lenet5"])
    "there is no model 'lenet'; did you mean 'lenet5'? There are: mlp, lenet5"
    """
    names = list(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    return f"there is no {what} {name!r}; {hint}: {', '.join(names)}"
