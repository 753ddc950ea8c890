"""The tools that are measured, and the commands that they are given for each step."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from benchmarks.measuring import Command
from safebackup import __version__ as safebackup_version

Action: TypeAlias = Literal["init", "backup", "list", "verify", "restore"]
Sealing: TypeAlias = Literal["sealed", "plain"]
HERE = Path(__file__).parent
PASSWORD = "benchmark"


@attrs.frozen
class Place:
    """What a command works on. `number` counts the backups that were begun; `sparse` asks for holes when restoring."""

    home: Path
    source: Path
    target: Path
    number: int = 0
    sparse: bool = False


@attrs.frozen
class Tool:
    """One that is measured. `command` is None for what it does not have; `seconds` is how exactly it keeps times."""

    id: str
    title: str
    sealing: Sealing
    version: str
    command: Callable[[Action, Place], Command | None] = attrs.field(repr=False)
    seconds: float = 0.0
    counts: bool = False  # its steps print how often they called the store


@attrs.frozen(kw_only=True)
class Programs:
    """Where the programs of others are; None is one that is not to be had."""

    restic: str | None
    borg: str | None
    tar_and_zstd: str | None


def all_tools(programs: Programs) -> list[Tool]:
    """Those that can be run here."""
    python = f"Python {platform.python_version()}"
    ours = f"{safebackup_version}, {python}"
    tools = [
        Tool("safebackup", "safebackup sealed", "sealed", ours, safebackup("sealed"), counts=True),
        Tool("safebackup-plain", "safebackup plain", "plain", ours, safebackup("plain"), counts=True),
    ]
    if programs.restic:
        tools.append(Tool("restic", "restic", "sealed", said([programs.restic, "version"]), restic(programs.restic)))
    if programs.borg:
        built = said([programs.borg, "--version"])
        tools.append(Tool("borg", "borg repokey", "sealed", built, borg(programs.borg, "repokey")))
        tools.append(Tool("borg-plain", "borg none", "plain", built, borg(programs.borg, "none")))
    if programs.tar_and_zstd:
        tools.append(Tool("tar", "tar and zstd -3", "plain", programs.tar_and_zstd, tar_and_zstd, seconds=1))
    script = f"tarfile of {python}, zstandard {version('zstandard')}"
    return [*tools, Tool("script", "Python script", "plain", script, plain_script, seconds=1e-6)]


TOOL_IDS = ("safebackup", "safebackup-plain", "restic", "borg", "borg-plain", "tar", "script")


def said(command: Iterable[str]) -> str:
    """The first line that a command prints."""
    printed = subprocess.run([*command], capture_output=True, text=True, check=True).stdout
    return printed.partition("\n")[0].strip()


def safebackup(sealing: Sealing) -> Callable[[Action, Place], Command]:
    """This library, from a script of a few lines; sealed with a key file."""

    def command(action: Action, place: Place) -> Command:
        script = str(HERE / "safebackup_steps.py")
        where = (str(place.home), str(place.source), str(place.target))
        return Command((sys.executable, "-P", script, action, sealing, *where), place.home)

    return command


def restic(program: str) -> Callable[[Action, Place], Command]:
    """restic, which always seals."""

    def command(action: Action, place: Place) -> Command:
        holes = ["--sparse"] if place.sparse else []
        verbs = {
            "init": ["init"],
            "backup": ["backup", "."],
            "list": ["snapshots"],
            "verify": ["check", "--read-data"],
            "restore": ["restore", "latest", "--target", str(place.target), *holes],
        }
        environment = {
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_REPOSITORY": str(place.home / "repository"),
            "RESTIC_CACHE_DIR": str(place.home / "cache"),
            "TMPDIR": str(place.home),
        }
        return Command((program, "-q", *verbs[action]), place.source, environment)

    return command


def borg(program: str, encryption: str) -> Callable[[Action, Place], Command]:
    """borg, told to compress as the others do."""

    def command(action: Action, place: Place) -> Command:
        holes = ["--sparse"] if place.sparse else []
        verbs = {
            "init": ["init", "--encryption", encryption],
            "backup": ["create", "--compression", "zstd,3", f"::{place.number}", "."],
            "list": ["list"],
            "verify": ["check", "--verify-data"],
            "restore": ["extract", *holes, f"::{place.number}"],
        }
        environment = {
            "BORG_REPO": str(place.home / "repository"),
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(place.home / "borg"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_DISPLAY_PASSPHRASE": "no",
            "TMPDIR": str(place.home),
        }
        folder = place.target if action == "restore" else place.source
        return Command((program, *verbs[action]), folder, environment)

    return command


def tar_and_zstd(action: Action, place: Place) -> Command | None:
    """A new file each time; of those the newest is verified, without a comparison to anything."""
    scripts = {
        "backup": 'tar -S -cf - . | zstd -q -3 -T0 > "$FILE"',
        "verify": 'zstd -q -t "$FILE"',
        "restore": 'zstd -q -dc "$FILE" | tar -xpf - -C "$TARGET"',
    }
    if action not in scripts:
        return None
    environment = {"FILE": str(tar_file(place)), "TARGET": str(place.target)}
    return Command(("bash", "-o", "pipefail", "-c", scripts[action]), place.source, environment)


def plain_script(action: Action, place: Place) -> Command | None:
    """A new file each time, as with tar."""
    if action not in ("backup", "verify", "restore"):
        return None
    where = (str(tar_file(place)), str(place.source), str(place.target))
    return Command((sys.executable, "-P", str(HERE / "plain_script.py"), action, *where), place.home)


def tar_file(place: Place) -> Path:
    """The newest backup of those tools that write a file each time."""
    return place.home / "repository" / f"{place.number}.tar.zst"
