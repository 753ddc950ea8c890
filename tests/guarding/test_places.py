"""Where the state lives: what fails before a script starts, and how starts keep apart at a URL."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from safebackup.errors import Code, ConfigurationError, SafeBackupError, StorageError
from safebackup.guarding import check_guard, guard, places
from tests.guarding.scene import GRACE, NIGHTLY, HandClock, at, start

MIDNIGHT = at("2026-03-10 00:00")
URL = "memory://guards/orders.json"


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield
    MemoryFileSystem.store.clear()


def refused(state: str | Path, ran: list[str], **options: Any) -> SafeBackupError:
    """The error of a start that must not run its block."""
    with (
        pytest.raises(SafeBackupError) as error,
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT), **options),
    ):
        ran.append("it ran")
    assert ran == []
    return error.value


# Files


def test_a_folder_that_is_missing_is_never_made(tmp_path: Path) -> None:
    error = refused(tmp_path / "not mounted" / "state.json", [])

    assert (type(error), error.code) == (StorageError, Code.STORE_MISSING)
    assert not (tmp_path / "not mounted").exists()


def test_a_state_that_is_a_folder_or_a_device_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, []).hint
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(refused(tmp_path / "pipe", []), ConfigurationError)


def test_a_disk_that_is_full_stops_the_script_before_it_starts(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        state = disk / "state.json"
        start(state, at("2026-03-09 00:00"))
        before = state.read_bytes()
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="space"):
            while True:
                filler.write(b"x" * 4096)

        error = refused(state, [])

        assert (error.code, state.read_bytes()) == (Code.STORE_FULL, before)
        assert "state" in error.hint
        assert "repository" not in error.hint
        assert not (disk / "state.json.new").exists()
        (disk / "filler").unlink()
        assert start(state, MIDNIGHT).run_id
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_script_that_fills_the_disk_of_the_state_is_not_called_a_success(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        with (
            pytest.raises(StorageError) as error,
            guard(NIGHTLY, grace=GRACE, state=disk / "state.json", clock=HandClock(MIDNIGHT)),
            (disk / "filler").open("wb", buffering=0) as filler,
            pytest.raises(OSError, match="space"),
        ):
            while True:
                filler.write(b"x" * 512)
        assert error.value.code is Code.STORE_FULL
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_failure_to_record_hides_no_error_of_the_script(tmp_path: Path) -> None:
    state = tmp_path / "folder" / "state.json"
    state.parent.mkdir()
    with (
        pytest.raises(RuntimeError) as raised,
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)),
    ):
        state.parent.rename(tmp_path / "gone")
        raise RuntimeError("the script's own")

    assert "could not record" in raised.value.__notes__[0]


def test_a_refusal_that_cannot_be_recorded_is_a_refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "state.json"
    (tmp_path / "state.json.new").mkdir()  # what would be written first

    run = start(state, at("2026-03-10 12:00"))

    assert run.code == Code.START_SHIFTED
    assert "the refusal could not be recorded" in caplog.text


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "state.json").symlink_to(tmp_path / "there" / "real.json")

    start(tmp_path / "state.json", MIDNIGHT)

    assert (tmp_path / "state.json").is_symlink()
    assert (tmp_path / "there" / "real.json").is_file()


def test_file_urls_and_paths_are_the_same_state(tmp_path: Path) -> None:
    start(tmp_path / "state.json", MIDNIGHT)

    assert start(f"file://{tmp_path}/state.json", at("2026-03-10 00:15")).code == Code.ALREADY_DONE


def test_a_stranger_who_holds_the_lock_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_WAIT_SECONDS", 0.3)
    state = tmp_path / "state.json"
    start(state, at("2026-03-09 00:00"))
    with subprocess.Popen(["flock", f"{state}.lock", "sleep", "60"], process_group=0) as holder:
        try:
            until = time.monotonic() + 10
            while subprocess.run(["flock", "-n", f"{state}.lock", "true"], check=False).returncode == 0:
                assert time.monotonic() < until
            error = refused(state, [])
        finally:
            os.killpg(holder.pid, 9)

    assert isinstance(error, StorageError)
    assert error.retryable
    assert "lslocks" in error.hint


class Watched(places.LocalPlace):
    """A file; something happens each time that its lock was given back."""

    def __init__(self, path: Path, then: Callable[[], None]) -> None:
        super().__init__(str(path))
        self._then = then

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        with super().exclusively():
            yield
        self._then()


def test_who_starts_the_moment_a_run_was_recorded_finds_its_lock_free(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    codes: list[str] = []
    one = guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT))
    one.place = Watched(state, lambda: codes.append(start(state, at("2026-03-10 00:01")).code))

    with one:
        pass

    assert codes == ["run-active", "already-done"]


# URLs


def test_a_state_at_a_url_does_what_a_file_does() -> None:
    assert start(URL, MIDNIGHT).run_id == "20260310T000000Z"
    assert start(URL, at("2026-03-10 00:15")).code == Code.ALREADY_DONE
    assert start(URL, at("2026-03-10 08:00")).code == Code.START_SHIFTED
    assert check_guard(URL, clock=HandClock(at("2026-03-10 12:00"))).passed
    assert [one.run_id for one in check_guard(URL, clock=HandClock(at("2026-03-11 12:00"))).missing] == [
        "20260311T000000Z"
    ]


def test_nothing_but_the_state_is_left_at_a_url() -> None:
    start(URL, MIDNIGHT)

    assert list(MemoryFileSystem.store) == ["/guards/orders.json"]


def test_an_active_run_at_a_url_is_seen() -> None:
    with guard(NIGHTLY, grace=GRACE, state=URL, clock=HandClock(MIDNIGHT)):
        assert start(URL, at("2026-03-10 00:10")).code == Code.RUN_ACTIVE


def test_a_run_in_a_container_that_shares_a_url_is_waited_for() -> None:
    """No lock tells of it, other than with a file."""
    with guard(NIGHTLY, grace=GRACE, state=URL, clock=HandClock(MIDNIGHT)):
        document = json.loads(MemoryFileSystem.store["/guards/orders.json"].getvalue())
    document["runs"] = []
    document["active"]["process"]["space"] = "pid:[5]"
    fsspec.filesystem("memory").pipe_file("/guards/orders.json", json.dumps(document).encode())

    assert start(URL, at("2026-03-10 00:10")).code == Code.RUN_ACTIVE


def test_a_start_waits_while_another_is_decided_at_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_WAIT_SECONDS", 0.3)
    files = fsspec.filesystem("memory")
    files.pipe_file(f"/guards/orders.json.starting/{int(time.time())}-7-beef", b"")

    error = refused(URL, [])

    assert isinstance(error, StorageError)
    assert error.retryable
    assert len(MemoryFileSystem.store) == 1


def test_a_start_that_died_while_it_was_decided_is_forgotten_after_five_minutes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file(f"/guards/orders.json.starting/{int(time.time()) - 301}-7-beef", b"")

    assert start(URL, MIDNIGHT).run_id
    assert "a start died while it was decided" in caplog.text
    assert list(MemoryFileSystem.store) == ["/guards/orders.json"]


def test_at_a_url_too_a_folder_that_is_missing_is_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("tests.guarding.shared_folder")
    monkeypatch.setenv("SHARED_FOLDER", str(tmp_path))

    assert isinstance(refused("shared://not mounted/state.json", []), StorageError)
    assert os.listdir(tmp_path) == []


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """A store with a fault; each test sets its own."""

    protocol = "faulty"
    cachable = False
    fault: Callable[[str, str], None] = staticmethod(lambda _verb, _path: None)

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
        Faulty.fault("cat", path)
        found = super().cat_file(path, *arguments, **options)
        assert isinstance(found, bytes)
        return found

    def pipe_file(self, path: str, *arguments: Any, **options: Any) -> None:
        Faulty.fault("pipe", path)
        super().pipe_file(path, *arguments, **options)

    def ls(self, path: str, *arguments: Any, **options: Any) -> Any:
        Faulty.fault("ls", path)
        return super().ls(path, *arguments, **options)


fsspec.register_implementation("faulty", Faulty, clobber=True)
FAULTY = "faulty://guards/orders.json"


def failing(monkeypatch: pytest.MonkeyPatch, verb: str, error: Exception, *, of: str = "orders.json") -> None:
    def fault(done: str, path: str) -> None:
        if done == verb and path.endswith(of):
            raise error

    monkeypatch.setattr(Faulty, "fault", staticmethod(fault))


@pytest.mark.parametrize("verb", ["cat", "pipe", "ls"])
def test_a_store_that_fails_stops_the_script_before_it_starts(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    start(FAULTY, at("2026-03-09 00:00"))
    of = "orders.json.starting" if verb == "ls" else "orders.json"
    failing(monkeypatch, verb, RuntimeError("signature of AKIA//user:secret@host failed"), of=of)

    error = refused(FAULTY, [])

    assert isinstance(error, StorageError)
    assert "RuntimeError" in error.message
    assert "secret" not in str(error)


def test_a_store_that_denies_is_not_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "cat", PermissionError("Forbidden"))

    error = refused(FAULTY, [])

    assert isinstance(error, StorageError)
    assert (error.code, error.retryable) == (Code.STORE_DENIED, False)


def test_of_two_starts_that_mark_at_once_none_goes_on_beside_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's marker was not there when this one looked, and is when it has put its own."""
    monkeypatch.setattr(places, "_WAIT_SECONDS", 0.3)
    other = f"{int(time.time())}-7-beef"

    def mark_too(verb: str, path: str) -> None:
        folder, _, name = path.rpartition("/")
        if verb == "pipe" and folder.endswith(".starting") and name != other:
            fsspec.filesystem("memory").pipe_file(f"{folder}/{other}", b"")

    monkeypatch.setattr(Faulty, "fault", staticmethod(mark_too))

    error = refused(FAULTY, [])

    assert isinstance(error, StorageError)
    assert [path.rpartition("/")[2] for path in MemoryFileSystem.store] == [other]


def test_a_state_that_is_listed_and_not_found_is_not_taken_for_a_first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers say "not found" of every failure."""
    start(FAULTY, at("2026-03-09 00:00"))
    failing(monkeypatch, "cat", FileNotFoundError("550 no such file"))

    assert "is listed and cannot be read" in refused(FAULTY, []).message


def test_secrets_of_a_url_are_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "faulty://user:hunter2@guards/orders.json?sig=hunter2"
    failing(monkeypatch, "ls", RuntimeError("no"), of="")

    error = refused(url, [], storage_options={"secret": "hunter2"})

    assert "hunter2" not in str(error)


@pytest.mark.parametrize("url", ["nosuch://x/y", "memory://", "memory:///"])
def test_a_url_that_nothing_reaches_is_a_mistake_in_the_script(url: str) -> None:
    error = refused(url, [])

    assert isinstance(error, ConfigurationError)
    assert error.hint


RACER = """
import os, sys, time
from datetime import timedelta
import tests.guarding.shared_folder
from safebackup.guarding import guard, StartRefusedError
from safebackup.schedule import Schedule
from tests.guarding.scene import NIGHTLY, GRACE, HandClock, at

state, begin, log = sys.argv[1:]
while time.time() < float(begin):
    time.sleep(0.001)
try:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))):
        with open(log, "a") as file:
            file.write(f"ran {os.getpid()}\\n")
        time.sleep(0.2)
except StartRefusedError as refused:
    print(refused.code)
"""
RACERS = 20


@pytest.mark.parametrize("kind", ["file", "url"])
def test_of_twenty_starts_in_the_same_minute_exactly_one_runs(tmp_path: Path, kind: str) -> None:
    shared = tmp_path / "shared"
    (shared / "guards").mkdir(parents=True)
    state = str(tmp_path / "state.json") if kind == "file" else "shared://guards/state.json"
    log = tmp_path / "log"
    environment = os.environ | {"SHARED_FOLDER": str(shared), "PYTHONPATH": str(Path(__file__).parents[2])}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, state, str(time.time() + 5), str(log)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(RACERS)
    ]
    said = [racer.communicate(timeout=100) for racer in racers]

    assert [error for _, error in said if error] == []
    assert len(log.read_text().splitlines()) == 1
    codes = [out.strip() for out, _ in said if out]
    assert len(codes) == RACERS - 1
    assert set(codes) <= {"run-active", "already-done"}
    if kind == "url":
        assert os.listdir(shared / "guards" / "state.json.starting") == []
