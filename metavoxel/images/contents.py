"""Contents of an image file: decompressed in one pass, at most the size in its header, with checksums verified."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_GZIP = b"\x1f\x8b"
_MAX_EXPANSION = 1032
"""Maximum expansion of a deflate stream (zlib's technical notes)."""
_CHUNK_BYTES = 1 << 18
"""Bytes per read, few enough for a processor's cache."""
_GZIP_WBITS = 31
"""zlib's ``wbits`` for gzip members, with CRC-32 and length verified."""
_ANY_WBITS = 47
"""zlib's ``wbits`` for gzip or zlib streams."""
_MAX_PADDING = 4096


class ImageFileError(ValueError):
    """A file whose content does not match its name or header; the message is preceded by its path."""


def is_compressed(path: Path) -> bool:
    """Whether a file is gzip by its content."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def read_start(path: Path, size: int) -> bytes:
    """Read the first ``size`` bytes of the decompressed content, or all of it if it is shorter.

    Raises:
        ImageFileError: the compressed stream is damaged there.
    """
    start = bytearray()
    with path.open("rb") as file:
        for block in _blocks(file, _MAX_PADDING):
            start += block[: size - len(start)]
            if len(start) == size:
                break
    return bytes(start)


def check_capacity(path: Path, size: int) -> None:
    """Refuse a header that claims more bytes than its file can hold, before allocating memory.

    Raises:
        ImageFileError: it claims too many. For a compressed file, only the maximum expansion is known.
    """
    stored = path.stat().st_size
    if size > (stored * _MAX_EXPANSION if is_compressed(path) else stored):
        raise ImageFileError(f"truncated: its header claims {size} bytes, which a file of {stored} bytes cannot hold")


def read_content(path: Path, size: int, *, further: int = 0) -> bytearray:
    """Read the first ``size`` bytes of the decompressed content, and skip the rest to verify checksums.

    At most 4096 zero bytes of padding may follow, or ``further`` arbitrary bytes.

    Raises:
        ImageFileError: the content is too short or too long, or the stream is damaged.
    """
    check_capacity(path, size)
    content = bytearray(size)
    view, filled, beyond, clean = memoryview(content), 0, 0, True
    with path.open("rb") as file:
        for block in _blocks(file, _CHUNK_BYTES):
            taken = min(len(block), size - filled)
            view[filled : filled + taken] = block[:taken]
            filled += taken
            beyond += len(block) - taken
            clean = clean and not any(block[taken:])
            if beyond > max(further, _MAX_PADDING if clean else 0):
                raise ImageFileError(
                    f"holds more than the {size} bytes that its header claims: damaged, or its header belongs to "
                    "another image"
                )
    if filled < size:
        raise ImageFileError(f"truncated: its header claims {size} bytes, but it holds {filled}")
    return content


def check_stream(path: Path, start: int, size: int) -> None:
    """Verify a compressed stream (gzip or zlib) inside a file: its checksum, and its size of ``size`` bytes.

    Raises:
        ImageFileError: it is damaged, or of another size.
    """
    stream, held = zlib.decompressobj(_ANY_WBITS), 0
    with path.open("rb") as file:
        file.seek(start)
        chunk = file.read(_CHUNK_BYTES)
        while not stream.eof and held <= size:
            if not chunk:
                raise ImageFileError("truncated: its compressed stream ends early")
            try:
                held += len(stream.decompress(chunk, 4 * _CHUNK_BYTES))
            except zlib.error as error:
                raise ImageFileError(f"damaged: its compressed stream is broken ({error})") from error
            chunk = stream.unconsumed_tail or file.read(_CHUNK_BYTES)
    if held != size:
        raise ImageFileError(f"damaged: its header claims {size} bytes of voxels, but its stream holds another number")


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the decompressed content in pieces of ``size`` stored and at most four times as many decompressed bytes.

    A gzip file is one or more members and optional zeros (padding of tapes and block devices): RFC 1952, gzip(1).
    """
    chunk = file.read(size)
    if not chunk.startswith(_GZIP):
        while chunk:
            yield chunk
            chunk = file.read(size)
        return
    while chunk:
        member = zlib.decompressobj(_GZIP_WBITS)
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
            raise ImageFileError("damaged: data other than gzip follows its compressed stream")
