"""TarSnapshotWriter: files, streams and the output of commands as one `.tar.zst`, whole or not there."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import attrs

from safebackup.clock import Clock, SystemClock
from safebackup.commands import Command, start
from safebackup.errors import Code, ConfigurationError, RefusedError
from safebackup.events import NoProgress, Progress, logger
from safebackup.findings import Finding, Severity, printable
from safebackup.remotes import shown
from safebackup.streaming import Fill, Readable, reader_of
from safebackup.tarring.contents import SMALL_BYTES
from safebackup.tarring.entries import Entries
from safebackup.tarring.names import Taken, checksum_line, comment_line, require_name, require_url
from safebackup.tarring.places import Place, place_of, require_source
from safebackup.tarring.spooling import Spool
from safebackup.tarring.temporaries import Temporary, failing

_READ_BYTES = 1 << 20
_LEVEL_MAX = 19  # beyond it `zstd -d` may ask for more memory than it takes by itself


@attrs.frozen(kw_only=True)
class TarReport:
    """What was published: `sha256` and `size_bytes` are of the artefact, `raw_bytes` of what it decodes to."""

    url: str = attrs.field(repr=shown)
    sha256: str
    size_bytes: int
    raw_bytes: int
    entries: int
    findings: tuple[Finding, ...]
    complete: bool
    seconds: float


class TarSnapshotWriter:
    """Writes a `.tar.zst` that anybody can read with tar and zstd, to a path or a URL; `.zst` for one stream alone.

    It appears when the `with` block ends, after it was decoded and compared, and never otherwise; nothing that is there
    is replaced. `{utc}` in the URL becomes the time, `20261123T072500Z`. Beside it appear `NAME.sha256` and, for a tar,
    `NAME.files.sha256`, for `sha256sum -c`. Afterwards `report` tells what was published.

    Until then it is in a private file: in the same folder, or for a URL in `scratch`, the folder for temporary files.
    `allow_incomplete` publishes even if something could not be read; `report.complete` is False then.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, object] | None = None,
        level: int = 3,
        scratch: str | os.PathLike[str] | None = None,
        allow_incomplete: bool = False,
        callback: Progress | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.report: TarReport | None = None
        self._clock = clock or SystemClock()
        filled = require_url(url, self._clock.now())
        where = None if scratch is None else os.fspath(scratch)
        self._place = place_of(filled, storage_options or {}, where, timed=filled != os.fspath(url))
        self._is_tar = filled.endswith(".tar.zst")
        self._level = _require_level(level)
        self._allow_incomplete = allow_incomplete
        self._progress = callback or NoProgress()
        self._work: _Work | None = None
        self._used = False
        self._broken: BaseException | None = None
        self._busy = threading.Lock()
        self._ended = False

    def __enter__(self) -> Self:
        if self._used:
            raise ConfigurationError("a tar writer makes one artefact", hint="Make a new one for the next.")
        self._used = True
        self._work = self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        if not self._busy.acquire(blocking=False):
            # Whoever is at work lets go of everything when that part ends.
            refusal = self._broken = _one_at_a_time("the with block ended")
            if error is None:
                raise refusal
            return
        try:
            work, self._work = self._work, None
            if work is None and error is None:
                raise self._broken or _one_at_a_time("the with block ended")
            if work is None:
                return
            with work.resources:
                if error is None:
                    self.report = self._finished(work)
        finally:
            self._busy.release()

    def _finished(self, work: _Work) -> TarReport:
        if self._broken is not None:
            raise RefusedError(
                f"nothing was published, as a part of it had failed: {self._broken}",
                hint="Let the error leave the with block, or make a new writer and leave that part out.",
            ) from self._broken
        return self._publish(work)

    def add(
        self, path: str | bytes | os.PathLike[str], *, name: str | bytes | None = None, allow_empty: bool = False
    ) -> None:
        """Add a file or a folder with everything in it, as `name` or under its own name.

        Links beneath it are kept as links. What cannot be read is a finding, and at the end a reason not to publish.

        Raises:
            ConfigurationError: the name is no plain relative name, or taken.
            NotFoundError: there is no such path.
            RefusedError: it is an empty folder, and `allow_empty` was not given (`Code.EMPTY_SOURCE`).
        """
        with self._part() as work:
            entries = work.entries
            if entries is None:
                raise ConfigurationError(
                    "a .zst holds one stream, without names", hint="End the URL in .tar.zst to add files and folders."
                )
            real, status = require_source(path)
            own = os.path.basename(os.path.abspath(os.fsdecode(path)))
            plain = work.claim(own if name is None else name)
            before = entries.count, len(entries.findings)
            entries.add_tree(real, plain, status)
            alone = (entries.count, len(entries.findings)) == (before[0] + 1, before[1])
            if stat.S_ISDIR(status.st_mode) and alone and not allow_empty:
                raise _empty(f"the folder {real!r} is empty", "Is the right disk mounted?")

    def write(self, name: str | bytes, stream: Readable | bytes, *, allow_empty: bool = False) -> None:
        """Add what a stream gives until its end, as the file `name`.

        In a tar the size comes first: what is larger than 8 MiB is kept in a temporary file until its end is known.

        Raises:
            RefusedError: the stream gave nothing, and `allow_empty` was not given (`Code.EMPTY_SOURCE`).
            StorageError: it could not be read, or broke off before its end.
        """
        with self._part() as work:
            plain = work.claim(name)
            if isinstance(stream, bytes | bytearray | memoryview):
                stream = io.BytesIO(stream)
            if not work.store(plain, reader_of(stream, _shown(plain))) and not allow_empty:
                raise _empty(f"the stream for {name!r} gave nothing", "Look at what makes it.")

    def command(
        self, name: str | bytes, *commands: Command, deadline: float | None = None, allow_empty: bool = False
    ) -> None:
        """Add what a command writes to its standard output, as the file `name`; several commands make a pipeline.

        `deadline` is in seconds.

        Raises:
            CommandError: one of them did not start, failed, or took too long; nothing will be published.
            RefusedError: they wrote nothing, and `allow_empty` was not given (`Code.EMPTY_SOURCE`).
        """
        with self._part() as work:
            plain = work.claim(name)
            with start(*commands, deadline=deadline) as running:
                size = work.store(plain, reader_of(running.output, _shown(plain)))
                running.finish()  # first: why a command failed says more than that it gave nothing
            if not size and not allow_empty:
                raise _empty(f"the command for {name!r} wrote nothing", "An empty dump is a dump that failed.")

    @contextmanager
    def _part(self) -> Iterator[_Work]:
        if self._work is None:
            raise ConfigurationError(
                "the tar writer is not open", hint="Write: with TarSnapshotWriter(…) as writer: writer.add(…)"
            )
        if not self._busy.acquire(blocking=False):
            refusal = self._broken = _one_at_a_time("another part was begun")
            raise refusal
        # Whoever swallows the error of a part still gets nothing without it.
        try:
            yield self._work
        except BaseException as error:
            self._broken = error
            raise
        finally:
            self._busy.release()
            self._let_go()

    def _let_go(self) -> None:
        """Do what the end of the block could not do while a part was being written."""
        if self._ended and self._busy.acquire(blocking=False):
            work, self._work = self._work, None
            self._busy.release()
            if work is not None:
                work.resources.close()

    def _begin(self) -> _Work:
        with ExitStack() as opening:
            self._place.open()
            opening.callback(self._place.close)
            spool = Spool(_closing(opening, self._place.temporary()), level=self._level)
            checksum = _closing(opening, self._place.temporary())
            listing = _closing(opening, self._place.temporary())
            return _Work(
                spool=spool,
                checksum=checksum,
                listing=listing,
                entries=Entries(spool, listing, self._progress) if self._is_tar else None,
                place=self._place,
                progress=self._progress,
                clock=self._clock,
                started=self._clock.monotonic(),
                resources=opening.pop_all(),
            )

    def _publish(self, work: _Work) -> TarReport:
        if not len(work.taken):
            raise RefusedError(
                "nothing was added, so nothing was published",
                code=Code.EMPTY_SOURCE,
                hint="Call add, write or command within the with block.",
            )
        findings = tuple(work.entries.findings) if work.entries else ()
        missing = [finding for finding in findings if finding.severity is Severity.ERROR]
        for finding in findings:
            logger.warning("%s", finding)
        if missing and not self._allow_incomplete:
            raise RefusedError(
                f"nothing was published, as {len(missing)} paths could not be read whole: "
                + "; ".join(finding.what for finding in missing[:3]),
                code=missing[0].code,
                hint="Mend that. To have the rest all the same: allow_incomplete=True.",
            )
        if work.entries is not None:
            work.entries.close()
        work.spool.finish()
        work.spool.verify(entries=None if work.entries is None else work.entries.count)
        name = self._place.name
        lists: list[tuple[Temporary, str]] = []
        with failing("writing the list of checksums"):
            for finding in missing:
                for target in (work.listing, work.checksum):
                    target.write(comment_line("incomplete, not whole or not there", finding.subject))
            work.checksum.write(checksum_line(work.spool.sha256, name))
        if work.entries is not None:
            lists.append((work.listing, f"{name}.files.sha256"))
        lists.append((work.checksum, f"{name}.sha256"))
        # The artefact comes last: where it is seen, everything is there.
        self._place.publish([*lists, (work.spool.temporary, name)])
        return TarReport(
            url=self._place.url,
            sha256=work.spool.sha256,
            size_bytes=work.spool.size_bytes,
            raw_bytes=work.spool.raw_bytes,
            entries=1 if work.entries is None else work.entries.count,
            findings=findings,
            complete=not missing,
            seconds=self._clock.monotonic() - work.started,
        )


@attrs.define(kw_only=True, eq=False)
class _Work:
    """What a writer holds between `with` and its end; `resources` lets go of it."""

    spool: Spool
    checksum: Temporary
    listing: Temporary
    entries: Entries | None  # None: one stream without a tar around it
    place: Place
    progress: Progress
    clock: Clock
    started: float
    resources: ExitStack
    taken: Taken = attrs.field(factory=Taken)

    def claim(self, name: object) -> str:
        """The name, if it is one and not taken."""
        plain = require_name(name)
        if self.entries is None and len(self.taken):
            raise ConfigurationError(
                "a .zst holds one stream, and it has one", hint="End the URL in .tar.zst to write several."
            )
        self.taken.take(plain)
        return plain

    def store(self, name: str, fill: Fill) -> int:
        """Read to the end; the number of bytes."""
        buffer = memoryview(bytearray(_READ_BYTES))
        if self.entries is None:
            size = 0
            while count := fill(buffer):
                size += self.spool.write(buffer[:count])
                self.progress.relative_update(count)
            return size
        # The head of a tar's entry holds the size, so that the end has to be known first.
        head = bytearray()
        while len(head) <= SMALL_BYTES and (count := fill(buffer)):
            head += buffer[:count]
        now = self.clock.now()
        if len(head) <= SMALL_BYTES:
            self.entries.add_content(name, io.BytesIO(head), len(head), now=now)
            return len(head)
        with ExitStack() as keeping, failing(f"keeping the stream for {_shown(name)!r} until its end is known"):
            kept = _closing(keeping, self.place.temporary())
            size = kept.write(head)
            del head
            while count := fill(buffer):
                size += kept.write(buffer[:count])
            with open(os.dup(kept.fd), "rb", buffering=0) as file:
                file.seek(0)
                self.entries.add_content(name, file, size, now=now)
        return size


def _require_level(level: object) -> int:
    if not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= _LEVEL_MAX:
        raise ConfigurationError(f"level is {level!r}", hint=f"zstd has 1 (fast) to {_LEVEL_MAX} (small).")
    return level


def _closing(stack: ExitStack, temporary: Temporary) -> Temporary:
    stack.callback(temporary.close)
    return temporary


def _shown(name: str) -> str:
    return printable(os.fsencode(name))


def _one_at_a_time(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} while a part was being written: a tar writer takes one part at a time",
        hint="Nothing will be published. Add everything from one thread, and nothing from within a stream.",
    )


def _empty(what: str, look: str) -> RefusedError:
    return RefusedError(what, code=Code.EMPTY_SOURCE, hint=f"{look} If it may be empty, say so with allow_empty=True.")
