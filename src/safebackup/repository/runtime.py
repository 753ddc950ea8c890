"""What a repository takes from its surroundings, as arguments: time, randomness, the machine's name."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import attrs

from safebackup.clock import Clock, SystemClock
from safebackup.version import VERSION

SOFTWARE = f"safebackup {VERSION}"


@attrs.frozen(kw_only=True)
class Runtime:
    """Time, randomness and host; tests give their own, so that a simulation replays byte for byte."""

    clock: Clock = attrs.field(factory=SystemClock)
    random: Callable[[int], bytes] = os.urandom
    host: str = attrs.field(factory=socket.gethostname)
