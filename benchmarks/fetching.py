"""The programs of others, fetched into a folder of our own: nothing is installed on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.tools import Programs, said

BORG_NEEDS = "build-essential libacl1-dev liblz4-dev libssl-dev libxxhash-dev libzstd-dev pkg-config python3-dev"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def find_programs(wanted: set[str], folder: Path, *, offline: bool) -> tuple[Programs, list[str]]:
    """What the tools that are wanted need, and a line about each that is not to be had.

    RESTIC and BORG in the environment come first. Offline, nothing is fetched: those on the PATH are taken.
    """
    missing: list[str] = []

    def had(tools: set[str], find: Callable[[], str]) -> str | None:
        if not tools & wanted:
            return None
        try:
            return find()
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(f"left out: {' and '.join(sorted(tools & wanted))}: {reason(error)}")
            return None

    restic = partial(program, "restic", ["version"], None if offline else partial(fetch_restic, folder / "restic"))
    borg = partial(program, "borg", ["--version"], None if offline else partial(fetch_borg, folder / "borg"))
    found = Programs(
        restic=had({"restic"}, restic), borg=had({"borg", "borg-plain"}, borg), tar_and_zstd=had({"tar"}, tar_and_zstd)
    )
    return found, missing


def program(name: str, asked: list[str], fetch: Callable[[], Path] | None) -> str:
    """The path of a program that runs."""
    path = os.environ.get(name.upper()) or (str(fetch()) if fetch else shutil.which(name))
    if path is None:
        raise OSError("it is not on the PATH, and with --offline nothing is fetched")
    said([path, *asked])
    return path


def tar_and_zstd() -> str:
    """The versions of the two."""
    return f"{said(['tar', '--version'])}, {said(['zstd', '-V']).strip('* ')}"


def reason(error: OSError | subprocess.CalledProcessError) -> str:
    """Why a program could not be had, in a line."""
    complaint = getattr(error, "stderr", None) or getattr(error, "strerror", None) or str(error)
    return " | ".join([line for line in complaint.splitlines() if line.strip()][-2:])


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def fetch_restic(folder: Path) -> Path:
    """The newest restic in Debian's archive, from the mirror that this machine uses, with lists of its own."""
    program = folder / "root" / "usr" / "bin" / "restic"
    if program.exists():
        return program
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("lists/partial", "cache/archives/partial", "sources.d"):
        (folder / part).mkdir(parents=True)
    signed = f" [signed-by={KEYRING}]" if KEYRING.exists() else ""
    (folder / "sources.list").write_text(f"deb{signed} {debian_mirror(folder)} sid main\n", encoding="utf-8")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "sources.d",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in settings.items())]
    run([*apt, "update"], folder)
    run([*apt, "download", "restic/sid"], folder)
    run(["dpkg", "-x", str(next(folder.glob("restic_*.deb"))), str(folder / "root")], folder)
    return program


def debian_mirror(folder: Path) -> str:
    """Where apt on this machine gets Debian's main archive from."""
    form = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    for line in run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"], folder).splitlines():
        uri = line.split()[0]
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise OSError("apt on this machine names no mirror of Debian's archive; set RESTIC=/path/to/restic")


def fetch_borg(folder: Path) -> Path:
    """The newest borg 1 from PyPI, built here in an environment of its own."""
    program = folder / "bin" / "borg"
    if program.exists():
        return program
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "venv", str(folder)], folder.parent)
    try:
        run([str(folder / "bin" / "pip"), "install", "-q", "borgbackup<2"], folder)
    except subprocess.CalledProcessError as error:
        raise OSError(f"borgbackup<2 could not be built; on Debian it needs {BORG_NEEDS}") from error
    return program
