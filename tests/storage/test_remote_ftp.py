"""FTP, on pyftpdlib, on vsftpd, and on a server that goes wrong as it is told to."""

from __future__ import annotations

import json
import logging
import os
import pickle
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from safebackup.errors import Code, ConfigurationError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits, Trouble
from safebackup.storage.remote.ftp_listing import Kind, Member, UnclearListingError, members_of_list, members_of_mlsd
from safebackup.storage.remote.ftp_session import FtpError
from safebackup.storage.remote.reaching import transport_of
from safebackup.testing.proxy import FaultProxy, Mode
from tests.servers import FtpServer, start_ftp
from tests.servers.server import Server, files_below
from tests.storage.contract import HOSTILE, MIB, StoreContract, outcome_of_put
from tests.storage.other_ftp import OddFtpServer, VsftpdServer, odd_ftp, start_vsftpd
from tests.storage.racing import body_of, raced

LIMITS = Limits(request=10, deadline=20, first_answer=20)
HASTY = Limits(request=5, deadline=0.3, first_answer=5)  # few attempts, each with time enough


def fresh() -> str:
    return f"a [b]/ü-{secrets.token_hex(6)}"


def opened(server: Server, folder: str, *, port: int = 0, limits: Limits = LIMITS, create: bool = False) -> DeleteStore:
    at = port or server.port
    return open_store(server.url_at(folder, at), storage_options=server.options_at(at), limits=limits, create=create)


def closed(store: DeleteStore) -> None:
    store.close()  # type: ignore[attr-defined]


class FtpContract(StoreContract):
    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    @pytest.fixture
    def folder(self) -> str:
        return fresh()

    @pytest.fixture
    def store(self, server: Server, folder: str) -> Iterator[DeleteStore]:
        store = opened(server, folder, create=True)
        yield store
        closed(store)

    @pytest.fixture
    def reopened(self, server: Server, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(server, folder)

    @pytest.fixture
    def unreachable(self, server: Server) -> Iterator[DeleteStore]:
        store = opened(server, fresh())
        yield store
        closed(store)

    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        """Here several may believe so; what is there is whole, and from one of them."""
        racers = [store, reopened(), reopened()]
        with ThreadPoolExecutor(len(racers)) as pool:
            outcomes = list(pool.map(lambda n: outcome_of_put(racers[n], "race", body_of(n)), range(len(racers))))

        winners = [body_of(racer) for racer, outcome in enumerate(outcomes) if outcome == "stored"]
        assert store.get("race") in winners


class TestPyftpdlib(FtpContract):
    @pytest.fixture
    def server(self, ftp_server: FtpServer) -> Server:
        return ftp_server


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that any user can reach, as those of pytest cannot be."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def vsftpd(place: Path) -> Iterator[VsftpdServer]:
    (place / "plain").mkdir()
    with start_vsftpd(place / "plain") as server:
        yield server


class TestVsftpd(FtpContract):
    @pytest.fixture
    def server(self, vsftpd: VsftpdServer) -> Server:
        return vsftpd


@pytest.fixture
def folder(ftp_server: FtpServer) -> str:
    folder = fresh()
    closed(opened(ftp_server, folder, create=True))
    return folder


@pytest.fixture
def proxy(ftp_server: FtpServer) -> Iterator[FaultProxy]:
    """For commands: data do not come this way."""
    with FaultProxy("127.0.0.1", ftp_server.port) as proxy:
        yield proxy


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[OddFtpServer]:
    with odd_ftp(tmp_path) as odd:
        yield odd


def opened_odd(odd: OddFtpServer, *, limits: Limits = LIMITS) -> DeleteStore:
    return open_store(odd.url, storage_options=odd.options, limits=limits)


def every_verb(store: DeleteStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get("packs/one"),
        lambda: store.list(""),
        lambda: store.list("packs/"),
        lambda: store.put_new("packs/two", b"2"),
        lambda: store.delete("packs/one"),
    ]


def fails_in_time(use: Callable[[], object], seconds: float = 8) -> None:
    begin = time.perf_counter()
    with pytest.raises(StorageError) as caught:
        use()
    assert caught.value.retryable
    assert caught.value.code is Code.STORE_FAILED
    assert time.perf_counter() - begin < seconds


def is_refused(use: Callable[[], object], code: Code) -> None:
    with pytest.raises(StorageError) as caught:
        use()
    assert caught.value.code is code
    assert not caught.value.retryable


# What is asked of the server


def asked_for(odd: OddFtpServer, use: Callable[[], object]) -> list[str]:
    before = len(odd.asked)
    use()
    return odd.asked[before:]


def test_an_object_is_looked_for_stored_aside_measured_and_renamed(odd: OddFtpServer) -> None:
    store = opened_odd(odd)
    store.put_new("packs/one", b"1")

    asked = asked_for(odd, lambda: store.put_new("packs/two", b"2"))

    looking = ["SIZE", "CWD", "TYPE", "PASV", "MLSD"]
    assert asked == [*looking, "TYPE", "PASV", "STOR", "SIZE", "RNFR", "RNTO"]
    assert files_below(odd.root) == {"packs/one": b"1", "packs/two": b"2"}


def test_parts_of_objects_are_read_in_one_session(odd: OddFtpServer) -> None:
    data = os.urandom(4 * MIB)
    store = opened_odd(odd)
    store.put_new("one", data)

    for start in range(0, 4 * MIB, 300_000):
        assert store.get("one", start=start, length=1000) == data[start : start + 1000]
    assert store.get("one") == data

    assert odd.connections == 1


def test_a_session_in_which_a_reply_is_late_is_given_up(odd: OddFtpServer) -> None:
    """What the server says to the end of a transfer would be taken for what it says to the next command."""
    data = os.urandom(4 * MIB)
    store = opened_odd(odd, limits=Limits(request=0.5, deadline=10, first_answer=5))
    store.put_new("one", data)
    store.put_new("two", b"2")

    odd.is_late = True
    assert store.get("one", start=5, length=1000) == data[5:1005]
    odd.is_late = False

    assert store.get("two") == b"2"
    assert store.get("one", start=7, length=1000) == data[7:1007]
    assert odd.connections == 2


def test_the_folders_that_lead_to_a_root_are_made_when_it_is_created(ftp_server: FtpServer) -> None:
    folder = f"{fresh()}/not/yet/there"

    store = opened(ftp_server, folder, create=True)

    assert store.list("") == []
    assert (ftp_server.root / folder).is_dir()


def test_the_top_of_a_server_can_be_the_root(odd: OddFtpServer) -> None:
    for url in (odd.url, odd.url.rstrip("/")):
        store = open_store(url, storage_options=odd.options, limits=LIMITS, create=True)

        store.put_new("packs/one", b"1")

        assert store.list("") == [ObjectInfo("packs/one", 1)]
        assert store.list("snapshots/") == []
        with pytest.raises(NotFoundError):
            store.get("nothing")


def test_what_a_cleaner_removed_is_no_obstacle(odd: OddFtpServer) -> None:
    store = opened_odd(odd)
    store.put_new("packs/ab/one", b"1")
    shutil.rmtree(odd.root / "packs")
    shutil.rmtree(odd.root / "tmp")

    store.put_new("packs/ab/two", b"2")

    assert store.list("") == [ObjectInfo("packs/ab/two", 1)]


@pytest.mark.parametrize("theirs", [b"other", b"ours!"])
def test_a_server_that_never_replaces_says_that_somebody_was_quicker(odd: OddFtpServer, theirs: bytes) -> None:
    store = opened_odd(odd)
    store.put_new("packs/first", b"")

    def slip_in(_path: str) -> str:
        (odd.root / "packs/one").write_bytes(theirs)
        return "550 File exists."

    odd.replies["RNTO"] = slip_in

    assert outcome_of_put(store, "packs/one", b"ours!") == ("stored" if theirs == b"ours!" else "conflict")
    assert files_below(odd.root) == {"packs/first": b"", "packs/one": theirs}


def test_several_threads_have_a_session_each(odd: OddFtpServer) -> None:
    store = opened_odd(odd)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.put_new(f"packs/{n}", b"%d" % n * 1000), range(20)))
        got = list(pool.map(lambda n: store.get(f"packs/{n}"), range(20)))

    assert got == [b"%d" % n * 1000 for n in range(20)]
    assert odd.connections <= 4


def test_a_server_without_sizes_is_asked_for_listings(odd: OddFtpServer) -> None:
    odd.replies["SIZE"] = "502 Command not implemented."
    store = opened_odd(odd)

    store.put_new("packs/one", HOSTILE)

    assert store.get("packs/one", start=3, length=10) == HOSTILE[3:13]
    with pytest.raises(NotFoundError):
        store.get("packs")
    with pytest.raises(NotFoundError):
        store.get("packs/two")


def test_another_encoding_of_names_can_be_asked_for(vsftpd: VsftpdServer) -> None:
    folder = f"ä-{secrets.token_hex(6)}"
    store = open_store(vsftpd.url(folder), storage_options={"encoding": "latin-1"}, limits=LIMITS, create=True)

    store.put_new("one", b"1")

    assert store.list("") == [ObjectInfo("one", 1)]
    assert vsftpd.peek(os.fsdecode(folder.encode("latin-1"))) == {"one": b"1"}
    closed(store)


# S2, S9: processes


def test_s2_of_processes_that_race_for_a_name_the_object_is_one_winners(ftp_server: FtpServer, folder: str) -> None:
    store = opened(ftp_server, folder)
    store.put_new("packs/one", b"1")

    rounds = raced(store, racers=3, rounds=10)

    held = ftp_server.peek(folder)
    for number, outcomes in enumerate(rounds):
        assert held[f"race/{number}"] in [body_of(racer) for racer, outcome in outcomes.items() if outcome == "stored"]
    assert store.get("packs/one") == b"1"


# S3: lists are complete, or raise


NAMES = ["Upper Case", "ü/ß", " a%41b", "a#b?c ", "packs/one", "tmp/left", "a;b=c", ".hidden", "a -> b"]


@pytest.mark.parametrize("name_of_server", ["ftp_server", "vsftpd"])
def test_s3_other_files_are_no_objects_and_a_transport_lists_them_all(
    name_of_server: str, request: pytest.FixtureRequest
) -> None:
    server: FtpServer | VsftpdServer = request.getfixturevalue(name_of_server)
    folder = fresh()
    names = NAMES if name_of_server == "ftp_server" else [*NAMES, os.fsdecode(b"\xff")]
    closed(opened(server, folder, create=True))
    for name in names:
        path = server.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))

    assert opened(server, folder).list("") == [ObjectInfo("packs/one", 9)]

    transport = transport_of(server.url(folder), server.options, LIMITS)
    listed = {each.path: each for each in transport.entries("")}
    assert sorted(listed) == sorted(names)
    for name in names:
        assert transport.read(name, 0, 100) == os.fsencode(name)
        assert transport.size(name) == listed[name].size_bytes == len(os.fsencode(name))
        if name_of_server == "ftp_server":
            modified = listed[name].modified
            assert modified is not None
            assert abs(modified - (server.root / folder / name).stat().st_mtime_ns) < 1_000_000_000
    transport.close()


@pytest.fixture
def unprivileged(vsftpd: VsftpdServer) -> Iterator[tuple[DeleteStore, Path]]:
    """A store that is reached as somebody whom permissions bind, which is not root, and where it is."""
    folder = fresh()
    store = opened(vsftpd, folder, create=True)
    root = vsftpd.root / folder
    yield store, root
    closed(store)
    root.chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o400], ids=oct)
def test_s3_a_folder_that_may_not_be_read_is_not_left_out(unprivileged: tuple[DeleteStore, Path], mode: int) -> None:
    """vsftpd lists a folder that may be entered and not read (0o300) as an empty one."""
    store, root = unprivileged
    store.put_new("packs/locked/one", b"1")
    store.put_new("packs/two", b"2")
    (root / "packs/locked").chmod(mode)

    for prefix in ("", "packs/", "packs/locked/"):
        with pytest.raises(StorageError) as caught:
            store.list(prefix)
        assert caught.value.code in (Code.STORE_DENIED, Code.STORE_FAILED)
        assert not caught.value.retryable

    (root / "packs/locked").chmod(0o700)
    assert [info.name for info in store.list("")] == ["packs/locked/one", "packs/two"]


def test_s5_what_may_not_be_read_is_not_missing(unprivileged: tuple[DeleteStore, Path]) -> None:
    store, root = unprivileged
    store.put_new("packs/locked/one", b"1")
    store.put_new("packs/one", b"1")
    (root / "packs/one").chmod(0)
    (root / "packs/locked").chmod(0)

    for name in ("packs/one", "packs/locked/one", "packs/locked/nothing"):
        is_refused(lambda name=name: store.get(name), Code.STORE_DENIED)  # type: ignore[misc]
    root.chmod(0)
    for use in every_verb(store):
        is_refused(use, Code.STORE_DENIED)


def test_s3_links_are_followed_and_one_that_leads_nowhere_is_a_disk_that_is_missing(
    unprivileged: tuple[DeleteStore, Path],
) -> None:
    store, root = unprivileged
    store.put_new("packs/one", b"1")
    store.put_new("snapshots/two", b"2")
    (root / "packs").rename(root / "Moved")
    (root / "packs").symlink_to("Moved")
    (root / "snapshots/three").symlink_to("../Moved/one")
    assert [info.name for info in store.list("")] == ["packs/one", "snapshots/three", "snapshots/two"]
    assert store.get("packs/one") == store.get("snapshots/three") == b"1"

    (root / "Moved").rename(root / "Away")

    for prefix in ("", "packs/", "snapshots/"):
        with pytest.raises(StorageError) as caught:
            store.list(prefix)
        assert caught.value.code in (Code.STORE_MISSING, Code.STORE_DENIED)
    for name in ("packs/one", "snapshots/three"):
        is_refused(lambda name=name: store.get(name), Code.STORE_DENIED)  # type: ignore[misc]


def test_s3_a_link_that_leads_in_a_circle_raises(unprivileged: tuple[DeleteStore, Path]) -> None:
    store, root = unprivileged
    store.put_new("packs/one", b"1")
    (root / "packs/again").symlink_to("../packs")

    with pytest.raises(StorageError):
        store.list("")


def in_folder(folder: str, odd: OddFtpServer, reply: str) -> Callable[[str], str | None]:
    """A reply to what is asked while this folder is the current one."""
    return lambda _argument: reply if odd.entered[-1:] == [folder] else None


@pytest.mark.parametrize("reply", ["550 No.", "450 Later.", "451 Failure.", "500 What?", "553 No."])
def test_s3_a_folder_that_the_server_does_not_list_is_not_left_out(odd: OddFtpServer, reply: str) -> None:
    store = opened_odd(odd, limits=HASTY)
    store.put_new("packs/ab/one", b"1")
    store.put_new("packs/two", b"2")
    odd.replies["MLSD"] = in_folder("/packs/ab", odd, reply)

    with pytest.raises(StorageError):
        store.list("packs/")

    del odd.replies["MLSD"]
    assert [info.name for info in opened_odd(odd).list("")] == ["packs/ab/one", "packs/two"]


def test_s3_a_folder_that_vanishes_while_it_is_listed_is_no_answer(odd: OddFtpServer) -> None:
    store = opened_odd(odd)
    store.put_new("packs/one", b"1")
    store.put_new("snapshots/ab/two", b"2")

    def lists_too_much(_command: str, data: bytes) -> bytes:
        odd.sent = None
        return data + b"type=dir;size=4096;modify=20260101000000; gone\r\n"

    odd.sent = lists_too_much
    odd.replies["CWD"] = lambda path: "550 No such file or directory." if path.endswith("gone") else None
    transport = transport_of(odd.url, odd.options, LIMITS)
    with pytest.raises(FtpError) as caught:
        list(transport.entries(""))
    assert transport.trouble_of(caught.value) is Trouble.UNREACHED
    transport.close()

    odd.sent = lists_too_much
    assert [info.name for info in store.list("")] == ["packs/one", "snapshots/ab/two"]


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "in a line": lambda data: data[:-3],
    "without a type": lambda data: data.replace(b"type=", b"kind="),
    "another language": lambda data: b"Welcome to this network\r\n",
    "a slash in a name": lambda data: data.replace(b" one", b" ../one"),
    "no name": lambda data: data.replace(b" one", b" "),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_s3_a_listing_that_is_not_understood_is_no_list(odd: OddFtpServer, cut: Callable[[bytes], bytes]) -> None:
    store = opened_odd(odd, limits=HASTY)
    store.put_new("packs/one", b"1")
    odd.sent = lambda command, data: cut(data) if command == "MLSD" else data

    with pytest.raises(StorageError):
        store.list("packs/")


def test_s3_the_other_kind_of_listing_is_believed_only_if_it_begins_with_the_folder(odd: OddFtpServer) -> None:
    store = opened_odd(odd, limits=HASTY)
    store.put_new("packs/one", b"1")
    odd.replies["MLSD"] = "500 Unknown command."

    with pytest.raises(StorageError, match="lacks"):
        store.list("packs/")

    itself = b"drwxr-xr-x   2 u g 4096 Jan 01 10:00 .\r\ndrwxr-xr-x   2 u g 4096 Jan 01 10:00 ..\r\n"
    odd.sent = lambda command, data: itself + data
    assert store.list("packs/") == [ObjectInfo("packs/one", 1)]


def test_a_listing_as_ls_prints_it() -> None:
    lines = [
        "total 8",
        "drwx------    5 0        0            4096 Nov 23 11:36 .",
        "drwx------    5 0        0            4096 Nov 23 11:36 ..",
        "-rw-------    1 0        0              12 Nov 23 11:36  two  spaces ",
        "-rw-r--r--+   1 user     group  1234567890 Jan  1  2020 a -> b",
        "lrwxrwxrwx    1 0        0               5 Nov 23 11:36 link -> packs",
        "drwxrwsr-t    5 0        0            4096 Nov 23 11:36 folder",
        "prw-r--r--    1 0        0               0 Nov 23 11:36 pipe",
    ]

    assert members_of_list(lines) == [
        Member(" two  spaces ", Kind.FILE, 12),
        Member("a -> b", Kind.FILE, 1234567890),
        Member("link", Kind.LINK),
        Member("folder", Kind.FOLDER),
        Member("pipe", Kind.OTHER),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "01-01-26  10:00AM                  12 one",
        "-rw------- 1 0 0 12 Nov 23 11:36",
        "-rw------- 1 an owner group 12 Nov 23 11:36 one",
        "-rw------- 1 0 0 12 Nov 23 11:36 a/b",
        "brw------- 1 0 0 8, 0 Nov 23 11:36 disk",
        "ls: one: Permission denied",
    ],
)
def test_a_line_of_a_listing_that_is_not_understood_is_not_left_out(line: str) -> None:
    with pytest.raises(UnclearListingError):
        members_of_list(["drwx------ 5 0 0 4096 Nov 23 11:36 .", line])


def test_a_listing_for_machines() -> None:
    lines = [
        "type=cdir;modify=20260101000000; .",
        "Type=PDir;Modify=20260101000000; ..",
        "Type=file;Size=12;Modify=20260102030405.678; two  spaces ",
        "type=dir;sizd=4096;modify=20260102030405;perm=el; folder",
        "size=7;type=file;modify=yesterday; no-time",
        "type=file;size=; no-size",
        "type=OS.unix=slink:/somewhere;size=5; link",
        "type=OS.unix=symlink;size=5; other-link",
        "type=OS.unix=chr-1/3; device",
    ]

    second = 1767323045
    assert members_of_mlsd(lines) == [
        Member("two  spaces ", Kind.FILE, 12, second * 10**9 + 678 * 10**6),
        Member("folder", Kind.FOLDER, None, second * 10**9),
        Member("no-time", Kind.FILE, 7),
        Member("no-size", Kind.FILE),
        Member("link", Kind.LINK, 5),
        Member("other-link", Kind.LINK, 5),
        Member("device", Kind.OTHER),
    ]


# S4, S5: reading


WRONG_LENGTHS: dict[str, Callable[[bytes], bytes]] = {
    "one too few": lambda data: data[:-1],
    "none": lambda data: b"",
    "one too many": lambda data: data + b".",
}


@pytest.mark.parametrize("change", WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
def test_s4_what_a_server_calls_whole_is_measured(odd: OddFtpServer, change: Callable[[bytes], bytes]) -> None:
    store = opened_odd(odd, limits=HASTY)
    store.put_new("one", os.urandom(MIB))
    odd.sent = lambda command, data: change(data) if command == "RETR" else data

    fails_in_time(lambda: store.get("one"))
    fails_in_time(lambda: store.get("one", start=5))


@pytest.mark.parametrize("command", ["SIZE", "RETR", "DELE"])
def test_s5_no_is_not_missing_while_it_is_listed(odd: OddFtpServer, command: str) -> None:
    store = opened_odd(odd)
    store.put_new("packs/one", b"1")
    odd.replies[command] = "550 No such file or directory."

    is_refused(
        (lambda: store.delete("packs/one")) if command == "DELE" else lambda: store.get("packs/one"), Code.STORE_DENIED
    )

    assert files_below(odd.root) == {"packs/one": b"1"}


def test_s5_no_to_everything_is_not_missing(odd: OddFtpServer) -> None:
    store = opened_odd(odd)
    store.put_new("packs/one", b"1")
    for command in ("SIZE", "RETR", "DELE", "CWD", "MLSD", "STOR", "MKD"):
        odd.replies[command] = "550 No such file or directory."

    for use in every_verb(store):
        is_refused(use, Code.STORE_DENIED)


@pytest.mark.parametrize("reply", ["421 Shutting down.", "450 Busy.", "426 Aborted."])
def test_what_the_server_puts_off_is_tried_again(odd: OddFtpServer, reply: str) -> None:
    store = opened_odd(odd)
    store.put_new("packs/one", b"1")
    replies = iter([reply])
    for command in ("SIZE", "RETR", "STOR", "RNTO"):
        replies = iter([reply])
        odd.replies[command] = lambda _argument, replies=replies: next(replies, None)  # type: ignore[misc]

        assert store.get("packs/one") == b"1"
        store.put_new(f"packs/{command.lower()}", b"2")
        assert next(replies, None) is None

    assert len(store.list("packs/")) == 5


def test_s5_an_object_that_is_stored_at_this_moment_is_found(odd: OddFtpServer) -> None:
    store = opened_odd(odd)
    (odd.root / "packs").mkdir()

    def store_meanwhile(_path: str) -> str | None:
        if (odd.root / "packs/one").exists():
            return None
        (odd.root / "packs/one").write_bytes(b"1")
        return "550 No such file or directory."

    odd.replies["SIZE"] = store_meanwhile

    assert store.get("packs/one") == b"1"


# S7: nothing partial

FULL = ["452 Insufficient storage space.", "552 Quota exceeded.", "426 No space left on device; transfer aborted."]


@pytest.mark.parametrize("reply", FULL)
@pytest.mark.parametrize("command", ["STOR", "MKD", "RNTO"])
def test_a_disk_that_is_full_is_called_so_at_once_and_keeps_nothing(
    odd: OddFtpServer, reply: str, command: str
) -> None:
    store = opened_odd(odd)
    odd.replies[command] = reply

    is_refused(lambda: store.put_new("packs/one", b"1"), Code.STORE_FULL)

    assert files_below(odd.root) == {}


def test_s7_a_disk_that_fills_keeps_nothing_partial_and_is_used_again(vsftpd: VsftpdServer) -> None:
    """This server says that it failed, and not why."""
    folder = fresh()
    closed(opened(vsftpd, folder, create=True))
    with small_disk(vsftpd.root / folder) as disk:
        store = opened(vsftpd, folder, limits=HASTY)
        store.put_new("packs/one", bytes(MIB))

        fails_in_time(lambda: store.put_new("packs/two", bytes(8 * MIB)))

        assert list(files_below(disk)) == ["packs/one"]
        store.put_new("packs/three", bytes(2 * MIB))
        assert [info.name for info in store.list("")] == ["packs/one", "packs/three"]
        closed(store)


def test_a_server_that_breaks_off_when_its_disk_is_full_is_left_without_remnants(ftp_server: FtpServer) -> None:
    folder = fresh()
    closed(opened(ftp_server, folder, create=True))
    with small_disk(ftp_server.root / folder) as disk:
        store = opened(ftp_server, folder, limits=HASTY)
        store.put_new("packs/one", bytes(MIB))
        for number in range(3):
            with pytest.raises(StorageError, match="disk is full") as caught:
                store.put_new(f"packs/large-{number}", bytes(9 * MIB))

            assert caught.value.retryable
            assert list(files_below(disk)) == ["packs/one"]
        store.put_new("packs/two", bytes(2 * MIB))
        closed(store)


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"takes a disk of its own: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_s7_what_arrived_short_never_gets_its_name(odd: OddFtpServer) -> None:
    store = opened_odd(odd, limits=HASTY)

    def one_too_few(path: str) -> str | None:
        path = path.lstrip("/")
        return f"213 {(odd.root / path).stat().st_size - 1}" if path.startswith("tmp/") else None

    odd.replies["SIZE"] = one_too_few

    fails_in_time(lambda: store.put_new("packs/one", b"12"))

    assert files_below(odd.root) == {}


SCRIPT = """
import sys, json
from safebackup.storage import open_store
from safebackup.storage.remote import Limits, Trouble
url, options = json.loads(sys.argv[1])
store = open_store(url, storage_options=options, limits=Limits(request=5, deadline=20))
store.put_new("packs/one", b"1")
"""


def started(code: str, url: str, options: dict[str, object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "always", "-c", SCRIPT + code, json.dumps([url, options])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_s7_a_writer_that_is_killed_leaves_nothing_partial_visible(ftp_server: FtpServer, folder: str) -> None:
    code = """
import itertools
data = bytes(16 << 20)
print("begun", flush=True)
for number in itertools.count():
    store.put_new(f"packs/{number}", data)
    store.delete(f"packs/{number}")
"""
    held: list[bool] = []
    for delay in (0.0, 0.03, 0.1):
        with started(code, ftp_server.url(folder), ftp_server.options) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begun\n"
            until = time.perf_counter() + 20
            while not any(name.startswith("tmp/") for name in names_below(ftp_server.root / folder)):
                assert time.perf_counter() < until
            time.sleep(delay)
            writer.kill()
        time.sleep(0.1)
        held += [name.startswith("tmp/") for name in names_below(ftp_server.root / folder)]

        store = opened(ftp_server, folder)
        assert {info.size_bytes for info in store.list("packs/")} <= {1, 16 * MIB}
        store.put_new(f"after/{delay}", b"2")
        assert store.get("packs/one") == b"1"
        closed(store)
    assert any(held)  # at least once it was in the middle


def names_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


# Lines that break


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.cut_down(20)], ids=repr)
def test_s8_without_an_answer_every_verb_fails_in_time_and_works_again_afterwards(
    ftp_server: FtpServer, proxy: FaultProxy, folder: str, mode: Mode
) -> None:
    limits = Limits(request=0.5, deadline=1, first_answer=1)
    store = opened(ftp_server, folder, port=proxy.port, limits=Limits(request=2, deadline=10, first_answer=10))
    store.put_new("packs/one", b"1")
    stores = [opened(ftp_server, folder, port=proxy.port, limits=limits) for _ in every_verb(store)[:-1]]
    for each in stores[::2]:
        each.list("")  # those have a session already
    proxy.mode = mode

    with ThreadPoolExecutor(len(stores)) as pool:
        uses = [every_verb(each)[number] for number, each in enumerate(stores)]
        for task in [pool.submit(fails_in_time, use) for use in uses]:
            task.result()

    proxy.mode = Mode.PASS
    assert store.get("packs/one") == b"1"
    assert store.list("packs/")[0] == ObjectInfo("packs/one", 1)


def test_a_server_that_was_away_is_found_again(tmp_path: Path) -> None:
    with start_ftp(tmp_path) as server:
        store = opened(server, "place", create=True, limits=HASTY)
        store.put_new("packs/one", HOSTILE)
        server.stop()
        for use in every_verb(store)[:3]:
            fails_in_time(use)

        server.start()

        assert store.get("packs/one") == HOSTILE
        assert store.list("") == [ObjectInfo("packs/one", len(HOSTILE))]


@pytest.mark.parametrize("count", range(0, 500, 60))
def test_an_answer_that_was_lost_does_not_make_a_put_fail(
    ftp_server: FtpServer, proxy: FaultProxy, folder: str, count: int
) -> None:
    """Wherever the line breaks: the replies to a put in a session that is there already have about 500 bytes."""
    store = opened(ftp_server, folder, port=proxy.port)
    store.put_new("packs/one", b"1")
    proxy.mode = Mode.cut_down(count).first(1)

    store.put_new("packs/two", HOSTILE)

    assert proxy.struck == 1
    assert store.list("") == [ObjectInfo("packs/one", 1), ObjectInfo("packs/two", len(HOSTILE))]
    assert store.get("packs/two") == HOSTILE


def test_s8_data_that_never_come_or_trickle_are_given_up(odd: OddFtpServer) -> None:
    store = opened_odd(odd, limits=Limits(request=1.5, deadline=0.3, first_answer=5))
    store.put_new("one", bytes(40_000))
    odd.replies["RETR"] = "150 Here it comes."
    fails_in_time(lambda: store.get("one"), 5)
    del odd.replies["RETR"]

    odd.bytes_per_second = 8_000
    fails_in_time(lambda: store.get("one"), 4.5)


def test_s9_after_a_fork_parent_and_child_both_go_on(ftp_server: FtpServer, folder: str) -> None:
    code = """
import os
child = os.fork()
store.put_new(f"packs/{'child' if child == 0 else 'parent'}", bytes(100_000))
assert store.get("packs/one") == b"1"
if child == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(store.list("")) == 3
store.put_new("packs/after", b"")
"""
    with started(code, ftp_server.url(folder), ftp_server.options) as process:
        _, complaint = process.communicate(timeout=30)

    assert (process.returncode, complaint) == (0, "")


def test_a_program_that_closes_nothing_ends_quietly(ftp_server: FtpServer, folder: str) -> None:
    with started("", ftp_server.url(folder), ftp_server.options) as process:
        _, complaint = process.communicate(timeout=30)

    assert (process.returncode, complaint) == (0, "")


# Who is there, and who is let in


def test_a_password_that_is_wrong_is_denied_at_once(odd: OddFtpServer) -> None:
    options = {**odd.options, "password": "wrong-Hunter2"}
    store = open_store(odd.url, storage_options=options, limits=LIMITS)

    for use in every_verb(store):
        is_refused(use, Code.STORE_DENIED)

    assert odd.connections == 5


def test_a_server_that_has_too_many_users_is_asked_again(odd: OddFtpServer) -> None:
    replies = iter(["421 Too many users."] * 2)
    odd.replies["USER"] = lambda _user: next(replies, None)
    store = opened_odd(odd)

    store.put_new("packs/one", b"1")

    assert odd.connections == 3


def test_a_password_never_comes_back(odd: OddFtpServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="safebackup")
    secret = "a b\u00fc%Hunter2"
    odd.replies["PASS"] = lambda told: f"530 {told} is wrong."
    url = odd.url.replace("//", f"//tests:{secret}@")
    said = []
    for each, options in [(url, {}), (odd.url, {**odd.options, "password": secret})]:
        store = open_store(each, storage_options=options, limits=LIMITS)
        with pytest.raises(StorageError) as caught:
            store.list("")
        said.append(f"{store!r} {store.url} {caught.value!r} {caught.value} {caught.value.__cause__!r}")
        with pytest.raises(ConfigurationError):
            pickle.dumps(store)

    for text in [*said, *(record.getMessage() for record in caplog.records)]:
        assert "Hunter2" not in text


@pytest.fixture(scope="module")
def tls_server(place: Path) -> Iterator[VsftpdServer]:
    (place / "tls").mkdir()
    with start_vsftpd(place / "tls", has_tls=True) as server:
        yield server


def test_with_tls_commands_and_data_are_encrypted(tls_server: VsftpdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes nothing else, and asks that the connections for data continue the session."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_server.certificate))
    folder = fresh()
    store = opened(tls_server, folder, create=True)
    data = os.urandom(2 * MIB)

    store.put_new("packs/one", data)
    store.put_new("packs/none", b"")

    assert store.get("packs/one") == data
    for start in (1, MIB, 2 * MIB - 1):
        assert store.get("packs/one", start=start, length=1) == data[start : start + 1]
    assert store.list("") == [ObjectInfo("packs/none", 0), ObjectInfo("packs/one", len(data))]
    assert tls_server.peek(folder) == {"packs/one": data, "packs/none": b""}
    is_refused(lambda: open_store(tls_server.url(folder), limits=LIMITS).list(""), Code.STORE_DENIED)
    closed(store)


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(tls_server: VsftpdServer) -> None:
    store = opened(tls_server, fresh())

    begin = time.perf_counter()
    is_refused(lambda: store.list(""), Code.STORE_DENIED)
    assert time.perf_counter() - begin < 4


def test_a_server_without_tls_gets_no_password_if_tls_is_asked_for(odd: OddFtpServer) -> None:
    store = open_store(odd.url, storage_options={**odd.options, "tls": True}, limits=LIMITS)

    is_refused(lambda: store.list(""), Code.STORE_FAILED)

    assert "PASS" not in odd.asked
    assert "USER" not in odd.asked


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://127.0.0.1:99999/place", {}),
        ("ftp://127.0.0.1:x/place", {}),
        ("ftp://127.0.0.1/place", {"tls": "tls"}),
        ("ftp://127.0.0.1/place", {"encoding": "nonsense"}),
        ("ftp://127.0.0.1/place", {"port": "x"}),
        ("ftp://127.0.0.1/place", {"port": 70_000}),
    ],
)
def test_what_makes_no_sense_is_refused(url: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        open_store(url, storage_options=options, limits=LIMITS).list("")
