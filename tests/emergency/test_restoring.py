"""Restoring with nothing but the script: what comes out is what went in, on a machine without safebackup."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import msgspec
import pytest

from safebackup import KeyFile, Passphrase, Repository, Source, back_up
from safebackup.format.sealing import Keyring
from safebackup.repository.keys import Key, build_slot, next_epoch, unlock
from tests.attack.world import tree_of
from tests.emergency.running import require_no_traceback, run, script_in
from tests.golden import make_golden
from tests.golden.make_golden import HERE
from tests.test_golden import NAMES, _comparable, _listings

PHRASE = "correct horse battery staple ü"
UNCHECKED = "pieces of content ARE NOT CHECKED"


def golden_copy(name: str, folder: Path) -> tuple[Path, list[str]]:
    """A golden repository to be written to, and the arguments that open it."""
    shutil.copytree(HERE / name, folder / name)
    files = {"--passphrase-file": HERE / f"{name}.passphrase", "--key-file": HERE / f"{name}.keyfile"}
    return folder / name, [str(part) for option, path in files.items() if path.exists() for part in (option, path)]


@pytest.mark.parametrize("name", NAMES)
def test_golden_repositories_are_restored_where_safebackup_is_not(name: str, bare_python: Path, tmp_path: Path) -> None:
    repository, key = golden_copy(name, tmp_path)
    listings = _listings(name)
    listed = run(repository, "snapshots", *key, python=bare_python)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [one[:12] for one in listings]
    for snapshot in listings:
        target = tmp_path / "targets" / snapshot
        done = run(repository, "restore", snapshot[:10], target, *key, python=bare_python)
        assert done.returncode == 0, done.stderr
        assert _comparable(make_golden.list_tree(target)) == _comparable(listings[snapshot])
        assert done.stderr.count(UNCHECKED) == 1  # this machine has no blake3
    checked = run(repository, "verify", *key, python=bare_python)
    assert (checked.returncode, checked.stderr.count(UNCHECKED)) == (0, 1)


def make_key(kind: str, folder: Path) -> tuple[Key | None, list[str]]:
    """A key, and the arguments that give it to the script."""
    if kind == "passphrase":
        (folder / "phrase").write_text(PHRASE + "\n", encoding="utf-8")
        return Passphrase(PHRASE), ["--passphrase-file", str(folder / "phrase")]
    if kind == "key file":
        return KeyFile.create(folder / "key"), ["--key-file", str(folder / "key")]
    return None, []


def make_tree(root: Path, repository: Repository) -> None:
    """Everything that golden repositories have, and what is deep, wide, or refuses its owner."""
    make_golden.make_tree(root, repository.chunker)
    deep = root / "deep"
    for level in range(150):
        deep = deep / f"level {level}"
    deep.mkdir(parents=True)
    (deep / "at the bottom").write_bytes(b"still found\n")
    os.link(deep / "at the bottom", root / "zz at the top")
    (root / "deep" / "level 0" / "zz behind").write_bytes(b"after a long way down\n")
    (root / "locked").mkdir()
    (root / "locked" / "inside").write_bytes(b"in a folder that takes nothing new\n")
    os.chmod(root / "locked", 0o555)
    (root / "random").write_bytes(os.urandom(9 << 20))


@pytest.mark.parametrize("kind", ["plain", "passphrase", "key file"])
def test_a_fresh_repository_is_restored_byte_for_byte(kind: str, bare_python: Path, tmp_path: Path) -> None:
    key, arguments = make_key(kind, tmp_path)
    repository = Repository.create(tmp_path / "repository", key=key)
    make_tree(tmp_path / "tree", repository)
    back_up(tmp_path / "tree", into=repository)

    done = run(tmp_path / "repository", "restore", "latest", tmp_path / "target", *arguments, python=bare_python)

    assert done.returncode == 0, done.stderr
    assert tree_of(tmp_path / "target") == tree_of(tmp_path / "tree")
    assert (tmp_path / "target" / "only a hole").stat().st_blocks * 512 < 1 << 20


def test_verify_reads_everything_and_says_so(bare_python: Path, tmp_path: Path) -> None:
    repository, key = golden_copy("sealed-passphrase-1", tmp_path)
    done = run(repository, "verify", *key, python=bare_python)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": whole\n") == 3
    assert "0 damaged objects, 0 lost paths" in done.stdout


def test_with_blake3_nothing_is_said_of_unchecked_content(tmp_path: Path) -> None:
    repository, _ = golden_copy("plain-1", tmp_path)
    done = run(repository, "restore", "latest", tmp_path / "target")
    assert done.returncode == 0
    assert UNCHECKED not in done.stderr


# Parts of a snapshot


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository of a small tree."""
    source = tmp_path / "source"
    (source / "etc" / "nginx").mkdir(parents=True)
    (source / "etc" / "nginx" / "site").write_bytes(b"server {}\n")
    (source / "etc" / "nginx.conf").write_bytes(b"not in the folder\n")
    (source / "etc" / "hosts").write_bytes(b"::1 localhost\n")
    (source / "\x1b[2Jred").write_bytes(b"a name that clears the screen\n")
    back_up(Source(source, name="etc"), into=Repository.create(tmp_path / "repository", key=None))
    return tmp_path / "repository"


def found_in(target: Path) -> set[str]:
    return {str(path.relative_to(target)) for path in target.rglob("*")}


@pytest.mark.parametrize("path", ["etc/nginx", "./etc//nginx/", "ABSOLUTE/etc/nginx"])
def test_one_folder_comes_with_the_folders_above_it_and_nothing_else(small: Path, path: str, tmp_path: Path) -> None:
    path = path.replace("ABSOLUTE", str(tmp_path / "source"))
    done = run(small, "restore", "latest", tmp_path / "target", "--path", path)
    assert done.returncode == 0, done.stderr
    assert found_in(tmp_path / "target") == {"etc", "etc/nginx", "etc/nginx/site"}
    expected = tree_of(tmp_path / "source")
    assert {path: seen for path, seen in tree_of(tmp_path / "target").items() if seen != expected[path]} == {}


def test_several_paths_are_restored_together(small: Path, tmp_path: Path) -> None:
    done = run(small, "restore", "latest", tmp_path / "target", "--path", "etc/nginx.conf", "--path", "etc/hosts")
    assert done.returncode == 0, done.stderr
    assert found_in(tmp_path / "target") == {"etc", "etc/nginx.conf", "etc/hosts"}


@pytest.mark.parametrize("path", ["etc/apache", "etc/nginx/site/below", "../etc", "etc/ngin"])
def test_a_path_that_is_not_there_is_told_before_anything_is_written(small: Path, path: str, tmp_path: Path) -> None:
    done = run(small, "restore", "latest", tmp_path / "target", "--path", path)
    assert done.returncode == 2
    assert path.rpartition("/")[2] in done.stderr
    assert not (tmp_path / "target").exists()


def test_ls_shows_a_folder_and_never_what_a_terminal_would_obey(small: Path) -> None:
    everything = run(small, "ls", "latest").stdout
    assert [line.split()[-1] for line in run(small, "ls", "latest", "etc/nginx").stdout.splitlines()] == [
        "etc/nginx",
        "etc/nginx/site",
    ]
    assert len(everything.splitlines()) == 7
    assert "\\x1b[2Jred" in everything
    assert "\x1b" not in everything


def test_a_program_that_stops_reading_makes_no_noise(small: Path) -> None:
    script = script_in(small)
    command = f"for i in 1 2 3; do {sys.executable} {script} ls latest; done | true"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert "Error" not in done.stderr


# Asking for a snapshot


def test_latest_is_the_newest_and_says_that_there_are_other_sources(small: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"of another source")
    newest = back_up(Source(tmp_path / "other", name="other"), into=Repository.open(small, key=None)).snapshot
    done = run(small, "restore", "latest", tmp_path / "target")
    assert done.returncode == 0
    assert newest.id[:12] in done.stdout
    assert "other sources too: etc" in done.stderr


@pytest.mark.parametrize("snapshot", ["0123456789abcdef", "", "newest"])
def test_a_snapshot_that_is_not_there_is_a_mistake_of_the_caller(small: Path, snapshot: str, tmp_path: Path) -> None:
    done = run(small, "restore", snapshot, tmp_path / "target")
    assert done.returncode == 2
    assert "0 snapshots match" in done.stderr
    assert not (tmp_path / "target").exists()


def test_a_repository_without_snapshots_says_so(tmp_path: Path) -> None:
    Repository.create(tmp_path / "repository", key=None)
    assert run(tmp_path / "repository", "snapshots").returncode == 0
    done = run(tmp_path / "repository", "restore", "latest", tmp_path / "target")
    assert done.returncode == 1
    assert "there is no snapshot yet" in done.stderr


# The target


def test_a_target_that_holds_something_is_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "precious").write_bytes(b"mine")
    done = run(small, "restore", "latest", tmp_path / "target")
    assert done.returncode == 2
    assert found_in(tmp_path / "target") == {"precious"}


def test_a_target_in_the_repository_is_refused(small: Path, tmp_path: Path) -> None:
    os.symlink(small, tmp_path / "link")
    for repository, target in ((small, small), (small, tmp_path / "link"), (tmp_path / "link", small)):
        done = run(small, "restore", "latest", target / "restored", "--repository", repository)
        assert done.returncode == 2
        assert "lies in the repository" in done.stderr
    assert not (small / "restored").exists()


def test_a_target_that_is_a_link_is_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "target")
    for target in (f"{tmp_path}/target", f"{tmp_path}/target/"):
        assert run(small, "restore", "latest", target).returncode == 2
    assert found_in(tmp_path / "elsewhere") == set()


def test_an_empty_folder_is_a_target(small: Path, tmp_path: Path) -> None:
    (tmp_path / "target" / "lost+found").mkdir(parents=True)
    assert run(small, "restore", "latest", tmp_path / "target").returncode == 0
    assert (tmp_path / "target" / "etc" / "hosts").read_bytes() == b"::1 localhost\n"


def test_half_a_file_never_passes_for_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "large").write_bytes(os.urandom(3 << 20))
    (tmp_path / "tree" / "small").write_bytes(b"fits")
    back_up(tmp_path / "tree", into=Repository.create(tmp_path / "repository", key=None))
    script = script_in(tmp_path / "repository")
    command = f"ulimit -f 1024; trap '' XFSZ; {sys.executable} {script} restore latest {tmp_path}/target"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "LOST large: File too large" in done.stderr
    assert found_in(tmp_path / "target") == {"small"}


# Keys


def test_a_wrong_key_has_its_own_exit_status(tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("not this one\n")
    for name in ("sealed-passphrase-1", "sealed-keyfile-1"):
        repository, right = golden_copy(name, tmp_path)
        for option in ("--passphrase-file", "--key-file"):
            done = run(repository, "snapshots", option, tmp_path / "wrong")
            assert done.returncode == 12
            assert f"sealed with {'a passphrase' if name == 'sealed-passphrase-1' else 'a key file'}" in done.stderr
        assert run(repository, *right, "snapshots").returncode == 0


@pytest.mark.parametrize(
    ("name", "says"), [("sealed-passphrase-1", "--passphrase-file"), ("sealed-keyfile-1", "--key-file")]
)
def test_a_missing_key_is_asked_for_by_the_option_that_gives_it(name: str, says: str, tmp_path: Path) -> None:
    repository, _ = golden_copy(name, tmp_path)
    done = run(repository, "snapshots")
    assert done.returncode == 2
    assert says in done.stderr


def test_a_key_for_a_repository_that_is_not_sealed_is_suspicious(tmp_path: Path) -> None:
    """Somebody may have put another repository in the place of the sealed one."""
    repository, _ = golden_copy("plain-1", tmp_path)
    done = run(repository, "snapshots", "--passphrase-file", HERE / "sealed-passphrase-1.passphrase")
    assert done.returncode == 2
    assert "not sealed" in done.stderr


def test_a_key_file_that_is_not_there_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    repository, _ = golden_copy("sealed-keyfile-1", tmp_path)
    done = run(repository, "snapshots", "--key-file", tmp_path / "nothing")
    assert done.returncode == 2
    assert "No such file" in done.stderr


def test_at_a_terminal_the_passphrase_is_asked_for_and_not_shown(bare_python: Path, tmp_path: Path) -> None:
    repository, _ = golden_copy("sealed-passphrase-1", tmp_path)
    ours, theirs = pty.openpty()
    # In a session of its own, the first terminal that is opened becomes the one that it asks at.
    command: list[str | Path] = [
        "sh",
        "-c",
        'exec "$0" "$@" <' + os.ttyname(theirs),
        bare_python,
        script_in(repository),
        "snapshots",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        asked = b""
        while b"Passphrase of the repository: " not in asked:
            asked += os.read(ours, 1000)
        os.write(ours, PHRASE.encode() + b"\n")
        out, err = child.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == 0, err
    assert len(out.splitlines()) == 3
    assert PHRASE not in out + err


def test_the_epochs_of_all_slots_that_a_key_opens_are_united(tmp_path: Path) -> None:
    key = KeyFile.create(tmp_path / "key")
    repository = Repository.create(tmp_path / "repository", key=key)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "first").write_bytes(b"sealed in epoch 1")
    back_up(tmp_path / "tree", into=repository)
    old = unlock(
        repository.store, bytes.fromhex(repository.id), key, configuration=repository.configurations.founding_name
    )
    new = next_epoch(old, repository.runtime)
    half = msgspec.structs.replace(new, classes={max(new.classes): new.classes[max(new.classes)]})
    slot = build_slot(bytes.fromhex(repository.id), half, key, repository.runtime)
    repository.store.put_new(slot.name, slot.data)
    both = Keyring(identity=new.identity, chunker_seed=new.chunker_seed, classes=new.classes)
    (tmp_path / "tree" / "second").write_bytes(b"sealed in the next epoch")
    back_up(tmp_path / "tree", into=attrs.evolve(repository, keyring=both))

    done = run(tmp_path / "repository", "restore", "latest", tmp_path / "target", "--key-file", tmp_path / "key")

    assert done.returncode == 0, done.stderr
    assert tree_of(tmp_path / "target") == tree_of(tmp_path / "tree")


# The machine


def test_without_zstandard_it_says_what_to_install(empty_python: Path, tmp_path: Path) -> None:
    repository, _ = golden_copy("plain-1", tmp_path)
    done = run(repository, "snapshots", python=empty_python)
    assert done.returncode == 1
    assert "pip install zstandard" in done.stderr
    require_no_traceback(done)


def test_what_lies_beside_the_script_is_not_imported(bare_python: Path, tmp_path: Path) -> None:
    repository, _ = golden_copy("plain-1", tmp_path)
    for module in ("zstandard", "blake3", "argparse", "cryptography", "safebackup"):
        (repository / f"{module}.py").write_text("raise SystemExit('planted')\n")
    for python in (bare_python, sys.executable):
        done = run(repository, "snapshots", python=python)
        assert "planted" not in done.stderr
    assert run(repository, "snapshots", python=bare_python).returncode == 0


def test_the_repository_is_only_read(tmp_path: Path) -> None:
    repository, _ = golden_copy("plain-1", tmp_path)
    script_in(repository)
    before = tree_of(repository)
    for command in (["snapshots"], ["ls", "latest"], ["restore", "latest", tmp_path / "target"], ["verify"]):
        assert run(repository, *command).returncode == 0
    assert tree_of(repository) == before


@pytest.mark.parametrize("arguments", [[], ["restore"], ["restore", "latest"], ["frobnicate"], ["ls"], ["--what"]])
def test_what_is_no_command_has_status_2(arguments: list[str], tmp_path: Path) -> None:
    repository, _ = golden_copy("plain-1", tmp_path)
    done = run(repository, *arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_where_no_repository_is_it_says_so(tmp_path: Path) -> None:
    repository, _ = golden_copy("plain-1", tmp_path)
    (tmp_path / "empty").mkdir()
    for elsewhere in (tmp_path / "empty", tmp_path / "nothing"):
        done = run(repository, "snapshots", "--repository", elsewhere)
        assert done.returncode == 10
        assert "no repository" in done.stderr
    done = run(repository, "--repository", "s3://bucket/path", "snapshots")
    assert done.returncode == 2
    assert "copy the repository to a disk first" in done.stderr


def test_a_repository_elsewhere_is_named(tmp_path: Path) -> None:
    repository, _ = golden_copy("plain-1", tmp_path)
    script = script_in(repository).rename(tmp_path / "script.py")
    for where in (str(repository), f"file://{repository}"):
        command: list[str | Path] = [sys.executable, script, "snapshots", "--repository", where]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
