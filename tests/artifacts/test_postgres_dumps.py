"""What pg_dump of a real server writes, whole and spoiled in the ways that other checks believe."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tarfile
import tracemalloc
from importlib.util import find_spec
from pathlib import Path

import pytest

from safebackup.artifacts import ArtifactReport, Kind, Level, check_artifact
from safebackup.artifacts.reading import PIECE
from safebackup.errors import Code, ConfigurationError
from safebackup.findings import Severity
from tests.artifacts.conftest import Postgres
from tests.artifacts.makers import pg_custom, pg_plain, toc_number

ROWS = 2003


def codes(report: ArtifactReport) -> set[Code]:
    return {finding.code for finding in report.findings if finding.severity is Severity.ERROR}


@pytest.mark.parametrize(
    ("options", "name", "kind"),
    [
        ((), "a.sql", Kind.PG_PLAIN),
        (("--clean", "--create", "--if-exists"), "a.sql", Kind.PG_PLAIN),
        (("--inserts",), "a.sql", Kind.PG_PLAIN),
        (("--column-inserts", "--rows-per-insert=7"), "a.sql", Kind.PG_PLAIN),
        (("-Fc",), "a.dump", Kind.PG_CUSTOM),
        (("-Fc", "-Z0"), "a.dump", Kind.PG_CUSTOM),
        (("-Ft",), "a.tar", Kind.PG_TAR),
    ],
)
def test_every_format_is_whole_and_its_rows_are_counted(
    options: tuple[str, ...], name: str, kind: Kind, postgres: Postgres, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(postgres.dump(*options))

    report = check_artifact(tmp_path / name)

    assert report.findings == ()
    assert report.whole
    assert (report.kind, report.level, report.holds.tables, report.holds.rows) == (kind, Level.FULL, 3, ROWS)
    assert (report.holds.server_version or "").split(".")[0].isdigit()


@pytest.mark.parametrize("packing", [(), ("-Z0",), ("-Z0", "--inserts")])
def test_a_folder_is_whole_and_each_of_its_files_counts(
    packing: tuple[str, ...], postgres: Postgres, tmp_path: Path
) -> None:
    postgres.dump("-Fd", *packing, "-f", str(tmp_path / "whole"))
    assert check_artifact(tmp_path / "whole").whole

    for file in sorted((tmp_path / "whole").iterdir()):
        shutil.copytree(tmp_path / "whole", tmp_path / "spoiled")
        if file.name != "toc.dat":
            (tmp_path / "spoiled" / file.name).unlink()
            assert codes(check_artifact(tmp_path / "spoiled")) == {Code.ARTIFACT_PART_MISSING}, file
        if not file.name.startswith("blob_") or packing == ():
            (tmp_path / "spoiled" / file.name).write_bytes(file.read_bytes()[:-1])
            assert not check_artifact(tmp_path / "spoiled").whole, file
        shutil.rmtree(tmp_path / "spoiled")


def test_a_folder_without_its_contents_is_unfinished(postgres: Postgres, tmp_path: Path) -> None:
    postgres.dump("-Fd", "-f", str(tmp_path / "dump"))
    (tmp_path / "dump" / "toc.dat").unlink()

    assert codes(check_artifact(tmp_path / "dump")) == {Code.ARTIFACT_UNFINISHED}


def test_each_member_of_a_dump_in_tar_format_counts(postgres: Postgres, tmp_path: Path) -> None:
    whole, spoiled = tmp_path / "whole.tar", tmp_path / "spoiled.tar"
    whole.write_bytes(postgres.dump("-Ft"))
    with tarfile.open(whole) as source:
        names = [name for name in source.getnames() if name not in ("toc.dat", "restore.sql")]
        for missing in names:
            with tarfile.open(spoiled, "w", format=tarfile.USTAR_FORMAT) as target:
                for member in source:
                    if member.name != missing:
                        target.addfile(member, source.extractfile(member))

            assert codes(check_artifact(spoiled)) == {Code.ARTIFACT_PART_MISSING}, missing
    assert any(name.startswith("blob_") for name in names)


def test_a_folder_that_is_no_dump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"toc\.dat"):
        check_artifact(tmp_path)


@pytest.mark.parametrize("options", [(), ("-Z0",), ("--inserts",)])
def test_a_custom_dump_cut_anywhere_is_not_whole_even_where_pg_restore_lists_it(
    options: tuple[str, ...], postgres: Postgres, tmp_path: Path
) -> None:
    data = postgres.dump("-Fc", *options)
    half = tmp_path / "half.dump"
    half.write_bytes(data[: len(data) // 2])
    subprocess.run([postgres.programs / "pg_restore", "-l", half], check=True, capture_output=True)
    assert codes(check_artifact(half)) == {Code.ARTIFACT_CUT}

    for length in [*range(0, len(data), 997), *range(len(data) - 60, len(data))]:
        half.write_bytes(data[:length])
        assert not check_artifact(half).whole, length
        assert not check_artifact(half, level="structure").whole, length


def test_what_a_seekable_file_and_a_pipe_get_is_both_followed(postgres: Postgres, tmp_path: Path) -> None:
    postgres.dump("-Fc", "-f", str(tmp_path / "file.dump"))

    assert check_artifact(tmp_path / "file.dump").whole


def test_a_changed_row_in_an_uncompressed_dump_is_said_to_be_unprovable(postgres: Postgres, tmp_path: Path) -> None:
    path = tmp_path / "a.dump"
    path.write_bytes(postgres.dump("-Fc", "-Z0").replace(b"back\\\\slash", b"BACK\\\\slash"))

    report = check_artifact(path)

    assert report.whole
    assert any("changed value" in sentence for sentence in report.unproved)
    assert "as far as its format can tell" in report.statement


def test_a_changed_byte_in_a_compressed_dump_is_found(postgres: Postgres, tmp_path: Path) -> None:
    data = bytearray(postgres.dump("-Fc"))
    data[len(data) // 2] ^= 1
    (tmp_path / "a.dump").write_bytes(data)

    assert codes(check_artifact(tmp_path / "a.dump")) & {Code.ARTIFACT_DAMAGED, Code.ARTIFACT_CUT}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_plain_dump_cut_short_is_not_whole(share: float, postgres: Postgres, tmp_path: Path) -> None:
    data = postgres.dump()
    (tmp_path / "a.sql").write_bytes(data[: int(len(data) * share)])

    assert not check_artifact(tmp_path / "a.sql").whole


def test_a_plain_dump_cut_after_any_line_is_not_whole(postgres: Postgres, tmp_path: Path) -> None:
    lines = postgres.dump().splitlines(keepends=True)
    for count in [*range(0, len(lines), 23), *range(len(lines) - 15, len(lines))]:
        (tmp_path / "a.sql").write_bytes(b"".join(lines[:count]))

        assert not check_artifact(tmp_path / "a.sql").whole, count


def test_all_databases_and_roles_are_judged_as_one_dump(postgres: Postgres, tmp_path: Path) -> None:
    data = postgres.run("pg_dumpall")
    (tmp_path / "all.sql").write_bytes(data)
    (tmp_path / "roles.sql").write_bytes(postgres.run("pg_dumpall", "-g"))
    (tmp_path / "cut.sql").write_bytes(data[: data.rindex(b"--\n-- PostgreSQL database cluster dump complete")])

    assert check_artifact(tmp_path / "all.sql").whole
    assert check_artifact(tmp_path / "roles.sql").whole
    assert codes(check_artifact(tmp_path / "cut.sql")) == {Code.ARTIFACT_UNFINISHED}


@pytest.mark.parametrize("options", [(), ("--section=post-data",), ("-Fc",), ("-Ft",), ("-Fd",)])
def test_a_dump_of_nothing_is_whole_and_said_to_be_one(
    options: tuple[str, ...], postgres: Postgres, tmp_path: Path
) -> None:
    postgres.dump(*options, "-f", str(tmp_path / "dump"), database="template1")

    report = check_artifact(tmp_path / "dump")

    assert [(one.code, one.severity) for one in report.findings] == [(Code.ARTIFACT_EMPTY, Severity.WARNING)]
    assert report.whole
    if not options:
        (tmp_path / "dump").write_bytes((tmp_path / "dump").read_bytes()[:-30])
        assert not check_artifact(tmp_path / "dump").whole


# Large objects


@pytest.mark.parametrize("packing", [(), ("-Z0",)])
def test_a_list_that_names_no_large_object_has_lost_all_of_them(
    packing: tuple[str, ...], postgres: Postgres, tmp_path: Path
) -> None:
    postgres.dump("-Fd", *packing, "-f", str(tmp_path / "dump"))
    (lists,) = (tmp_path / "dump").glob("blobs*.toc")
    lists.write_bytes(b"")

    report = check_artifact(tmp_path / "dump")

    assert codes(report) == {Code.ARTIFACT_PART_MISSING}
    assert ["names no large object" in finding.what for finding in report.findings] == [True, False]
    assert "no list names 1 large objects" in report.findings[1].what


def test_a_large_object_that_no_list_names_is_an_error(postgres: Postgres, tmp_path: Path) -> None:
    postgres.dump("-Fd", "-f", str(tmp_path / "dump"))
    (tmp_path / "dump" / "blob_99.dat.gz").write_bytes(gzip.compress(b"stray"))

    assert codes(check_artifact(tmp_path / "dump")) == {Code.ARTIFACT_PART_MISSING}


def test_a_tar_whose_list_names_no_large_object_has_lost_all_of_them(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "whole.tar").write_bytes(postgres.dump("-Ft"))
    with (
        tarfile.open(tmp_path / "whole.tar") as source,
        tarfile.open(tmp_path / "spoiled.tar", "w", format=tarfile.USTAR_FORMAT) as target,
    ):
        for member in source:
            content = source.extractfile(member)
            if member.name.startswith("blobs"):
                member.size = 0
            target.addfile(member, content)

    report = check_artifact(tmp_path / "spoiled.tar")

    assert codes(report) == {Code.ARTIFACT_PART_MISSING}
    assert any("names no large object" in finding.what for finding in report.findings)
    assert any("no list names 1 large objects" in finding.what for finding in report.findings)


def test_what_an_uncompressed_large_object_cannot_prove_is_said(postgres: Postgres, tmp_path: Path) -> None:
    postgres.dump("-Fd", "-Z0", "-f", str(tmp_path / "plain"))
    postgres.dump("-Fd", "-f", str(tmp_path / "packed"))
    (stored,) = (tmp_path / "plain").glob("blob_*.dat")

    whole, packed = check_artifact(tmp_path / "plain"), check_artifact(tmp_path / "packed")
    stored.write_bytes(b"")
    emptied = check_artifact(tmp_path / "plain")

    assert whole.findings == packed.findings == ()
    assert any("no end mark" in sentence for sentence in whole.unproved)
    assert not any("no end mark" in sentence for sentence in packed.unproved)
    assert [(one.code, one.severity) for one in emptied.findings] == [(Code.ARTIFACT_EMPTY, Severity.WARNING)]
    assert stored.name in emptied.findings[0].what


def test_a_failed_dump_in_a_pipe_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.sql.gz").write_bytes(gzip.compress(b""))

    report = check_artifact(tmp_path / "a.sql.gz")

    assert Code.ARTIFACT_EMPTY in codes(report)
    assert not report.whole


def test_the_lock_that_newer_versions_write_after_the_mark_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_bytes(pg_plain().replace(b"\\unrestrict Key9\n\n", b""))
    assert codes(check_artifact(path)) == {Code.ARTIFACT_CUT}

    path.write_bytes(pg_plain().replace(b"\\unrestrict Key9", b"\\unrestrict Key8"))
    assert codes(check_artifact(path)) == {Code.ARTIFACT_DAMAGED}


def test_a_mark_inside_a_row_or_a_function_does_not_count(tmp_path: Path) -> None:
    data = pg_plain(restrict=False)
    marks = [place for place in range(len(data)) if data.startswith(b"-- PostgreSQL database dump complete\n", place)]
    for place in marks[:-1]:
        (tmp_path / "a.sql").write_bytes(data[: place + len("-- PostgreSQL database dump complete\n--\n\n")])

        assert not check_artifact(tmp_path / "a.sql").whole, place


def test_a_table_without_its_data_block_is_named(tmp_path: Path) -> None:
    data = pg_custom(b"1\tone\n")
    block = data.index(b"\1\0\x08\0\0\0", data.index(b"COPY orders"))
    (tmp_path / "a.dump").write_bytes(data[:block])

    report = check_artifact(tmp_path / "a.dump")

    assert codes(report) == {Code.ARTIFACT_PART_MISSING}
    assert "orders" in report.findings[0].what


def test_a_data_block_away_from_its_place_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a.dump").write_bytes(pg_custom(b"1\tone\n", lie_about_offset=True))

    assert codes(check_artifact(tmp_path / "a.dump")) == {Code.ARTIFACT_DAMAGED}


def test_a_newer_format_is_not_judged_and_never_whole(tmp_path: Path) -> None:
    (tmp_path / "a.dump").write_bytes(pg_custom(b"", minor=17))

    report = check_artifact(tmp_path / "a.dump")

    assert codes(report) == {Code.ARTIFACT_UNREADABLE}
    assert not report.whole


def test_an_error_message_in_the_dump_is_found(tmp_path: Path) -> None:
    message = b"pg_dump: error: query failed: ERROR:  permission denied for table t;\n"
    (tmp_path / "a.sql").write_bytes(pg_plain().replace(b"COPY public.t", message + b"COPY public.t", 1))

    assert Code.ARTIFACT_DAMAGED in codes(check_artifact(tmp_path / "a.sql"))


@pytest.mark.skipif(find_spec("lz4") is not None, reason="lz4 is installed, so that the dump would be read")
def test_a_dump_that_needs_a_missing_package_says_so_and_reaches_less(tmp_path: Path) -> None:
    (tmp_path / "a.dump").write_bytes(pg_custom(b"1\tone\n", packing="lz4"))

    report = check_artifact(tmp_path / "a.dump")

    assert (codes(report), report.level, report.whole) == ({Code.ARTIFACT_UNREADABLE}, Level.STRUCTURE, False)
    assert "pip install lz4" in report.findings[0].action
    assert check_artifact(tmp_path / "a.dump", level="structure").whole


def test_a_dump_that_begins_inside_another_one_is_unfinished(tmp_path: Path) -> None:
    whole = pg_plain(restrict=False)
    (tmp_path / "a.sql").write_bytes(whole[: whole.index(b"COPY")] + whole)
    assert codes(check_artifact(tmp_path / "a.sql")) == {Code.ARTIFACT_UNFINISHED}

    (tmp_path / "a.sql").write_bytes(whole + whole)
    assert check_artifact(tmp_path / "a.sql").whole


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("restrict", [True, False])
@pytest.mark.parametrize("cluster", [b"", b" cluster"])
def test_a_dump_that_begins_inside_the_rows_of_another_one_is_unfinished(
    cluster: bytes, restrict: bool, ending: bytes, tmp_path: Path
) -> None:
    whole = pg_plain(restrict=restrict).replace(b" database dump\n", b" database" + cluster + b" dump\n")
    whole = whole.replace(b"\n", ending)
    rows = whole.index(b"FROM stdin;") + len(b"FROM stdin;" + ending)

    believed = []
    for length in range(rows, whole.index(b"\\." + ending + ending, rows) + 1):
        (tmp_path / "a.sql").write_bytes(whole[:length] + whole)
        if codes(check_artifact(tmp_path / "a.sql")) != {Code.ARTIFACT_UNFINISHED}:
            believed.append(length - rows)

    assert believed == []


def test_a_dump_that_begins_inside_rows_is_found_wherever_the_pieces_end(tmp_path: Path) -> None:
    whole = pg_plain()
    rows = whole.index(b"1\t--")
    for length in range(PIECE - 200, PIECE + 60):
        filler = (b"9\tnine\n" * (length // 7 + 1))[: length - rows]
        (tmp_path / "a.sql").write_bytes(whole[:rows] + filler + whole)

        assert codes(check_artifact(tmp_path / "a.sql")) == {Code.ARTIFACT_UNFINISHED}, length


def test_rows_may_speak_of_a_dump(tmp_path: Path) -> None:
    rows = b"1\t-- PostgreSQL database dump\n2\t--\\n-- PostgreSQL database dump\\n--\\n\\n\n"
    (tmp_path / "a.sql").write_bytes(pg_plain().replace(b"2\ttwo\n", rows))

    assert check_artifact(tmp_path / "a.sql").whole


def test_a_piece_of_a_gigabyte_is_read_in_small_parts(tmp_path: Path) -> None:
    head, _, _ = pg_custom(b"", packing="none").partition(toc_number(2) + b"\\.")
    piece = 200 << 20
    with gzip.open(tmp_path / "a.dump.gz", "wb", compresslevel=1) as file:
        file.write(head + toc_number(piece))
        for _ in range(200):
            file.write(bytes(1 << 20))
        file.write(toc_number(0))
    tracemalloc.start()
    try:
        check_artifact(tmp_path / "a.dump.gz")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 32 << 20
