"""What this machine can do at all with the files of a corpus: no backup of them is faster than its parts.

    python -P limits.py SOURCE FOLDER

Prints JSON: for each limit how long it took, for how many files and MiB. FOLDER gets the files that are created.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BLOCK_BYTES = 1 << 20
BLOCKS_MAX = 256  # held in memory
CREATED_MAX = 20_000


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    files = walk(source)
    blocks = blocks_of(files)
    reads = sum(min(size, BLOCK_BYTES * BLOCKS_MAX) for _, size in files) / (1 << 20)
    mib = sum(map(len, blocks)) / (1 << 20)
    count = min(len(files), CREATED_MAX)
    found = {
        "walk and lstat": limit(lambda: walk(source), files=len(files)),
        "open, read and close": limit(lambda: read_all(files), files=len(files), mib=reads),
        "create files of 4 KiB": limit(lambda: create(folder, count), files=count),
        "BLAKE3, 1 thread": limit(lambda: each(blocks, hashed, 1), mib=mib),
        "AES-256-GCM, 1 thread": limit(lambda: each(blocks, sealing(), 1), mib=mib),
        "zstd -3, 1 thread": limit(lambda: each(blocks, compress, 1), mib=mib),
        "zstd -3, 2 threads": limit(lambda: each(blocks, compress, 2), mib=mib),
    }
    print(json.dumps(found))


def limit(work: Callable[[], object], *, files: int = 0, mib: float = 0.0) -> dict[str, float]:
    """How long it took."""
    began = time.monotonic()
    work()
    return {"wall_seconds": time.monotonic() - began, "files": files, "mib": mib}


def walk(source: Path) -> list[tuple[str, int]]:
    """Every regular file and its size; everything is looked at."""
    found = []
    for home, _, names in os.walk(source):
        for name in names:
            path = os.path.join(home, name)
            if not os.path.islink(path):
                found.append((path, os.lstat(path).st_size))
    return found


def pieces(path: str, at_most: int) -> Iterator[bytes]:
    """The content of a file from its beginning, up to so many bytes, in blocks."""
    handle = os.open(path, os.O_RDONLY)
    try:
        while at_most > 0 and (piece := os.read(handle, min(BLOCK_BYTES, at_most))):
            at_most -= len(piece)
            yield piece
    finally:
        os.close(handle)


def read_all(files: list[tuple[str, int]]) -> None:
    """Of large files only the beginning, as memory is not what is measured."""
    for path, _ in files:
        for _piece in pieces(path, BLOCK_BYTES * BLOCKS_MAX):
            pass


def blocks_of(files: list[tuple[str, int]]) -> list[bytes]:
    """The content of the files, one after the other, in blocks of 1 MiB."""
    found: list[bytes] = []
    block = bytearray()
    for path, _ in files:
        for piece in pieces(path, BLOCK_BYTES * BLOCKS_MAX):
            block += piece
            if len(block) >= BLOCK_BYTES:
                found.append(bytes(block[:BLOCK_BYTES]))
                del block[:BLOCK_BYTES]
            if len(found) == BLOCKS_MAX:
                return found
    return [*found, bytes(block)] if block else found


def each(blocks: list[bytes], work: Callable[[bytes], object], threads: int) -> None:
    if threads == 1:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda part: each(part, work, 1), [blocks[number::threads] for number in range(threads)]):
            pass


def compress(block: bytes) -> bytes:
    # A context for each block: one alone cannot be shared by threads, and it costs nothing beside 1 MiB.
    return zstandard.ZstdCompressor(level=3).compress(block)


def hashed(block: bytes) -> bytes:
    return blake3(block).digest()


def sealing() -> Callable[[bytes], object]:
    """A function that encrypts into memory that is used again."""
    cipher = AESGCM(bytes(32))
    into = bytearray(BLOCK_BYTES + 16)
    return lambda block: cipher.encrypt_into(bytes(12), block, None, memoryview(into)[: len(block) + 16])


def create(folder: Path, count: int) -> None:
    """New files, a hundred to a folder."""
    content = bytes(4096)
    for number in range(count):
        home = folder / str(number // 100)
        if number % 100 == 0:
            home.mkdir(parents=True)
        handle = os.open(home / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(handle, content)
        os.close(handle)


if __name__ == "__main__":
    main()
