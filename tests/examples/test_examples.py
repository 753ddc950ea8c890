"""Each example is copied, given other settings as its reader would, and run as a program."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from safebackup import KeyFile, Repository, restore
from tests.postgres import Cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def copied(name: str, to: Path, **settings: object) -> Path:
    """The example with other settings: each must be there, once, at the top."""
    text = (EXAMPLES / name).read_text()
    for setting, value in settings.items():
        lines = re.findall(rf"(?m)^{setting}\b.*$", text)
        assert len(lines) == 1, f"{setting} stands {len(lines)} times in {name}"
        text = text.replace(lines[0], f"{setting} = {value!r}")
    script = to / name
    script.write_text(text)
    return script


def run(script: Path, *, status: int, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=more or None)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def key(tmp_path: Path) -> str:
    return KeyFile.create(tmp_path / "key").path


@pytest.fixture
def repository(tmp_path: Path, key: str) -> str:
    return Repository.create(tmp_path / "repository", key=KeyFile(key)).url.removeprefix("file://")


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_says_what_it_needs_and_how_it_ends(name: str) -> None:
    text = (EXAMPLES / name).read_text()

    assert re.search(r"(?m)^# /// script\n# requires-python = .*\n# dependencies = \[.*\]\n# ///$", text)
    documentation = ast.get_docstring(ast.parse(text))
    assert documentation and "Exit status: 0 " in documentation
    assert len(text.splitlines()) <= 100
    assert name == "demo.py" or "\n# Settings\n" in text


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "demo.py"])
def test_an_example_whose_settings_nobody_changed_says_what_is_missing(name: str) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, check=False)

    # A tar needs no repository: there the package for the bucket is missing, or its credentials are.
    assert done.returncode in ((2, 75) if name == "tar_to_bucket.py" else (10,))
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "demo.py"])
def test_the_line_for_cron_names_the_python_that_has_safebackup(name: str) -> None:
    documentation = ast.get_docstring(ast.parse((EXAMPLES / name).read_text())) or ""

    lines = re.findall(r"(?m)^ +[\d*]+ [\d*]+ [\d*]+ [\d*]+ [\d*]+ +\w+ +(.*)$", documentation)

    assert lines == [f"/opt/safebackup/.venv/bin/python /usr/local/bin/{name}"]


def test_the_nightly_directory_is_destroyed_and_comes_back(tmp_path: Path, repository: str, key: str) -> None:
    orders = tmp_path / "orders"
    (orders / "2026").mkdir(parents=True)
    (orders / "2026" / "11.csv").write_text("17;paid\n")
    (orders / "half.tmp").write_text("half")
    settings = {"REPOSITORY": repository, "KEY_FILE": key, "DIRECTORY": str(orders)}
    script = copied("nightly_directory.py", tmp_path, **settings)

    done = run(script, status=0)
    shutil.rmtree(orders)
    restore(Repository.open(repository, key=KeyFile(key)).snapshot(source="orders"), to=orders)

    assert (done.stdout, done.stderr) == ("", ""), "cron would mail this every night"
    assert [path.name for path in sorted(orders.rglob("*"))] == ["2026", "11.csv"]
    assert (orders / "2026" / "11.csv").read_text() == "17;paid\n"


def test_the_nightly_directory_says_when_its_source_is_gone_and_where_damage_is(
    tmp_path: Path, repository: str, key: str
) -> None:
    orders = tmp_path / "orders"
    orders.mkdir()
    settings = {"REPOSITORY": repository, "KEY_FILE": key, "DIRECTORY": str(orders)}
    script = copied("nightly_directory.py", tmp_path, **settings)

    empty = run(script, status=4)
    (orders / "a").write_text("a")
    run(script, status=0)
    for pack in Path(repository, "data").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:-1] + b"!")
    (orders / "b").write_text("b")
    damaged = next(done for done in (attempt(script) for _ in range(25)) if done.returncode == 5)

    assert "empty" in empty.stderr
    assert "error: " in damaged.stderr


def attempt(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)


def test_a_database_streamed_into_a_repository_comes_back(
    tmp_path: Path, repository: str, key: str, cluster: Cluster
) -> None:
    cluster.sql("create database orders")
    cluster.sql("create table orders(id int primary key, what text)", database="orders")
    cluster.sql("insert into orders select n, md5(n::text) from generate_series(1, 5000) n", database="orders")
    settings = {"REPOSITORY": repository, "KEY_FILE": key, "DATABASE": "orders", "CONNECTION": cluster.connection}
    script = copied("pg_dump_stream.py", tmp_path, **settings)

    run(script, status=0, **cluster.environment)
    cluster.sql("drop database orders")
    restore(Repository.open(repository, key=KeyFile(key)).snapshot(source="orders"), to=tmp_path / "copy")
    cluster.run("pg_restore", "--create", "-d", "postgres", str(tmp_path / "copy" / "orders.dump"))

    assert "CREATE ROLE" in (tmp_path / "copy" / "roles.sql").read_text()
    assert cluster.sql("select count(*), max(id) from orders", database="orders") == "5000|5000"


def test_a_database_that_is_not_there_publishes_nothing(
    tmp_path: Path, repository: str, key: str, cluster: Cluster
) -> None:
    settings = {"REPOSITORY": repository, "KEY_FILE": key, "DATABASE": "nowhere", "CONNECTION": cluster.connection}
    script = copied("pg_dump_stream.py", tmp_path, **settings)

    done = run(script, status=1, **cluster.environment)

    assert 'database "nowhere" does not exist' in done.stderr
    assert not Repository.open(repository, key=KeyFile(key)).snapshots()


@pytest.mark.parametrize(
    ("dumping", "status", "says"),
    [
        pytest.param("echo rows | gzip > orders.tar.gz", 5, "not whole", id="no dump at all"),
        pytest.param("false | gzip > orders.tar.gz", 5, "not whole", id="twenty bytes of a failed dump"),
        pytest.param("true", 3, "older than this run", id="yesterday's"),
        pytest.param("exit 3", 1, "3", id="the script failed"),
        pytest.param("tar -cf - $0 2>/dev/null | gzip > orders.tar.gz", 0, "", id="whole"),
    ],
)
def test_a_wrapped_script_is_believed_only_when_its_dump_is_whole(
    tmp_path: Path, repository: str, key: str, dumping: str, status: int, says: str
) -> None:
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    old = dumps / "orders.tar.gz"
    old.write_bytes(b"yesterday")
    subprocess.run(["touch", "-d", "yesterday", old], check=True)
    bash = tmp_path / "dump.sh"
    bash.write_text(f"cd {dumps}\n{dumping}\n")
    settings = {
        "SCRIPT": ["bash", str(bash)],
        "EXPECTED": ["orders.tar.gz"],
        "REPOSITORY": repository,
        "KEY_FILE": key,
    }
    script = copied("wrap_a_script.py", tmp_path, **settings)
    script.write_text(script.read_text().replace('Path("/var/backups/dumps")', f"Path({str(dumps)!r})"))

    done = run(script, status=status)

    assert says in done.stderr
    assert len(Repository.open(repository, key=KeyFile(key)).snapshots()) == (1 if status == 0 else 0)


def test_a_tar_in_a_folder_is_read_by_tar_alone(tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text("<h1>shop</h1>\n")
    settings = {
        "URL": f"file://{tmp_path}/web-{{utc}}.tar.zst",
        "PATHS": [str(web)],
        "DUMPS": {"packages.txt": ["echo", "bash install"]},
    }

    done = run(copied("tar_to_bucket.py", tmp_path, **settings), status=0)
    (written,) = tmp_path.glob("web-*.tar.zst")
    (tmp_path / "copy").mkdir()
    subprocess.run(["tar", "-I", "zstd", "-xf", written, "-C", tmp_path / "copy"], check=True)

    assert written.name in done.stdout
    assert (tmp_path / "copy" / "web" / "index.html").read_text() == "<h1>shop</h1>\n"
    assert (tmp_path / "copy" / "packages.txt").read_text() == "bash install\n"


@pytest.mark.parametrize(
    ("dumping", "status", "says"),
    [("true", 4, "wrote nothing"), ("exit 1", 1, "status 1")],
    ids=["an empty dump", "a dump that failed"],
)
def test_a_dump_that_is_none_leaves_no_tar_and_ends_as_the_header_says(
    tmp_path: Path, dumping: str, status: int, says: str
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<h1>shop</h1>\n")
    settings = {
        "URL": f"file://{tmp_path}/web-{{utc}}.tar.zst",
        "PATHS": [str(tmp_path / "web")],
        "DUMPS": {"packages.txt": ["sh", "-c", dumping]},
    }

    done = run(copied("tar_to_bucket.py", tmp_path, **settings), status=status)

    assert says in done.stderr
    assert not list(tmp_path.glob("web-*"))
    assert status in statuses_in_header("tar_to_bucket.py")


def test_a_folder_that_cannot_be_read_leaves_no_tar_and_ends_as_the_header_says() -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and there is no setpriv")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "web" / "closed").mkdir(parents=True)
        (folder / "web" / "index.html").write_text("<h1>shop</h1>\n")
        (folder / "web" / "closed").chmod(0)
        (folder / "bucket").mkdir()
        (folder / "bucket").chmod(0o777)
        folder.chmod(0o755)
        settings = {"URL": f"file://{folder}/bucket/web-{{utc}}.tar.zst", "PATHS": [f"{folder}/web"], "DUMPS": {}}
        script = copied("tar_to_bucket.py", folder, **settings)

        done = subprocess.run([*nobody, sys.executable, script], capture_output=True, text=True, check=False)

        (folder / "web" / "closed").chmod(0o700)
        assert done.returncode == 4, done.stderr
        assert "could not be read whole" in done.stderr
        assert not list((folder / "bucket").iterdir())
    assert statuses_in_header("tar_to_bucket.py") == {0, 1, 4}


def statuses_in_header(name: str) -> set[int]:
    """The exit statuses that the documentation of an example speaks of."""
    documentation = ast.get_docstring(ast.parse((EXAMPLES / name).read_text())) or ""
    (sentence,) = re.findall(r"(?s)Exit status: (.*?); all of them", documentation)
    return {int(number) for number in re.findall(r"(?:^|, )(\d+) ", " ".join(sentence.split()))}


def orders_with(folder: Path, count: int) -> Path:
    folder.mkdir()
    (folder / "settings.toml").write_text("currency = 'NGN'\n")
    with closing(sqlite3.connect(folder / "orders.db")) as database:
        database.execute("create table orders(id integer)")
        database.executemany("insert into orders values (?)", [(number,) for number in range(count)])
        database.commit()
    return folder


@pytest.mark.parametrize(("count", "status", "outcome"), [(3, 0, "proved"), (0, 6, "failed")])
def test_a_drill_proves_what_came_back_and_sees_what_did_not(
    tmp_path: Path, repository: str, key: str, count: int, status: int, outcome: str
) -> None:
    from safebackup import Source, back_up

    opened = Repository.open(repository, key=KeyFile(key))
    back_up(Source(orders_with(tmp_path / "orders", count), name="orders"), into=opened)
    script = copied("weekly_drill.py", tmp_path, REPOSITORY=repository, KEY_FILE=key)

    done = run(script, status=status)

    assert done.stdout.startswith(f"{outcome}: ")
    assert (opened.snapshot().standing == "proven") == (count > 0)
