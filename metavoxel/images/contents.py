"""The bytes of an image file: decompressed in one pass, never more than its header claims, checksums verified."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_GZIP = b"\x1f\x8b"
_LARGEST_RATIO = 1032
"""No deflate stream expands by more (zlib's technical notes)."""
_READ = 1 << 18
"""Bytes read at a time, few enough to stay in a processor's cache."""
_WITH_CHECKSUM = 31
"""zlib's word for gzip members whose CRC-32 and length it verifies."""
_EITHER = 47
"""zlib's word for streams of gzip or zlib."""
_PADDING = 4096


class ImageFileError(ValueError):
    """A file that does not hold what its name or its header claims; the sentence goes after its path."""


def is_compressed(path: Path) -> bool:
    """Whether a file is gzip by its content."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def read_start(path: Path, size: int) -> bytes:
    """The first ``size`` bytes of the decompressed content, or all of it where it is shorter.

    Raises:
        ImageFileError: the compressed stream is damaged there.
    """
    start = bytearray()
    with path.open("rb") as file:
        for block in _blocks(file, _PADDING):
            start += block[: size - len(start)]
            if len(start) == size:
                break
    return bytes(start)


def check_capacity(path: Path, size: int) -> None:
    """Refuse a header that claims more bytes than its file can hold, before any of them is allocated.

    Raises:
        ImageFileError: it does. Of a compressed file only the largest expansion is known.
    """
    stored = path.stat().st_size
    if size > (stored * _LARGEST_RATIO if is_compressed(path) else stored):
        raise ImageFileError(f"truncated: its header claims {size} bytes, which a file of {stored} bytes cannot hold")


def read_content(path: Path, size: int, *, further: int = 0) -> bytearray:
    """The first ``size`` bytes of the decompressed content; the rest is read too, so that checksums are verified.

    Padding, at most 4096 bytes of zero, may follow; or ``further`` bytes of anything.

    Raises:
        ImageFileError: shorter, longer, or a damaged stream.
    """
    check_capacity(path, size)
    content = bytearray(size)
    view, filled, beyond, clean = memoryview(content), 0, 0, True
    with path.open("rb") as file:
        for block in _blocks(file, _READ):
            taken = min(len(block), size - filled)
            view[filled : filled + taken] = block[:taken]
            filled += taken
            beyond += len(block) - taken
            clean = clean and not any(block[taken:])
            if beyond > max(further, _PADDING if clean else 0):
                raise ImageFileError(
                    f"holds more than the {size} bytes that its header claims: damaged, or its header belongs to "
                    "another image"
                )
    if filled < size:
        raise ImageFileError(f"truncated: its header claims {size} bytes, and it holds {filled}")
    return content


def check_stream(path: Path, start: int, size: int) -> None:
    """Verify a compressed stream, gzip or zlib, inside a file: its checksum, and that it holds ``size`` bytes.

    Raises:
        ImageFileError: it is damaged, or holds another number of bytes.
    """
    stream, held = zlib.decompressobj(_EITHER), 0
    with path.open("rb") as file:
        file.seek(start)
        chunk = file.read(_READ)
        while not stream.eof and held <= size:
            if not chunk:
                raise ImageFileError("truncated: its compressed stream ends early")
            try:
                held += len(stream.decompress(chunk, 4 * _READ))
            except zlib.error as error:
                raise ImageFileError(f"damaged: its compressed stream is broken ({error})") from error
            chunk = stream.unconsumed_tail or file.read(_READ)
    if held != size:
        raise ImageFileError(f"damaged: its header claims {size} bytes of voxels, and its stream holds another number")


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The decompressed content in pieces, of ``size`` stored bytes and at most four times as many decompressed ones.

    A gzip file is one or more members, then perhaps zeros (tapes and block devices pad so), by RFC 1952 and gzip(1).
    """
    chunk = file.read(size)
    if not chunk.startswith(_GZIP):
        while chunk:
            yield chunk
            chunk = file.read(size)
        return
    while chunk:
        member = zlib.decompressobj(_WITH_CHECKSUM)
        while not member.eof:
            if not chunk:
                raise ImageFileError("truncated: its compressed stream ends early")
            try:
                block = member.decompress(chunk, 4 * size)
            except zlib.error as error:
                raise ImageFileError(f"damaged: its compressed stream is broken ({error})") from error
            if block:
                yield block
            if not member.eof:
                chunk = member.unconsumed_tail or file.read(size)
        chunk = member.unused_data or file.read(size)
        while chunk and not chunk.strip(b"\0"):
            chunk = file.read(size)
        if len(chunk) == 1:
            chunk += file.read(size)
        if chunk and not chunk.startswith(_GZIP):
            raise ImageFileError("damaged: something that is not gzip follows its compressed stream")
