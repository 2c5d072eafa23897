"""`tinyconv` typed in a shell: a process of its own, what it printed, and what it left in a folder."""

import os
import subprocess
import sys
from pathlib import Path

import tinyconv

ROOT = Path(tinyconv.__file__).parents[1]
FILES = ["best.safetensors", "checkpoint.safetensors", "config.toml", "filters.png", "learning_curve.png", "metrics.csv",
         "metrics.json", "weights.safetensors"]
QUICK = ("train", "--model", "mlp", "--epochs", "2", "--out", "run")


def environment(**more: str) -> dict[str, str]:
    """That of the tests, with the network and the user's data out of reach."""
    plain = {name: value for name, value in os.environ.items() if name not in ("TINYCONV_DATA", "COLUMNS", "FORCE_COLOR")}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return {**plain, **nowhere, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **more}


def tinyconv_(*args: str, cwd: Path, code: int = 0, **env: str) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, "-m", "tinyconv", *args], cwd=cwd, env=environment(**env), capture_output=True,
                          text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def narrow(text: str) -> bool:
    return max(map(len, text.splitlines())) <= 80


def told(text: str) -> bool:
    return text.startswith("tinyconv: ") and text.count("\n") == 1


def refusal(*args: str, cwd: Path, **env: str) -> str:
    """The one line on stderr of a process that cannot do what it is told; nothing is left behind."""
    before = names(cwd)
    done = tinyconv_(*args, cwd=cwd, code=2, **env)
    assert names(cwd) == before
    assert told(done.stderr), done.stderr
    return done.stderr
