"""`python -m tinyconv` is `tinyconv`."""

from .cli import main

main()
