"""MNIST and Fashion-MNIST, wherever they are found, and what is said where they are not.

The real sets are read where TINYCONV_DATA names a folder that holds them; the search, the checks and the download are
tried on made-up files and a server of this test's own.
"""

import gzip
import hashlib
import importlib
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tinyconv.data import DataError, fashion_mnist, mnist, read_idx, write_idx
from tinyconv.data.fetch import Bar, fetch, sha256_of

sets = importlib.import_module("tinyconv.data.mnist")  # the module; tinyconv.data.mnist is the function


# The real sets, where they are

real = pytest.mark.skipif(not os.environ.get("TINYCONV_DATA"), reason="TINYCONV_DATA names no folder with MNIST")


@real
@pytest.mark.parametrize("load, train, counts, mean, std", [
    (mnist, True, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307, 0.3081),
    (mnist, False, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 0.1325, 0.3105),
    (fashion_mnist, True, [6000] * 10, 0.2860, 0.3530), (fashion_mnist, False, [1000] * 10, 0.2868, 0.3524),
], ids=["mnist-train", "mnist-test", "fashion-train", "fashion-test"])
def test_the_real_set(load, train, counts, mean, std):
    images, labels = load(train=train, download=False)
    assert images.shape == (sum(counts), 1, 28, 28) and images.dtype == np.uint8 and images.flags.c_contiguous
    assert labels.dtype == np.int64 and np.bincount(labels).tolist() == counts
    measured = np.bincount(images.ravel()[:10**7], minlength=256)  # the first 10 million pixels are sample enough
    level = np.arange(256) / 255
    share = measured / measured.sum()
    m = (share * level).sum()
    assert abs(m - mean) < 0.002 and abs(np.sqrt((share * level**2).sum() - m * m) - std) < 0.002


@real
@pytest.mark.parametrize("source", [sets.MNIST, sets.FASHION], ids=["mnist", "fashion"])
def test_the_checksums_are_those_of_the_real_files(source):
    for name, sum_ in source.sha256.items():
        assert sha256_of(sets._locate(source, name, None, download=False)) == sum_


# Search and checks, on made-up files of the right shape

@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """A folder with a test set of blank images, and the labels 7 2 1 0 4 1 4 9 5 9 again and again, as in MNIST."""
    folder = tmp_path_factory.mktemp("blank")
    labels = np.tile(np.array(sets.MNIST.first["test"], np.uint8), 1000)
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels)
    write_idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros((10_000, 28, 28), np.uint8))
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """No TINYCONV_DATA, and an empty cache of this test's own."""
    monkeypatch.delenv("TINYCONV_DATA", raising=False)
    monkeypatch.setattr(sets, "_cache", lambda: tmp_path / "cache")
    return tmp_path


def lay(blank, folder):
    folder.mkdir(parents=True)
    for path in blank.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_the_cache_is_the_users(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert "tinyconv" in sets._cache().parts
    if sys.platform == "linux":
        assert str(sets._cache()) == "/somewhere/tinyconv"


@pytest.mark.parametrize("inside", [".", "mnist"])
@pytest.mark.parametrize("by", ["root", "environment"])
def test_found_directly_or_in_its_folder(blank, home, monkeypatch, by, inside):
    lay(blank, home / "mine" / inside)
    if by == "environment":
        monkeypatch.setenv("TINYCONV_DATA", str(home / "mine"))
    images, labels = mnist(root=home / "mine" if by == "root" else None, train=False, download=False)
    assert images.shape == (10_000, 1, 28, 28) and labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert not (home / "cache").exists()


def test_unpacked_files_are_found(blank, home):
    folder = lay(blank, home / "mine")
    for path in list(folder.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert mnist(folder, train=False, download=False)[1].sum() == 42_000


def test_a_root_is_the_only_place(blank, home, monkeypatch):
    monkeypatch.setenv("TINYCONV_DATA", str(blank))
    (home / "empty").mkdir()
    with pytest.raises(DataError, match=r"no t10k-labels-idx1-ubyte\.gz of MNIST in .*empty nor at .*empty.mnist"):
        mnist(home / "empty", train=False, download=False)


def test_nothing_anywhere_says_what_to_do(home):
    with pytest.raises(DataError, match=r"^there is no train-labels-idx1-ubyte\.gz of Fashion-MNIST at \S+cache\S+: "
                                        r"put it there, set TINYCONV_DATA to the folder that holds it, or let it be d"):
        fashion_mnist(download=False)


def test_the_environment_names_no_folder(home, monkeypatch):
    monkeypatch.setenv("TINYCONV_DATA", str(home / "typo"))
    with pytest.raises(DataError, match=r"TINYCONV_DATA is .*typo, which is no folder"):
        mnist()
    monkeypatch.setenv("TINYCONV_DATA", "")
    with pytest.raises(DataError, match="there is no train-labels"):
        mnist(download=False)


def test_the_two_sets_are_not_mistaken_for_each_other(blank, home):
    """Their files have the same names: a folder that holds them directly must not pass for both."""
    with pytest.raises(DataError, match="is of MNIST, not of Fashion-MNIST: keep the two apart"):
        fashion_mnist(blank, train=False, download=False)


@pytest.mark.parametrize("name, array, message", [
    ("labels-idx1", np.zeros(9_999, np.uint8), r"holds uint8 of shape \(9999,\), expected uint8 of shape \(10000,\)"),
    ("labels-idx1", np.full(10_000, 10, np.uint8), "holds a label 10: the classes are 0 to 9"),
    ("labels-idx1", np.zeros(10_000, np.int32), "holds int32 of shape"),
    ("images-idx3", np.zeros((10_000, 28, 27), np.uint8), r"shape \(10000, 28, 27\), expected uint8 of shape \(1"),
    ("images-idx3", np.zeros((10_000, 784), np.uint8), r"holds uint8 of shape \(10000, 784\)"),
])
def test_files_that_are_not_the_set_are_refused(blank, home, name, array, message):
    folder = lay(blank, home / "mine")
    (folder / f"t10k-{name}-ubyte.gz").unlink()
    write_idx(folder / f"t10k-{name}-ubyte", array)
    with pytest.raises(DataError, match=message) as caught:
        mnist(folder, train=False, download=False)
    assert f"t10k-{name}-ubyte" in str(caught.value)


# Downloads, from a server of our own

class Handler(BaseHTTPRequestHandler):
    """/ok/NAME gives the file, /html/ a page, /half/ half the file, /more/ more than it; /zip/ says it packed it, if it
    may; the rest is not found."""

    def do_GET(self):
        _, kind, name = self.path.split("/")
        self.server.asked.append(self.path)
        body = self.server.files.get(name, b"") if kind != "html" else b"<html>please log in</html>"
        body += b"junk" if kind == "more" else b""
        packed = kind == "zip" and "gzip" in self.headers.get("Accept-Encoding", "")
        self.send_response(200 if kind in ("ok", "html", "half", "more", "zip") else 404)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")  # requests would then unpack what is gzipped anyway
        self.end_headers()
        self.wfile.write(body[:len(body) // 2] if kind == "half" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


BODY = gzip.compress(bytes(range(256)) * 1000, mtime=0)
SUM = hashlib.sha256(BODY).hexdigest()


def nobody():
    """A URL at which no server listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/data.gz"


@pytest.mark.parametrize("asked, left", [
    (["ok"], []), (["none", "ok"], []), (["html", "ok"], ["ok"]), (["half", "ok"], []), (["more", "ok"], []),
    (["zip"], ["none"]), (["closed", "none", "half", "ok"], ["html"])])
def test_the_mirrors_are_tried_in_turn(server, tmp_path, asked, left, capsys):
    server.files["data.gz"] = BODY
    urls = [nobody() if kind == "closed" else f"{server.url}/{kind}/data.gz" for kind in asked + left]
    path = tmp_path / "new" / "folder" / "data.gz"
    fetch(urls, path, SUM)
    assert path.read_bytes() == BODY and os.listdir(path.parent) == ["data.gz"]
    assert [path.split("/")[1] for path in server.asked] == [kind for kind in asked if kind != "closed"]
    assert f"downloading {urls[0]}\n" in capsys.readouterr().err


def test_when_no_mirror_has_it_one_line_says_why_and_what_to_do(server, tmp_path):
    server.files["data.gz"] = BODY
    path = tmp_path / "data.gz"
    path.write_bytes(b"an older file")
    with pytest.raises(DataError) as caught:
        fetch([*(f"{server.url}/{kind}/data.gz" for kind in ("none", "html", "half")), nobody()], path, SUM)
    told = str(caught.value)
    page = hashlib.sha256(b"<html>please log in</html>").hexdigest()
    assert "\n" not in told and told.startswith("cannot download data.gz (")
    for part in ("/none/data.gz: HTTP 404;", f"26 bytes of SHA-256 {page[:16]}..., expected {SUM[:16]}...",
                 "/half/data.gz: ", "/data.gz: ConnectionError)", f"put it at {path}", "TINYCONV_DATA"):
        assert part in told
    assert os.listdir(tmp_path) == ["data.gz"] and path.read_bytes() == b"an older file"


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    import pooch

    def stub(url, file, pooch_):
        file.write(b"half of it")
        file.flush()
        assert len(os.listdir(tmp_path)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **kw: stub)
    with pytest.raises(KeyboardInterrupt):
        fetch(["http://x"], tmp_path / "data.gz", SUM)
    assert os.listdir(tmp_path) == []


def test_a_cache_that_cannot_be_written(tmp_path, home, monkeypatch):
    (tmp_path / "cache").touch()
    with pytest.raises(DataError, match=r"cannot make the folder \S+mnist for train-labels\S+: .*; pass root=, or "):
        mnist()

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataError, match=r"cannot write \S+data\.gz: Permission denied"):
        fetch(["http://x"], tmp_path / "data.gz", SUM)


def test_the_bar_fills_on_a_terminal_and_is_silent_elsewhere(server, tmp_path, capsys, monkeypatch):
    server.files["data.gz"] = BODY
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch([f"{server.url}/ok/data.gz"], tmp_path / "data.gz", SUM)
    told = capsys.readouterr().err
    assert told.endswith("\n") and told.split("\r")[-1].startswith("[##############################] 100 % of 0.0 MB")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    bar = Bar()
    bar.update(10)  # no size known
    bar.close()
    assert capsys.readouterr().err == ""


@pytest.fixture
def served(blank, home, server, monkeypatch):
    """mnist() whose mirrors are our server, the first of them without the files."""
    server.files = {path.name: path.read_bytes() for path in blank.iterdir()}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in server.files.items()}
    mirrors = (f"{server.url}/none/", f"{server.url}/ok/")
    monkeypatch.setattr(sets, "MNIST", replace(sets.MNIST, mirrors=mirrors, sha256=sums))
    return server


def test_downloaded_once_into_the_cache(served, home):
    images, labels = mnist(train=False)
    assert images.shape == (10_000, 1, 28, 28) and labels.sum() == 42_000
    assert sorted(os.listdir(home / "cache" / "mnist")) == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert len(served.asked) == 4
    mnist(train=False)
    mnist(train=False, download=False)
    assert len(served.asked) == 4


def test_a_file_in_the_cache_that_was_damaged(served, home):
    mnist(train=False)
    path = home / "cache" / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz has the wrong SHA-256: delete it, or let it be down"):
        mnist(train=False, download=False)
    mnist(train=False)
    assert read_idx(path).shape == (10_000, 28, 28)


def test_downloaded_into_a_root(served, home):
    mnist(home / "mine", train=False)
    assert len(os.listdir(home / "mine" / "mnist")) == 2 and not (home / "cache").exists()
    mnist(home / "mine", train=False, download=False)


def test_what_the_environment_lacks_is_taken_from_the_cache(served, home, monkeypatch):
    mnist(train=False)
    (home / "mine").mkdir()
    monkeypatch.setenv("TINYCONV_DATA", str(home / "mine"))
    mnist(train=False, download=False)


def test_importing_the_room_is_cheap():
    """pooch and its network stack load at the first download, not before."""
    code = "import sys, tinyconv.data; print([m for m in ('pooch', 'requests') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
