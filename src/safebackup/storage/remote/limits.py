"""How long a store may take: nothing hangs (S8)."""

from __future__ import annotations

import attrs

_SLOWEST_BYTES_PER_SECOND = 50_000


@attrs.frozen
class Limits:
    """How long to wait, in seconds.

    `request` is for the answer to one request, and grows with the bytes that it carries. What fails is tried again
    until `deadline`; but until a store has answered for the first time, only until `first_answer`, as its address is
    probably wrong.
    """

    request: float = 60
    deadline: float = 300
    first_answer: float = 20

    def seconds_for(self, size_bytes: int) -> float:
        """How long a request may take that carries `size_bytes`."""
        return self.request + size_bytes / _SLOWEST_BYTES_PER_SECOND
