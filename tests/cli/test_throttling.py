"""The bandwidth limit: a rate that is kept on average, whoever shares it."""

from __future__ import annotations

import threading
import uuid

import attrs
import pytest

from safebackup.errors import ConfigurationError
from safebackup.storage import open_store
from safebackup.storage.store import AppendStore
from safebackup.storage.throttling import throttled


@attrs.define
class SleepingClock:
    """A clock that only moves when somebody sleeps."""

    seconds: float = 0.0
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def now(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.seconds += seconds


@pytest.fixture
def store() -> AppendStore:
    return open_store(f"memory://throttled-{uuid.uuid4().hex}", create=True)


def test_writing_keeps_to_the_rate(store: AppendStore) -> None:
    clock = SleepingClock()
    slow = throttled(store, 1000, clock, sleep=clock.sleep)

    for number in range(11):
        slow.put_new(f"data/{number}", bytes(500))

    assert clock.seconds == pytest.approx(5.0)  # what the last one costs is for the next to wait


def test_reading_keeps_to_the_rate_whether_its_length_is_known_or_not(store: AppendStore) -> None:
    store.put_new("data/1", bytes(500))
    clock = SleepingClock()
    slow = throttled(store, 1000, clock, sleep=clock.sleep)

    for _ in range(5):
        assert len(slow.get("data/1")) == 500
        assert len(slow.get("data/1", start=100, length=100)) == 100
    slow.list("data/")

    assert clock.seconds == pytest.approx(5 * 0.6 - 0.1)


def test_reading_and_writing_share_the_rate(store: AppendStore) -> None:
    clock = SleepingClock()
    slow = throttled(store, 1000, clock, sleep=clock.sleep)

    slow.put_new("data/1", bytes(1000))
    slow.get("data/1")
    slow.get("data/1")

    assert clock.seconds == pytest.approx(2.0)


def test_time_in_which_nothing_was_done_is_not_saved_up(store: AppendStore) -> None:
    clock = SleepingClock()
    slow = throttled(store, 1000, clock, sleep=clock.sleep)
    clock.sleep(3600)

    for number in range(3):
        slow.put_new(f"data/{number}", bytes(1000))
    assert clock.seconds == pytest.approx(3602)

    clock.sleep(3600)
    for _ in range(3):
        slow.get("data/1")
    assert clock.seconds == pytest.approx(7204)


def test_threads_share_the_rate(store: AppendStore) -> None:
    slept: list[float] = []
    slow = throttled(store, 1000, SleepingClock(), sleep=slept.append)

    threads = [threading.Thread(target=slow.put_new, args=(f"data/{number}", bytes(1000))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(slept) == pytest.approx(list(range(1, 8)))


def test_it_is_the_same_store(store: AppendStore) -> None:
    slow = throttled(store, 10**9, SleepingClock())

    slow.put_new("data/1", memoryview(b"abcd").cast("H"))

    assert slow.url == store.url
    assert store.get("data/1") == b"abcd"
    assert slow.list("data/") == store.list("data/")


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_of_nothing_is_refused(rate: int, store: AppendStore) -> None:
    with pytest.raises(ConfigurationError, match="bytes a second"):
        throttled(store, rate, SleepingClock())
