"""Placing small files from another process: a restore of many is bound by system calls, several for each file.

The process has the target open and knows nothing else: what it places was decoded and checked here before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from safebackup import processes
from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.format.manifest import Entry
from safebackup.format.objects import encode
from safebackup.format.sealing import Buffer
from safebackup.processes import SLOTS, Handler, OtherProcess
from safebackup.recovery.placing import Overwrite, Owner, Placer, Shortfalls
from safebackup.recovery.target import Target

_SLOT_BYTES = 4 << 20
_DATA_BYTES_MAX = 2 << 20  # the rest is for the request

Piece: TypeAlias = tuple[Entry, Owner, int, int]  # its content: where it begins in the data, and its bytes


class _Setup(msgspec.Struct):
    """What the process needs to know."""

    path: bytes
    fd: int
    overwrite: Overwrite
    devices: bool


class _Answer(msgspec.Struct, array_like=True):
    """What came of a request: findings as code, severity, what, action, subject; and for each file if it was placed."""

    findings: list[tuple[Code, Severity, str, str, str]]
    placed: list[bool]


_Row: TypeAlias = tuple[Entry, tuple[int, int], int, int]
_Counts: TypeAlias = list[tuple[tuple[Code, str, str], tuple[int, bytes]]]
_requests = msgspec.msgpack.Decoder(list[_Row])
_answers = msgspec.msgpack.Decoder(_Answer)


class PlacingProcess:
    """Hands small files to a process that places them; for one thread."""

    def __init__(
        self, process: OtherProcess, report: Callable[[Finding], None], placed: Callable[[Entry, bool], None]
    ) -> None:
        self._process = process
        self._report = report
        self._placed = placed
        self._entries: list[list[Entry]] = []

    @classmethod
    def start(
        cls,
        target: Target,
        *,
        overwrite: Overwrite,
        devices: bool,
        report: Callable[[Finding], None],
        placed: Callable[[Entry, bool], None],
    ) -> PlacingProcess | None:
        """One for this target, or None where there can be none."""
        setup = encode(_Setup(target.path, target.fd, overwrite, devices))
        process = processes.start(f"{__name__}:placing", setup, slot_bytes=_SLOT_BYTES, descriptors=[target.fd])
        return None if process is None else cls(process, report, placed)

    def place(self, data: Buffer, pieces: Sequence[Piece]) -> bool:
        """Have files placed that lie in `data`; False if they have to be placed here.

        Raises:
            StorageError: the disk failed or is full, for these or for those before; or the process has ended.
        """
        if len(data) > _DATA_BYTES_MAX or not self._process.is_usable:
            return False
        while self._process.outstanding >= SLOTS:
            self._take()
        self._process.slot[: len(data)] = data
        if not self._process.ask(encode(pieces)):
            return False
        self._entries.append([piece[0] for piece in pieces])
        return True

    def settle(self) -> None:
        """Wait until everything is placed; raises as `place` does."""
        while self._process.outstanding:
            self._take()

    def finish(self, shortfalls: Shortfalls) -> None:
        """Learn what could not be set as recorded; settle first."""
        if self._process.is_usable and self._process.ask(encode([])):
            counts = msgspec.msgpack.decode(self._process.answer()[0], type=_Counts)
            shortfalls.add_counts(dict(counts))

    def close(self) -> None:
        """Let the process end."""
        self._process.close()

    def _take(self) -> None:
        answer = _answers.decode(self._process.answer()[0])
        for code, severity, what, action, subject in answer.findings:
            self._report(Finding(code=code, severity=severity, what=what, action=action, subject=subject))
        for entry, done in zip(self._entries.pop(0), answer.placed, strict=True):
            self._placed(entry, done)


def placing(written: bytes) -> Handler:
    """What the process does with each request; one without files asks for what could not be set as recorded."""
    setup = msgspec.msgpack.decode(written, type=_Setup)
    findings: list[Finding] = []
    shortfalls = Shortfalls()
    placer = Placer(
        Target(setup.path, setup.fd),
        overwrite=setup.overwrite,
        devices=setup.devices,
        report=findings.append,
        shortfalls=shortfalls,
    )

    def place(request: memoryview, slot: memoryview) -> bytes:
        pieces = _requests.decode(request)
        if not pieces:
            return encode(list(shortfalls.counts().items()))
        placed = [
            placer.place_file(entry, [slot[start : start + size]], Owner(*owner))
            for entry, owner, start, size in pieces
        ]
        told = [(each.code, each.severity, each.what, each.action, each.subject) for each in findings]
        findings.clear()
        return encode(_Answer(told, placed))

    return place
