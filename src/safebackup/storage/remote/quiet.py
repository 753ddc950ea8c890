"""What libraries log of a line that broke: it goes to whoever has set up logging, and not to stderr by itself.

Python prints warnings that nobody has asked for. Of what is tried again, and then succeeds, none is wanted.
"""

from __future__ import annotations

import logging

_LIBRARIES = ("asyncssh", "azure")
_ASYNCIO = logging.getLogger("asyncio")
_FSSPEC_THREAD = "fsspecIO"  # in which the loop runs that fsspec's file systems share


def keep_off_stderr() -> None:
    """Let nothing that these libraries log be printed where no logging is set up; doing it again changes nothing."""
    for name in _LIBRARIES:
        if not logging.getLogger(name).handlers:
            logging.getLogger(name).addHandler(logging.NullHandler())
    _ASYNCIO.addFilter(_is_heard)


def _is_heard(record: logging.LogRecord) -> bool:
    """Whether to pass on what asyncio says; of other threads always, as others use it too."""
    return record.threadName != _FSSPEC_THREAD or _ASYNCIO.hasHandlers()
