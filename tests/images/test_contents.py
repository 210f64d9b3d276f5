import contextlib
import gzip
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metavoxel.images.contents import ImageFileError, check_capacity, read_content, read_start

CONTENT = bytes(range(256)) * 40
PACKED = gzip.compress(CONTENT, mtime=0)


def _written(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    return tmp_path / "a"


@pytest.mark.parametrize(
    "stored",
    [
        CONTENT,
        PACKED,
        gzip.compress(CONTENT, 0),
        gzip.compress(CONTENT[:5000]) + gzip.compress(CONTENT[5000:]),
        gzip.compress(b"") + PACKED + gzip.compress(b""),
        PACKED + bytes(512),
        PACKED + bytes(1 << 19),
        gzip.compress(CONTENT + bytes(512)),
    ],
    ids=["plain", "gzip", "level 0", "two members", "empty members", "zeros", "many zeros", "padded inside"],
)
def test_whole_files(tmp_path, stored):
    path = _written(tmp_path, stored)
    assert read_content(path, len(CONTENT)) == CONTENT
    assert read_start(path, 348) == CONTENT[:348]
    assert read_start(path, 9000) == CONTENT[:9000]


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (PACKED[:-8] + bytes([PACKED[-8] ^ 255]) + PACKED[-7:], "broken"),
        (PACKED[:-4] + struct.pack("<I", len(CONTENT) + 7), "broken"),
        (PACKED[:-8], "ends early"),
        (PACKED[:-1], "ends early"),
        (PACKED[: len(PACKED) // 2], "ends early"),
        (PACKED + b"<html>404 not found</html>", "follows"),
        (PACKED + bytes(100) + b"x", "follows"),
        (PACKED + PACKED[:9], "ends early"),
        (PACKED + PACKED, "holds more"),
        (CONTENT + b"x", "holds more"),
        (CONTENT + bytes(5000), "holds more"),
        (CONTENT[:-1], "truncated"),
        (gzip.compress(CONTENT[:-1]), "truncated"),
        (b"", "truncated"),
    ],
)
def test_damaged_files(tmp_path, stored, reason):
    with pytest.raises(ImageFileError, match=reason):
        read_content(_written(tmp_path, stored), len(CONTENT))


def test_further_bytes_are_skipped(tmp_path):
    assert read_content(_written(tmp_path, gzip.compress(CONTENT + b"tags" * 9)), len(CONTENT), further=36) == CONTENT


@settings(deadline=None)
@given(at=st.integers(0, len(PACKED) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_the_content(tmp_path_factory, at, bit):
    damaged = bytearray(PACKED)
    damaged[at] ^= 1 << bit
    path = _written(tmp_path_factory.mktemp("flipped"), bytes(damaged))
    with contextlib.suppress(ImageFileError):
        assert read_content(path, len(CONTENT)) == CONTENT


def test_claimed_sizes_are_checked_before_allocation(tmp_path):
    path = _written(tmp_path, PACKED)
    check_capacity(path, 1000 * len(PACKED))
    tracemalloc.start()
    for size in (1040 * len(PACKED), 1 << 45):
        with pytest.raises(ImageFileError, match="cannot hold"):
            read_content(path, size)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_decompression_stops_beyond_the_claimed_size(tmp_path):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    path = _written(tmp_path, bomb)
    tracemalloc.start()
    with pytest.raises(ImageFileError, match="holds more"):
        read_content(path, 10_000)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
