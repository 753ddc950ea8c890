"""The same on URLs: in memory, as file://, and on an FTP server that really runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.ftp import FTPFileSystem

from safebackup.commands import run
from safebackup.errors import Code, ConfigurationError, ConflictError, StorageError
from safebackup.tarring import TarSnapshotWriter
from tests.tarring.conftest import FtpServer

NAMES = ["a.tar.zst", "a.tar.zst.files.sha256", "a.tar.zst.sha256"]


def lying_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_memory_takes_it_whole(source: Path) -> None:
    fs = fsspec.filesystem("memory")

    with TarSnapshotWriter("memory://tarring-whole/a.tar.zst") as writer:
        writer.add(source)
        assert fs.find("/tarring-whole") == []

    assert [Path(name).name for name in fs.find("/tarring-whole")] == NAMES
    listed = subprocess.run(
        ["tar", "--zstd", "-t"], input=fs.cat_file("/tarring-whole/a.tar.zst"), stdout=-1, check=True
    )
    assert b"orders/one.csv" in listed.stdout
    with pytest.raises(ConflictError), TarSnapshotWriter("memory://tarring-whole/a.tar.zst"):
        pass


def test_an_exception_leaves_nothing_in_memory(source: Path) -> None:
    with pytest.raises(RuntimeError), TarSnapshotWriter("memory://tarring-broken/a.tar.zst") as writer:
        writer.add(source)
        raise RuntimeError

    assert fsspec.filesystem("memory").find("/tarring-broken") == []


def test_a_file_url_is_a_path(source: Path, out: Path) -> None:
    with TarSnapshotWriter(f"file://{out}/a.tar.zst") as writer:
        writer.add(source)

    assert lying_in(out) == NAMES
    with pytest.raises(ConfigurationError, match="local path"):
        TarSnapshotWriter(f"file://{out}/b.tar.zst", storage_options={"key": "x"})
    with pytest.raises(ConfigurationError, match="scratch"):
        TarSnapshotWriter(f"file://{out}/b.tar.zst", scratch=out)


def test_a_server_gets_it_whole_under_its_name(source: Path, ftp: FtpServer, out: Path) -> None:
    with TarSnapshotWriter(f"{ftp.url}/a.tar.zst", scratch=out) as writer:
        writer.add(source)
        writer.write("noise", os.urandom(3_000_000))
        assert lying_in(ftp.folder) == []

    assert lying_in(ftp.folder) == NAMES
    assert lying_in(out) == []
    assert run(["sha256sum", "-c", "a.tar.zst.sha256"], folder=ftp.folder).status == 0
    assert run(["tar", "--zstd", "-tf", ftp.folder / "a.tar.zst"]).status == 0
    assert "hunter2" not in repr(writer.report)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_on_the_server_is_left_alone(ftp: FtpServer, name: str) -> None:
    (ftp.folder / name).write_text("older")

    with pytest.raises(ConflictError), TarSnapshotWriter(f"{ftp.url}/a.tar.zst"):
        pytest.fail("this is refused before anything is read")

    assert (ftp.folder / name).read_text() == "older"


@pytest.mark.parametrize("name", NAMES)
def test_what_appears_on_the_server_meanwhile_is_left_alone(ftp: FtpServer, name: str) -> None:
    with pytest.raises(ConflictError), TarSnapshotWriter(f"{ftp.url}/a.tar.zst") as writer:
        writer.write("x", b"x")
        (ftp.folder / name).write_text("theirs")

    assert lying_in(ftp.folder) == [name]
    assert (ftp.folder / name).read_text() == "theirs"


def test_a_library_that_looks_at_the_file_sees_a_file_and_no_link(ftp: FtpServer, out: Path) -> None:
    # asyncssh stores links as links, so that a path in /proc would arrive as one.
    with TarSnapshotWriter(f"{ftp.url}/a.tar.zst", scratch=out) as writer:
        writer.write("x", b"x")

        assert [path.is_symlink() for path in out.iterdir()] == [False, False, False]


def test_a_server_that_refuses_the_upload_is_an_error_of_ours_without_the_password(ftp: FtpServer) -> None:
    ftp.stop()
    ftp.start(writes=False)

    with pytest.raises(StorageError) as caught, TarSnapshotWriter(f"{ftp.url}/a.tar.zst") as writer:
        writer.write("x", b"x")

    assert "hunter2" not in str(caught.value)
    assert lying_in(ftp.folder) == []


def test_a_server_that_is_down_is_not_taken_for_an_empty_one(ftp: FtpServer) -> None:
    ftp.stop()

    with pytest.raises(StorageError) as caught, TarSnapshotWriter(f"{ftp.url}/a.tar.zst"):
        pytest.fail("nothing should be read for a server that is not there")

    assert caught.value.retryable
    assert "hunter2" not in str(caught.value)


def test_a_server_that_dies_on_the_way_leaves_nothing_under_the_name(ftp: FtpServer) -> None:
    with pytest.raises(StorageError), TarSnapshotWriter(f"{ftp.url}/a.tar.zst") as writer:
        writer.write("x", b"x")
        ftp.stop()

    assert "a.tar.zst" not in lying_in(ftp.folder)


def interrupting(real: Callable[..., object], *, done: bool) -> Callable[..., object]:
    """A rename that is interrupted: after it was done, or before."""

    def late(*arguments: object, **options: object) -> None:
        if str(arguments[-1]).endswith("a.tar.zst"):
            if done:
                real(*arguments, **options)
            raise KeyboardInterrupt
        real(*arguments, **options)

    return late


@pytest.mark.parametrize("done", [True, False])
def test_an_interrupt_while_publishing_to_a_server_leaves_nothing(
    ftp: FtpServer, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    monkeypatch.setattr(FTPFileSystem, "mv", interrupting(FTPFileSystem.mv, done=done))

    with pytest.raises(KeyboardInterrupt), TarSnapshotWriter(f"{ftp.url}/a.tar.zst") as writer:
        writer.write("x", b"x")

    assert lying_in(ftp.folder) == []


def test_what_another_one_published_meanwhile_stays(ftp: FtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FTPFileSystem.mv

    def late(*arguments: object, **options: object) -> None:
        if str(arguments[-1]).endswith("a.tar.zst"):
            (ftp.folder / "a.tar.zst").write_text("theirs")
            raise OSError("550 not overwritten")
        real(*arguments, **options)

    monkeypatch.setattr(FTPFileSystem, "mv", late)

    with pytest.raises(StorageError), TarSnapshotWriter(f"{ftp.url}/a.tar.zst") as writer:
        writer.write("x", b"x")

    assert lying_in(ftp.folder) == ["a.tar.zst"]
    assert (ftp.folder / "a.tar.zst").read_text() == "theirs"


def test_a_full_scratch_folder_is_told_apart(ftp: FtpServer, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() or run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small]).status:
        pytest.skip("a small file system cannot be mounted here")
    try:
        with pytest.raises(StorageError) as caught, TarSnapshotWriter(f"{ftp.url}/a.tar.zst", scratch=small) as writer:
            writer.write("x", os.urandom(3_000_000))
    finally:
        subprocess.run(["umount", small], check=True)

    assert caught.value.code == Code.STORE_FULL
    assert "scratch=" in caught.value.hint
