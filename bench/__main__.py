"""`python -m bench` in a clone is `tinyconv bench`."""

import typer

from tinyconv.bench.command import bench

typer.run(bench)
