"""From options, variables and prompts to an open repository. No secret is ever read from an argument."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from safebackup.cli.options import REPOSITORY_VARIABLE, Pace, Where
from safebackup.cli.output import note
from safebackup.cli.running import stopping
from safebackup.cli.sizes import parse_size
from safebackup.cli.storage_options import storage_options_of
from safebackup.errors import Code, ConfigurationError, SafeBackupError

if TYPE_CHECKING:
    from safebackup.repository import KeyFile, Passphrase, Repository

_NICER = 10


def repository_url(where: Where, named: str | None = None) -> str:
    """The repository that the command line names, or the environment.

    Raises:
        ConfigurationError: none of them does, or the command line does it twice.
    """
    if named is not None and where.repository is not None:
        raise ConfigurationError(
            f"two repositories are named: {named} and {where.repository}", hint="Name the one that you mean."
        )
    url = named if named is not None else where.repository
    if url is None:
        url = os.environ.get(REPOSITORY_VARIABLE)
    if not url:
        raise ConfigurationError(
            "no repository is named" if url is None else "the repository is empty text: was a variable not set?",
            code=Code.BAD_URL,
            hint=f"Write --repository URL, such as --repository /srv/backups/orders, or set {REPOSITORY_VARIABLE}.",
        )
    return url


def given_key(where: Where) -> Passphrase | KeyFile | None:
    """The key that the command line names; if it names none, the one that the environment does; else None.

    Raises:
        ConfigurationError: two are named, or what is named is no key.
    """
    from safebackup.repository import KeyFile, Passphrase

    makers: dict[str, Callable[[str], Passphrase | KeyFile]] = {
        "--key-file": KeyFile,
        "--passphrase-file": Passphrase.from_file,
        "SAFEBACKUP_KEY_FILE": KeyFile,
        "SAFEBACKUP_PASSPHRASE_FILE": Passphrase.from_file,
        "SAFEBACKUP_PASSPHRASE": Passphrase,
    }
    options = {"--key-file": where.key_file, "--passphrase-file": where.passphrase_file}
    named = {name: value for name, value in options.items() if value is not None}
    named = named or {name: os.environ[name] for name in makers if name not in options and os.environ.get(name)}
    if len(named) > 1:
        raise ConfigurationError(f"more than one key is given: {' and '.join(named)}", hint="Leave all but one out.")
    for name, value in named.items():
        if not value:
            raise ConfigurationError(
                f"{name} is empty text: was a variable not set?", code=Code.KEY_FILE_BAD, hint="Name the file."
            )
        return made_key(makers[name], value, name)
    return None


def made_key(make: Callable[[str], Passphrase | KeyFile], value: str, name: str) -> Passphrase | KeyFile:
    """The key that `make` makes of what `name`, an option or a variable, was given."""
    try:
        return make(value)
    except SafeBackupError as error:
        if error.code is Code.BAD_ARGUMENT:  # an empty one
            error.hint = f"Write it into the first line of the file that {name} names."
        elif error.code is Code.KEY_FILE_MISSING:  # a passphrase file: key files are not read yet
            error.hint = "Check the path, and whether its disk is mounted. Its first line is the passphrase."
        raise


def open_repository(where: Where, pace: Pace | None = None, *, reads_input: bool = False) -> Repository:
    """The repository that is meant, with the key that is given, or asked for where somebody sits at a terminal.

    `reads_input` where standard input is not the terminal because it is what is backed up.
    """
    return open_with_key(where, pace, reads_input=reads_input)[0]


def open_with_key(
    where: Where, pace: Pace | None = None, *, reads_input: bool = False
) -> tuple[Repository, Passphrase | KeyFile | None]:
    """The repository that is meant, and the key that opened it, or None where nothing is encrypted."""
    url, key = repository_url(where), given_key(where)
    begin_slowly(pace)
    try:
        return _attach(where, url, key, pace), key
    except SafeBackupError as error:
        if error.code is not Code.KEY_REQUIRED or key is not None or not can_ask(reads_input=reads_input):
            raise
    key = ask_passphrase()
    return _attach(where, url, key, pace), key


def storage_options(where: Where) -> dict[str, object]:
    """What was given for the repository's URL."""
    return storage_options_of("--storage-option", where.storage_option)


def _attach(where: Where, url: str, key: Passphrase | KeyFile | None, pace: Pace | None) -> Repository:
    from safebackup.repository import Repository

    options, allow = storage_options(where), where.allow_unproven_store
    if pace is None or pace.limit_bandwidth is None:
        return Repository.open(url, key=key, storage_options=options, allow_unproven_store=allow)
    from safebackup.repository.repository import attach
    from safebackup.repository.runtime import Runtime
    from safebackup.storage import open_store
    from safebackup.storage.throttling import throttled

    runtime = Runtime()
    limit = parse_size("--limit-bandwidth", pace.limit_bandwidth)
    store = open_store(url, storage_options=options, allow_unproven=allow)
    # Who is asked to end does not first sleep: the threads that wait are woken.
    slow = throttled(store, limit, runtime.clock, sleep=stopping.wait)
    return attach(slow, key=key, runtime=runtime)


def ask_passphrase(prompt: str = "Passphrase of the repository: ", *, twice: bool = False) -> Passphrase:
    """Ask at the terminal.

    Raises:
        ConfigurationError: nothing was typed, or not the same twice.
    """
    from getpass import getpass

    from safebackup.repository import Passphrase

    try:
        text = getpass(prompt)
        again = getpass("The same once more: ") if twice else text
    except EOFError:
        text = again = ""
    if not text:
        raise ConfigurationError("no passphrase was typed", code=Code.KEY_REQUIRED, hint="Nothing was begun.")
    if text != again:
        raise ConfigurationError("the two passphrases differ", code=Code.KEY_REQUIRED, hint="Try again.")
    return Passphrase(text)


def can_ask(*, reads_input: bool = False) -> bool:
    """Whether somebody sits at a terminal who can be asked."""
    return sys.stderr.isatty() and (reads_input or sys.stdin.isatty())


def begin_slowly(pace: Pace | None) -> None:
    """Lower the priority of this process, before it has started any thread, if that is wanted."""
    if pace is None or not pace.low_priority:
        return
    from safebackup import commands

    os.nice(_NICER)
    try:
        ended = commands.run(["ionice", "-c", "3", "-p", str(os.getpid())], deadline=10)
    except SafeBackupError as error:
        note(f"the disk priority stays as it is, the CPU priority was lowered: {error.message}")
        return
    if ended.status != 0:
        note(f"the disk priority stays as it is, the CPU priority was lowered: ionice says {ended.stderr!r}")
