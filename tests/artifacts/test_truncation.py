"""A part is never called whole, and no bytes make anything but our own errors."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from safebackup.artifacts import ArtifactReport, Level, check_artifact
from safebackup.findings import Severity
from tests.artifacts.makers import ARTIFACTS

EVERY_BYTE = 1500
SAMPLES = 250


def positions(end: int) -> Iterator[int]:
    """Every length below `end` if there are few; otherwise both ends and a sample between."""
    if end <= EVERY_BYTE:
        return iter(range(end))
    step = max(1, end // SAMPLES)
    return iter(sorted({*range(40), *range(0, end, step), *range(end - 40, end)}))


def check(folder: Path, name: str, data: bytes, level: Level = Level.FULL) -> ArtifactReport:
    path = folder / name
    path.write_bytes(data)
    return check_artifact(path, level=level)


def content_of(name: str, data: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompress(data) if name.endswith(".zst") else data


@pytest.mark.parametrize("level", [Level.STRUCTURE, Level.FULL])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_whole_artefact_is_called_whole(name: str, level: Level, tmp_path: Path) -> None:
    report = check(tmp_path, name, ARTIFACTS[name][0], level)

    assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []
    assert report.whole
    assert report.level is not None
    assert report.level.rank >= level.rank


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_listing_proves_nothing_whole(name: str, tmp_path: Path) -> None:
    report = check(tmp_path, name, ARTIFACTS[name][0], Level.LISTED)

    assert not report.whole
    assert report.level is Level.LISTED
    assert report.findings == ()


@pytest.mark.parametrize("level", [Level.STRUCTURE, Level.FULL])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_no_cut_is_ever_called_whole(name: str, level: Level, tmp_path: Path) -> None:
    data, end = ARTIFACTS[name]

    believed = [length for length in positions(end) if check(tmp_path, name, data[:length], level).whole]

    assert believed == []


@pytest.mark.parametrize("name", ARTIFACTS)
def test_what_follows_the_end_is_noticed(name: str, tmp_path: Path) -> None:
    report = check(tmp_path, name, ARTIFACTS[name][0] + b"garbage")

    assert report.findings != ()


@pytest.mark.parametrize("name", ARTIFACTS)
@given(data=st.data())
def test_changed_bytes_raise_nothing(name: str, data: st.DataObject, tmp_path: Path) -> None:
    changed = bytearray(ARTIFACTS[name][0])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))

    report = check(tmp_path, name, bytes(changed), data.draw(st.sampled_from(Level)))

    assert report.statement


@pytest.mark.parametrize(
    "name", [name for name in ARTIFACTS if name.endswith((".gz", ".zst", "dump.rdb")) and not name.startswith("un")]
)
def test_where_there_is_a_checksum_every_bit_that_changes_the_content_shows(name: str, tmp_path: Path) -> None:
    original, end = ARTIFACTS[name]
    for place in positions(end):
        changed = bytearray(original)
        changed[place] ^= 0x10

        # A few bits mean nothing, such as the time in gzip's header: then the content is the same.
        if check(tmp_path, name, bytes(changed)).whole:
            assert content_of(name, bytes(changed)) == content_of(name, original), place


@given(data=st.binary(max_size=3000))
def test_random_bytes_are_never_whole(data: bytes, tmp_path: Path) -> None:
    assert not check(tmp_path, "random", data).whole
