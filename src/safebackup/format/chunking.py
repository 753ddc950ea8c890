"""Content-defined chunks: where a large file is cut (format.md, "Chunks").

The algorithm is FastCDC 2020 with normalisation level 1, as specified to the bit in format.md and pinned by
golden cuts in the tests. Reading never needs it: another chunker would only deduplicate less.
The seed shifts the cuts from repository to repository; it has at most 48 effective bits and hides sizes from
a casual look alone, it is no secret to rest on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from safebackup.errors import Code, ConfigurationError

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

FASTCDC = "fastcdc-2020-nc1"
CHUNK_BYTES_MIN = 256 << 10
CHUNK_BYTES_AVERAGE = 1 << 20
CHUNK_BYTES_MAX = 4 << 20


@attrs.frozen(kw_only=True)
class Chunker:
    """Where to cut, for the life of a repository."""

    seed: int = attrs.field(repr=False)
    bytes_min: int = CHUNK_BYTES_MIN
    bytes_average: int = CHUNK_BYTES_AVERAGE
    bytes_max: int = CHUNK_BYTES_MAX

    def cut(self, data: memoryview, *, last: bool) -> Iterator[memoryview]:
        """The chunks of `data`; unless it is the `last` of its file, a tail that more data could move is left out."""
        position = 0
        for chunk in _fast_cdc()(
            avg_size=self.bytes_average,
            min_size=self.bytes_min,
            max_size=self.bytes_max,
            normalized_chunking=1,
            seed=self.seed,
        ).cut_buf(data):
            if not last and len(data) - position < self.bytes_max:
                return
            yield data[position : position + chunk.length]
            position += chunk.length


def _fast_cdc() -> type[FastCDC]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyfastcdc  # imported late: reading a repository does not need it

    if not pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.cy"):
        raise ConfigurationError(
            "pyfastcdc is installed without its compiled part and would cut at 10 MB/s",
            code=Code.SLOW_CHUNKER,
            hint="Reinstall it with a wheel, or with a C compiler present: pip install --force-reinstall pyfastcdc",
        )
    return pyfastcdc.FastCDC
