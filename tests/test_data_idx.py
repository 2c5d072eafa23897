"""IDX files, against bytes written by hand: what is read, what is written, and every way a file can be wrong."""

import gzip
import os
import struct
import zlib

import numpy as np
import pytest

from tinyconv.data import DataError, read_idx, write_idx

# type byte, struct letter, dtype, values that use the sign and the width
FORMATS = [(0x08, "B", "uint8", [0, 1, 128, 255, 7, 9]), (0x09, "b", "int8", [0, -1, 127, -128, 5, 6]),
           (0x0B, "h", "int16", [0, -2, 32767, -32768, 258, 1]),
           (0x0C, "i", "int32", [0, -3, 2**31 - 1, -2**31, 65539, 1]),
           (0x0D, "f", "float32", [0.0, -1.5, 0.25, 1e30, 3.0, -0.125]),
           (0x0E, "d", "float64", [0.0, -1.5, 0.1, 1e300, 3.0, -0.125])]


def by_hand(code, letter, shape, values):
    """The bytes of an IDX file, from the text of the format."""
    header = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + struct.pack(f">{len(values)}{letter}", *values)


MATRIX = by_hand(0x08, "B", (2, 3), [1, 2, 3, 4, 5, 6])


@pytest.fixture
def made(tmp_path):
    def make(data, name="some.idx"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("code, letter, dtype, values", FORMATS, ids=[f[2] for f in FORMATS])
def test_reads_what_was_written_by_hand(made, code, letter, dtype, values, pack):
    array = read_idx(made(pack(by_hand(code, letter, (2, 1, 3), values))))
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative
    assert array.flags.writeable and array.flags.c_contiguous
    np.testing.assert_array_equal(array, np.array(values, dtype).reshape(2, 1, 3))


@pytest.mark.parametrize("code, letter, dtype, values", FORMATS, ids=[f[2] for f in FORMATS])
def test_writes_the_bytes_of_the_format(tmp_path, code, letter, dtype, values):
    array = np.array(values, dtype).reshape(2, 3)
    expected = by_hand(code, letter, (2, 3), values)
    write_idx(tmp_path / "plain", array)
    assert (tmp_path / "plain").read_bytes() == expected
    write_idx(tmp_path / "packed.gz", array.astype(array.dtype.newbyteorder(">")))
    assert gzip.decompress((tmp_path / "packed.gz").read_bytes()) == expected


def test_writes_any_memory_layout(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    write_idx(tmp_path / "x", array)
    assert (tmp_path / "x").read_bytes() == by_hand(0x0B, "h", (4, 2, 3), array.ravel().tolist())


@pytest.mark.parametrize("name", ["x.idx", "x.idx.gz"])
@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (3, 0)])
def test_an_empty_array(tmp_path, shape, name):
    write_idx(tmp_path / name, np.zeros(shape, np.uint8))
    assert read_idx(tmp_path / name).shape == shape


def test_a_gzip_file_of_two_members_and_a_name_that_lies(made):
    both = gzip.compress(MATRIX[:9]) + gzip.compress(MATRIX[9:])
    assert read_idx(made(both, "no_suffix")).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read_idx(made(MATRIX, "plain.gz")).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_same_array_gives_the_same_gzip_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(5, dtype=np.uint8))
    packed = (tmp_path / "a.gz").read_bytes()
    assert packed == (tmp_path / "b.gz").read_bytes()
    assert packed[3:8] == bytes(5)  # no flags, so no file name, and a time of zero


BROKEN = {
    "empty": (b"", r"is no IDX file: it begins with nothing"),
    "short magic": (b"\0\0\x08", r"is no IDX file: it begins with 00 00 08,"),
    "magic": (b"\x89PNG\r\n", r"is no IDX file: it begins with 89 50 4e 47, not with 00 00"),
    "unknown type": (by_hand(0x0A, "B", (1,), [1]), r"is no IDX file: it begins with 00 00 0a 01"),
    "no dimension": (bytes([0, 0, 8, 0, 1]), r"is no IDX file: it begins with 00 00 08 00"),
    "65 dimensions": (by_hand(8, "B", (1,) * 65, [1]), r"1 to 64 dimensions"),
    "header": (MATRIX[:10], r"is cut off: 2 dimensions need a header of 12 bytes, 10 are there"),
    "data": (MATRIX[:-1], r"is cut off: shape \(2, 3\) of uint8 needs 6 bytes, 5 are the most"),
    "wide data": (by_hand(0x0E, "d", (3,), [1.0, 2.0]), r"shape \(3,\) of float64 needs 24 bytes, 16 are the most"),
    "trailing": (MATRIX + b"xyz", r"is too long: shape \(2, 3\) of uint8 needs 6 bytes, 3 more follow"),
    "huge": (by_hand(8, "B", (2**32 - 1,) * 8, [1]), r"is cut off: .* needs \d+ bytes, 1 are the most"),
    "gzip data": (gzip.compress(MATRIX[:-2]), r"is cut off: shape \(2, 3\) of uint8 needs 6 bytes, 4 are there"),
    "gzip trailing": (gzip.compress(MATRIX + b"x"), r"is too long: .* 1 more follow"),
    "gzip huge": (gzip.compress(by_hand(8, "B", (2**32 - 1,) * 3, [1])), r"is cut off: .* are the most it can hold"),
    "gzip end": (gzip.compress(MATRIX)[:-9], r"is cut off: its gzip stream does not reach its end in \d+ bytes"),
    "gzip checksum": (gzip.compress(MATRIX)[:-8] + bytes(8), r"is damaged: its gzip stream does not unpack \(CRC"),
    "gzip garbage": (gzip.compress(MATRIX) + b"garbage", r"is damaged: its gzip stream does not unpack"),
    "gzip stream": (gzip.compress(b"")[:10] + b"\xff" * 20, r"is damaged: its gzip stream does not unpack \(Error"),
}


@pytest.mark.parametrize("data, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_gets_one_line_with_its_name(made, data, message):
    path = made(data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_every_damaged_bit_of_a_gzip_file_is_seen(made):
    """A gzip stream with one bit wrong is refused, or the bit meant nothing (the time in its header, padding) and the
    array is right; a wrong array never comes out, nor another exception."""
    whole = gzip.compress(by_hand(8, "B", (4, 5), list(range(20))), mtime=0)
    refused = 0
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        try:
            array = read_idx(made(bytes(data)))
        except DataError:
            refused += 1
        else:
            assert (array == np.arange(20).reshape(4, 5)).all(), f"bit {bit}"
    assert refused >= 8 * (len(whole) - 10 - 1)  # all but the ten bytes of the header and the padding of the last block


def test_every_cut_is_seen(made):
    for whole in (MATRIX, gzip.compress(MATRIX), zlib.compress(MATRIX)):
        for size in range(len(whole)):
            with pytest.raises(DataError):
                read_idx(made(whole[:size]))


def test_missing_or_no_file(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory|cannot read .*: Permission denied"):
        read_idx(tmp_path)


@pytest.mark.parametrize("array, message", [
    (np.zeros(3, np.int64), "IDX has no type for int64: it has uint8, int8, int16, int32, float32, float64"),
    (np.zeros(3, bool), "no type for bool"), (np.zeros(3, np.float16), "no type for float16"),
    (np.array(["a"]), "no type for <U1"), (np.uint8(3), r"1 to 64 dimensions .* got shape \(\)"),
    (np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**32,), (0,)), "at most 4294967295 each"),
])
def test_what_idx_cannot_hold_is_refused(tmp_path, array, message):
    with pytest.raises(DataError, match=message):
        write_idx(tmp_path / "x", array)
    assert os.listdir(tmp_path) == []


def test_writing_replaces_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.gz"
    write_idx(path, np.arange(3, dtype=np.uint8))
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(gzip.GzipFile, "write", full)
        with pytest.raises(DataError, match=r"cannot write .*x\.gz: No space left on device"):
            write_idx(path, np.arange(4, dtype=np.uint8))
    assert os.listdir(tmp_path) == ["x.gz"] and path.read_bytes() == before
    write_idx(path, np.arange(4, dtype=np.uint8))
    assert read_idx(path).tolist() == [0, 1, 2, 3]


def test_writing_into_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"cannot write .*: No such file or directory"):
        write_idx(tmp_path / "none" / "x", np.zeros(1, np.uint8))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*: Not a directory|cannot write .*: No such file"):
        write_idx(tmp_path / "file" / "x", np.zeros(1, np.uint8))
