"""MNIST and Fashion-MNIST: found on this machine, or downloaded once into the user's cache.

Without `root`, the folder named by the environment variable TINYCONV_DATA is looked in, then the cache. Files there lie
in `mnist/` and `fashion-mnist/` or directly, gzipped or not. Every file is checked for what it should be (type, counts,
sizes, label range); what was downloaded, now or earlier, also for its SHA-256. A folder of your own may hold the same
in other bytes, such as unpacked files, so there the content is checked and not the wrapping.
Read next: idx.py, the format; digits.py, a set that comes with the package.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .fetch import fetch, sha256_of
from .files import DataError
from .idx import read_idx


@dataclass(frozen=True, eq=False)
class Source:
    """Where a data set comes from, and how to know it. The dicts have the keys train, test, or the files' names."""

    name: str
    folder: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    first: dict[str, tuple[int, ...]]  # labels that tell the two sets apart: their files have the same names and sizes


COUNTS = {"train": 60_000, "test": 10_000}
STEMS = {"train": "train", "test": "t10k"}

MNIST = Source(
    name="MNIST",
    folder="mnist",
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    sha256={
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    first={"train": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4), "test": (7, 2, 1, 0, 4, 1, 4, 9, 5, 9)},
)
FASHION = Source(
    name="Fashion-MNIST",
    folder="fashion-mnist",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
             "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
    sha256={
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    first={"train": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5), "test": (9, 2, 1, 1, 6, 1, 4, 6, 5, 7)},
)


def mnist(root: str | os.PathLike[str] | None = None, train: bool = True,
          download: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, 28x28: images (N, 1, 28, 28) uint8, 0 is paper and 255 ink, and labels (N,) int64, 0 to 9.

    Args: root, the one folder to look in and to download into (without it: TINYCONV_DATA, then the cache); train, the
    60,000 training samples rather than the 10,000 test samples; download, whether what is missing may be fetched.
    Raises: DataError, one line that says which file and what to do.
    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (1998).
    """
    return _load(MNIST, root, "train" if train else "test", download)


def fashion_mnist(root: str | os.PathLike[str] | None = None, train: bool = True,
                  download: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Articles of clothing, 28x28, in the same form as `mnist`: the same arguments, returns and errors.

    Labels: 0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag, 9 ankle boot.
    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST" (2017), MIT licence, Copyright 2017 Zalando SE.
    """
    return _load(FASHION, root, "train" if train else "test", download)


def _load(source: Source, root: str | os.PathLike[str] | None, part: str,
          download: bool) -> tuple[np.ndarray, np.ndarray]:
    labels_at = _locate(source, f"{STEMS[part]}-labels-idx1-ubyte.gz", root, download)
    labels = _check(read_idx(labels_at), labels_at, (COUNTS[part],))
    if labels.max() > 9:
        raise DataError(f"{labels_at} holds a label {labels.max()}: the classes are 0 to 9")
    for other in (MNIST, FASHION):
        if other is not source and tuple(labels[:10]) == other.first[part]:
            raise DataError(f"{labels_at} is of {other.name}, not of {source.name}: keep the two apart in folders "
                            f"{MNIST.folder} and {FASHION.folder}")
    images_at = _locate(source, f"{STEMS[part]}-images-idx3-ubyte.gz", root, download)
    images = _check(read_idx(images_at), images_at, (COUNTS[part], 28, 28))
    return images[:, None], labels.astype(np.int64)


def _check(array: np.ndarray, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if array.dtype != np.uint8 or array.shape != shape:
        raise DataError(f"{path} holds {array.dtype} of shape {array.shape}, expected uint8 of shape {shape}")
    return array


def _locate(source: Source, name: str, root: str | os.PathLike[str] | None, download: bool) -> Path:
    """The path of one file, downloaded if need be."""
    own = _own_folder(root)
    if own:
        for folder in (own / source.folder, own):
            for path in (folder / name, folder / name.removesuffix(".gz")):
                if path.is_file():
                    return path
    target = (own if root is not None and own else _cache()) / source.folder / name
    wrong = ""
    if target.is_file():  # so it is in the cache, and was downloaded: by us, if its checksum says so
        if sha256_of(target) == source.sha256[name]:
            return target
        wrong = f"{target} has the wrong SHA-256: delete it, or let it be downloaded anew"
    if not download:
        looked = f"in {own} nor at {target}" if own else f"at {target}"
        raise DataError(wrong or f"there is no {name} of {source.name} {looked}: put it there, set TINYCONV_DATA to "
                        "the folder that holds it, or let it be downloaded")
    fetch([mirror + name for mirror in source.mirrors], target, source.sha256[name])
    return target


def _own_folder(root: str | os.PathLike[str] | None) -> Path | None:
    """The folder the user named, by argument or environment, if any."""
    if root is not None:
        return Path(root).expanduser()
    named = os.environ.get("TINYCONV_DATA")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataError(f"TINYCONV_DATA is {named}, which is no folder")
    return folder


def _cache() -> Path:
    from pooch import os_cache  # here: pooch takes some 40 ms to import

    return Path(os_cache("tinyconv"))
