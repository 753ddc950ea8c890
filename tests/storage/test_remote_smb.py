"""SMB, experimental, on Samba: in the long run alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits
from safebackup.storage.remote.reaching import transport_of
from safebackup.testing.proxy import FaultProxy, Mode
from tests.servers import Server
from tests.servers.programs import HOST, Program, found, free_ports, listens, running
from tests.servers.server import files_below
from tests.storage.contract import MIB, StoreContract, outcome_of_put

LIMITS = Limits(request=10, deadline=20, first_answer=20)
HASTY = Limits(request=1, deadline=1, first_answer=1)
SECRET = "smb-Hunter2-Secret"
USER = "root" if os.geteuid() == 0 else "tests"

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("SAFEBACKUP_LONG") != "1", reason="takes Samba, and a minute; SAFEBACKUP_LONG=1 runs it"
    ),
    # smbprotocol says so of the handles of a connection that broke, too.
    pytest.mark.filterwarnings("ignore:unclosed SMB handle:ResourceWarning"),
]

_SETTINGS = """
[global]
smb ports = {port}
interfaces = lo
bind interfaces only = yes
server role = standalone server
server min protocol = SMB2
private dir = {folder}/private
lock directory = {folder}/lock
state directory = {folder}/state
cache directory = {folder}/cache
pid directory = {folder}/pid
ncalrpc dir = {folder}/ncalrpc
log file = {folder}/samba.log
disable netbios = yes
load printers = no
[share]
path = {folder}/data
read only = no
"""


@attrs.frozen
class SambaServer(Server):
    def options_at(self, port: int) -> dict[str, object]:
        return {"username": USER, "password": self.secret}

    def url_at(self, folder: str, port: int) -> str:
        return f"smb://{HOST}:{port}/share/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        return files_below(self.program.folder / "data" / folder)


@contextmanager
def start_samba(folder: Path) -> Iterator[SambaServer]:
    smbd = found("smbd", get_it="apt-get install samba")
    for name in ("private", "lock", "state", "cache", "pid", "ncalrpc", "data"):
        (folder / name).mkdir(exist_ok=True)
    with free_ports(1) as [port]:
        settings = folder / "smb.conf"
        settings.write_text(_SETTINGS.format(folder=folder, port=port))
        made = subprocess.run(
            [found("smbpasswd", get_it="apt-get install samba-common-bin"), "-c", settings, "-a", "-s", USER],
            check=False,
            input=f"{SECRET}\n{SECRET}\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr
        program = Program([smbd, "-F", "--no-process-group", "-s", str(settings)], folder, lambda: listens(port))
        with running(program):
            yield SambaServer(program, port, SECRET)


@pytest.fixture(scope="module")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SambaServer]:
    with start_samba(tmp_path_factory.mktemp("samba")) as server:
        yield server


@pytest.fixture
def proxy(samba: SambaServer) -> Iterator[FaultProxy]:
    with FaultProxy(HOST, samba.port) as proxy:
        yield proxy


def fresh() -> str:
    return f"a b/ü-{secrets.token_hex(6)}"


def opened(
    server: SambaServer, folder: str, *, port: int = 0, limits: Limits = LIMITS, create: bool = False, **more: object
) -> Any:
    url = server.url_at(folder, port or server.port)
    return open_store(url, storage_options=server.options | more, limits=limits, create=create)


class TestSamba(StoreContract):
    @pytest.fixture
    def folder(self) -> str:
        return fresh()

    @pytest.fixture
    def store(self, samba: SambaServer, folder: str) -> Iterator[DeleteStore]:
        store = opened(samba, folder, create=True)
        yield store
        store.close()

    @pytest.fixture
    def reopened(self, samba: SambaServer, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(samba, folder)

    @pytest.fixture
    def unreachable(self, samba: SambaServer) -> DeleteStore:
        store: DeleteStore = opened(samba, fresh())
        return store


@pytest.fixture
def folder(samba: SambaServer) -> str:
    folder = fresh()
    opened(samba, folder, create=True).close()
    return folder


def race_for_names(url: str, options: dict[str, object], racer: int, begin: float) -> list[str]:
    store = open_store(url, storage_options=options, limits=LIMITS)
    store.list("")
    time.sleep(max(0, begin - time.time()))
    return [outcome_of_put(store, f"race/{number}", b"%d" % racer * 1000) for number in range(60)]


def test_s2_of_processes_that_race_for_a_name_one_who_believes_to_have_won_has(samba: SambaServer, folder: str) -> None:
    racers = 3
    begin = time.time() + 4
    url, options = samba.url(folder), samba.options
    with ProcessPoolExecutor(racers, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(race_for_names, url, options, racer, begin) for racer in range(racers)]
        outcomes = [task.result() for task in tasks]

    held = samba.peek(folder)
    for number, results in enumerate(zip(*outcomes, strict=True)):
        assert held[f"race/{number}"] in [b"%d" % n * 1000 for n, result in enumerate(results) if result == "stored"]


def test_a_share_that_is_not_there_is_said_to_be(samba: SambaServer) -> None:
    url = f"smb://{HOST}:{samba.port}/nobody-shares-this/place"
    store = open_store(url, storage_options=samba.options, limits=LIMITS)

    with pytest.raises(StorageError) as caught:
        store.list("")

    assert caught.value.code is Code.STORE_MISSING


def test_a_url_without_a_share_is_refused(samba: SambaServer) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"smb://{HOST}:{samba.port}", storage_options=samba.options, limits=LIMITS).list("")

    assert caught.value.code is Code.BAD_URL


def every_verb(store: DeleteStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get("packs/one"),
        lambda: store.list(""),
        lambda: store.list("packs/"),
        lambda: store.put_new("packs/two", b"2"),
        lambda: store.delete("packs/three"),
    ]


def test_a_password_that_is_wrong_is_said_to_be(samba: SambaServer, folder: str) -> None:
    store = opened(samba, folder, password="Wrong-Secret-1")

    for use in every_verb(store):
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code is Code.STORE_DENIED


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.cut_down(20)], ids=repr)
def test_s8_without_an_answer_every_verb_fails_in_time_and_works_again_afterwards(
    samba: SambaServer, proxy: FaultProxy, folder: str, mode: Mode
) -> None:
    limits = Limits(request=1, deadline=0.6, first_answer=0.6)
    store = opened(samba, folder, port=proxy.port, limits=limits)
    store.put_new("packs/one", b"1")
    proxy.mode = mode

    for use in every_verb(store):
        begin = time.perf_counter()
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.retryable
        assert time.perf_counter() - begin < 10

    proxy.mode = Mode.PASS
    assert store.get("packs/one") == b"1"
    assert store.list("") == [ObjectInfo("packs/one", 1)]


def test_a_server_that_was_away_is_found_again(tmp_path: Path) -> None:
    with start_samba(tmp_path) as server:
        store = opened(server, "place", create=True, limits=HASTY)
        store.put_new("packs/one", b"1")
        server.stop()
        for use in every_verb(store):
            with pytest.raises(StorageError) as caught:
                use()
            assert caught.value.retryable

        server.start()

        assert store.get("packs/one") == b"1"


@pytest.mark.parametrize("count", [500, MIB])
def test_s4_a_download_that_was_cut_is_never_short(
    samba: SambaServer, proxy: FaultProxy, folder: str, count: int
) -> None:
    data = os.urandom(4 * MIB)
    store = opened(samba, folder, port=proxy.port)
    store.put_new("one", data)
    proxy.mode = Mode.cut_down(count).first(1)

    assert store.get("one") == data
    assert proxy.struck == 1


def test_s7_an_upload_that_was_cut_leaves_nothing_visible(samba: SambaServer, proxy: FaultProxy, folder: str) -> None:
    store = opened(samba, folder, port=proxy.port, limits=HASTY)
    store.put_new("packs/one", b"1")
    proxy.mode = Mode.cut_up(MIB)

    with pytest.raises(StorageError) as caught:
        store.put_new("packs/two", bytes(4 * MIB))

    assert caught.value.retryable
    proxy.mode = Mode.PASS
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    store.put_new("packs/two", bytes(4 * MIB))


def test_an_answer_that_was_lost_does_not_make_a_put_fail(samba: SambaServer, proxy: FaultProxy, folder: str) -> None:
    store = opened(samba, folder, port=proxy.port)
    store.put_new("packs/one", b"1")
    proxy.mode = Mode.swallow(after=MIB).first(1)

    store.put_new("packs/two", bytes(2 * MIB))

    assert proxy.struck == 1
    assert store.get("packs/two") == bytes(2 * MIB)


def test_s9_threads_of_several_stores_do_not_hang(samba: SambaServer, folder: str) -> None:
    stores = [opened(samba, folder) for _ in range(4)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: stores[n % 4].put_new(f"packs/{n}", b"%d" % n * 1000), range(80)))
        got = list(pool.map(lambda n: stores[n % 3].get(f"packs/{n}"), range(80)))

    assert got == [b"%d" % n * 1000 for n in range(80)]
    for store in stores:
        store.close()


def test_s9_after_a_fork_child_and_parent_both_go_on(samba: SambaServer, folder: str) -> None:
    script = (
        "import os, sys; from safebackup.storage import open_store; url, user, password = sys.argv[1:]\n"
        "store = open_store(url, storage_options={'username': user, 'password': password})\n"
        "store.put_new('one', b'1')\n"
        "child = os.fork()\n"
        "store.put_new('child' if child == 0 else 'parent', b'1')\n"
        "if child == 0: sys.exit(len(store.list('')) not in (2, 3))\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert [info.name for info in store.list('')] == ['child', 'one', 'parent']"
    )

    subprocess.run([sys.executable, "-c", script, samba.url(folder), USER, SECRET], check=True, timeout=60)


def test_s6_names_that_windows_keeps_for_itself_can_be_stored_and_listed(samba: SambaServer, folder: str) -> None:
    names = ["aux.x/one", "com1", "lpt9.a.b", "nul", "packs./one"]
    store = opened(samba, folder)

    for name in names:
        store.put_new(name, b"1")

    assert store.list("") == [ObjectInfo(name, 1) for name in names]
    for name in names:
        assert store.get(name) == b"1"
        store.delete(name)
    assert store.list("") == []


def test_a_transport_lists_what_is_no_object_too(samba: SambaServer, folder: str) -> None:
    names = ["Upper Case", "ü/ß", "a%41b", "a#b", "tmp/others", ".hidden", "a!b", "nullo!"]
    for name in names:
        path = samba.program.folder / "data" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())

    transport = transport_of(samba.url(folder), samba.options, LIMITS)
    listed = {each.path: each for each in transport.entries("")}

    assert sorted(listed) == sorted(names)
    for name in names:
        assert transport.read(name, 0, 100) == name.encode()
        assert transport.look(name) == listed[name]
    transport.close()


def test_secrets_are_shown_nowhere(samba: SambaServer, folder: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="safebackup")
    store = opened(samba, folder, limits=HASTY, password=f"{SECRET}-wrong")
    with pytest.raises(StorageError) as caught:
        store.get("one")

    assert SECRET not in f"{store!r} {store.url} {caught.value!r} {caught.value.hint} {caplog.text}"
    with pytest.raises(ConfigurationError):
        pickle.dumps(store)
