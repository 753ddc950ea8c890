"""What the files of the corpora hold: text, rows, pages and noise, all from a seed, and quickly made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import islice, repeat
from random import Random

KIB = 1 << 10
MIB = 1 << 20
ROWS = 1000  # in a run of rows
PAGE_BYTES = 4 * KIB


def text(rng: Random, size: int) -> bytes:
    """Lines of a program that nobody can run; zstd -3 makes a third of them, and less of a single short file."""
    phrases, average = phrases_of_a_language()
    pieces = rng.choices(phrases, k=int(size / average * 1.2) + 8)
    made = b"".join(pieces)
    return made[:size] if len(made) >= size else made + text(rng, size - len(made))


@cache
def phrases_of_a_language() -> tuple[list[bytes], float]:
    """Phrases of a few words, some far more often than others, and their length on average."""
    rng = Random("phrases")
    words = [b"".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(6000)]
    said = iter(rng.choices(words, [1 / (rank + 3) for rank in range(len(words))], k=3 * PHRASES))
    phrases: list[bytes] = []
    for rank in range(PHRASES):
        phrase = rng.choice(JOINTS).join(islice(said, rng.randint(1, 3))) + rng.choice(ENDS)
        phrases += [phrase] * math.ceil(PHRASES / 20 / (rank + 20))
    return phrases, sum(map(len, phrases)) / len(phrases)


PHRASES = 40_000
SYLLABLES = [a + b for a in b"b c d f g l m n p r s t v st tr pr".split() for b in b"a e i o u er on at in".split()]
JOINTS = (b" ", b" ", b"_", b".", b" = ", b", ")
ENDS = (b" ", b" ", b", ", b"(", b") ", b":\n        ", b"\n    ", b"\n\n", b"]\n        ")


def binary(rng: Random, size: int) -> bytes:
    """As programs are: half of it repeats, and zstd -3 halves it."""
    pieces = [rng.randbytes(96) if half else text(rng, 160) for half in rng.choices((False, True), k=size // 128 + 1)]
    return b"".join(pieces)[:size]


def rows(rng: Random, first: int) -> bytes:
    """A run of rows as a database's dump has them; zstd -3 makes about a third of them."""
    names, places, states = tables_of_names()
    columns = zip(
        range(first, first + ROWS),
        rng.choices(names, k=ROWS),
        rng.choices(names, k=ROWS),
        rng.choices(places, k=ROWS),
        rng.choices(range(100_000), k=ROWS),
        rng.choices(range(1_500_000_000, 1_800_000_000), k=ROWS),
        rng.choices(states, k=ROWS),
        map(rng.getrandbits, repeat(256, ROWS)),
        strict=True,
    )
    return b"".join(map(ROW.__mod__, columns))


ROW = b"INSERT INTO orders VALUES (%d, '%s', '%s', 'street of the %s', %d, %d, '%s', '%064x');\n"


@cache
def tables_of_names() -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Names of people and places, and states of orders."""
    rng = Random("names")
    names = [b"".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))).title() for _ in range(4000)]
    return names, names[:600], [b"new", b"paid", b"packed", b"sent", b"sent", b"sent", b"returned"]


def dump(seed: int, size: int, *, second: bool) -> Iterator[bytes]:
    """A dump of about `size` bytes in runs of rows. In the second version a run in 100 is another, and some are new."""
    made = number = 0
    while made < size:
        changed = second and number % 100 == 7
        run = rows(Random(f"{seed} rows {number} {changed}"), number * ROWS)
        made += len(run)
        yield run
        if second and number % 500 == 2:
            yield rows(Random(f"{seed} new rows {number}"), 1_000_000_000 + number * ROWS)
        number += 1


def extents(seed: int, apparent: int, data: int) -> Iterator[tuple[int, bytes]]:
    """Where in a disk's image data lies, in order, and what: `data` bytes in all, and holes between."""
    rng = Random(f"{seed} extents")
    place = made = 0
    while made < data:
        size = min(rng.choice((64, 256, 1024, 4096)) * KIB, data - made)
        place += int(rng.expovariate(1) * size * (apparent / data - 1) * 0.9) // PAGE_BYTES * PAGE_BYTES
        place = min(place, apparent - (data - made))
        kind = rng.choice((text, text, binary, noise))
        yield place, kind(rng, size)
        place, made = place + size, made + size


def changed_pages(rng: Random, content: bytes, *, surely: bool) -> bytes:
    """The extent as it was, or with a run of new pages: often enough for about one in 100 of all."""
    pages = len(content) // PAGE_BYTES
    run = min(pages, 8)
    if not surely and rng.random() > pages / (100 * run):
        return content
    start = rng.randrange(pages - run + 1) * PAGE_BYTES
    return content[:start] + text(rng, run * PAGE_BYTES) + content[start + run * PAGE_BYTES :]


def noise(rng: Random, size: int) -> bytes:
    """What nothing compresses."""
    return rng.randbytes(size)


def record(rng: Random) -> bytes:
    """A tiny file: a mail's head, a cache's entry."""
    return b"%s: %x\n" % (rng.choice(tables_of_names()[0]), rng.getrandbits(64)) + text(rng, rng.randint(30, 470))
