"""Other processes at the same store: they are new ones, not forked, and end with the check that started them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from safebackup.storage.conformance.subject import Recipe
from safebackup.storage.conformance.trial import CheckFailedError, NotTriedError, Trial

_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); \
from safebackup.storage.conformance.worker import main; main()"
_STARTING_SECONDS = 30  # a cold disk, and packages that take their time to import


class Other:
    """A process of ours that uses the store."""

    def __init__(self, recipe: Recipe) -> None:
        # Over its standard input, as what the store is opened with may hold credentials.
        first = {"recipe": {"function": recipe.function, "arguments": dict(recipe.arguments)}}
        try:
            begin = json.dumps(sys.path).encode() + b"\n" + json.dumps(first).encode() + b"\n"
        except (TypeError, ValueError):
            raise NotTriedError("its storage options cannot be handed to another process") from None
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we end it
        )
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self._send(begin)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError, OSError):
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put(b"")

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # that it is gone shows when it does not answer
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def tell(self, do: str, **arguments: object) -> None:
        """Let it do something; `answer` is what came of it."""
        self._send(json.dumps({"do": do, **arguments}).encode() + b"\n")

    def has_answered(self) -> bool:
        """Whether an answer is waiting."""
        return not self._answers.empty()

    def answer(self, seconds: float) -> dict[str, Any]:
        """What came of what it was told first.

        Raises:
            NotTriedError: it did not answer, or the store did not answer it.
        """
        try:
            line = self._answers.get(timeout=max(seconds, 0.01))
        except Empty:
            raise NotTriedError("another process did not answer in time", cut_short=True) from None
        if not line:
            raise NotTriedError("another process ended by itself", cut_short=True)
        answer: dict[str, Any] = json.loads(line)
        if answer.get("is_no_answer"):
            raise NotTriedError(f"another process was told: {answer['error']}", cut_short=True)
        return answer

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self._process.wait()
        self._listening.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()


@contextmanager
def others(trial: Trial, count: int) -> Iterator[Sequence[Other]]:
    """So many processes that have opened the store; they are gone afterwards.

    Raises:
        NotTriedError: no other process can reach this store, or none answered in time.
        CheckFailedError: another process should be able to use it, and is not.
    """
    recipe = trial.subject.recipe
    if recipe is None:
        raise NotTriedError("no other process reaches this store")
    started: list[Other] = []
    try:
        for _ in range(count):
            started.append(Other(recipe))
            trial.ending.append(started[-1].kill)
            started[-1].tell("list", prefix=trial.folder)  # so that it has connected
        for other in started:
            for _ in ("opening", "listing"):
                answer = other.answer(min(trial.seconds_left(), _STARTING_SECONDS))
                if "error" in answer:
                    raise CheckFailedError(f"another process cannot use this store: {answer['error']}")
        yield started
    finally:
        for other in started:
            other.kill()
