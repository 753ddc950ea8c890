"""`key list`, `key add`, `key remove` and `key rotate`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from safebackup.cli.looking import time_text
from safebackup.cli.opening import ask_passphrase, can_ask, made_key, open_with_key
from safebackup.cli.options import Where, command
from safebackup.cli.output import Result, one_line, table
from safebackup.cli.running import Screen
from safebackup.errors import AccessError, Code, ConfigurationError, IntegrityError, SafeBackupError, StorageError

if TYPE_CHECKING:
    from safebackup.repository import KeyFile, Passphrase, Repository
    from safebackup.repository.key_slots import KeyList

_NEW_KEY_CHOICES = (
    "Choose one: --new-key-file FILE makes a key file; --add-key-file FILE takes one that is there; "
    "--add-passphrase-file FILE takes a passphrase."
)
_METHODS = {"scrypt": "passphrase", "key-file": "key file"}


def add_commands(app: typer.Typer) -> None:
    """Make `key` a group of commands of `app`."""
    group = typer.Typer(help="List, add, remove and rotate the keys of a sealed repository.")
    command(group, "list", group="key")(list_)
    command(group, "add", group="key")(add)
    command(group, "remove", group="key")(remove)
    command(group, "rotate", group="key")(rotate)
    app.add_typer(group, name="key")


def list_(screen: Screen, where: Where) -> Result:
    """List the keys that open the repository."""
    from safebackup.repository.key_slots import list_keys

    repository, key = open_with_key(where)
    found = list_keys(repository, key=key)
    return Result(
        outcome="ok",
        report={"keys": found.keys},
        findings=found.findings,
        findings_total=len(found.findings),
        listing=() if screen.as_json else _lines(found),
    )


def add(
    screen: Screen,
    where: Where,
    new_key_file: Annotated[
        str | None,
        typer.Option("--new-key-file", metavar="FILE", help="Make this key file and add it.", show_default=False),
    ] = None,
    add_key_file: Annotated[
        str | None,
        typer.Option("--add-key-file", metavar="FILE", help="Add this key file, which is there.", show_default=False),
    ] = None,
    add_passphrase_file: Annotated[
        str | None,
        typer.Option(
            "--add-passphrase-file",
            metavar="FILE",
            help="Add the passphrase in the first line of this file.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="Whose it is; readable by whoever sees the store.")
    ] = "",
) -> Result:
    """Let one more key open the repository. The options of the repository name a key that opens it already."""
    from safebackup.repository.key_slots import add_key

    _require_one_new(new_key_file, add_key_file, add_passphrase_file)
    repository, key = open_with_key(where)
    if key is None:
        raise _no_keys(repository)
    new = _new_key(new_key_file, add_key_file, add_passphrase_file)
    try:
        info = add_key(repository, key=key, new=new, label=label)
    except SafeBackupError as error:
        # Unless it is certain that nothing was sealed with a key that was made just now, it stays.
        is_doubtful = isinstance(error, StorageError | IntegrityError) or error.code is Code.KEYS_CHANGED
        if new_key_file is not None and not is_doubtful:
            os.unlink(new_key_file)
        raise
    return Result(outcome="added", report={"key": info}, summary=f"added the {_METHODS[info.method]} {info.id[:12]}")


def _require_one_new(*files: str | None) -> None:
    if sum(file is not None for file in files) > 1:
        raise ConfigurationError("more than one new key is given", hint=_NEW_KEY_CHOICES)
    if all(file is None for file in files) and not can_ask():
        raise ConfigurationError("no new key is given", code=Code.KEY_REQUIRED, hint=_NEW_KEY_CHOICES)


def _new_key(made: str | None, key_file: str | None, passphrase_file: str | None) -> Passphrase | KeyFile:
    from safebackup.repository import KeyFile, Passphrase

    if made is not None:
        return KeyFile.create(made)
    if key_file is not None:
        return KeyFile(key_file)
    if passphrase_file is not None:
        return made_key(Passphrase.from_file, passphrase_file, "--add-passphrase-file")
    return ask_passphrase("The new passphrase: ", twice=True)


def remove(
    screen: Screen,
    where: Where,
    id: Annotated[str, typer.Argument(metavar="ID", help="The beginning of its id, as key list shows it.")],
) -> Result:
    """Let a key open the repository no longer. The options of the repository name a key that stays."""
    from safebackup.repository.key_slots import remove_key

    repository, key = open_with_key(where)
    if key is None:
        raise _no_keys(repository)
    left = remove_key(repository, id, key=key)
    return _changed("removed", left, f"removed; {_keys_left(left)}")


def rotate(
    screen: Screen,
    where: Where,
    keep_key_file: Annotated[
        list[str] | None,
        typer.Option("--keep-key-file", metavar="FILE", help="Another key that goes on; repeatable."),
    ] = None,
    keep_passphrase_file: Annotated[
        list[str] | None,
        typer.Option("--keep-passphrase-file", metavar="FILE", help="Another passphrase that goes on; repeatable."),
    ] = None,
) -> Result:
    """Seal what is written from now on with new secrets, which only the key given and those kept open."""
    from safebackup.repository.key_slots import rotate_keys

    repository, key = open_with_key(where)
    if key is None:
        raise _no_keys(repository)
    keep = list(_kept(repository, keep_key_file or (), keep_passphrase_file or ()))
    left = rotate_keys(repository, key=key, keep=keep)
    return _changed("rotated", left, f"rotated; {_keys_left(left)}")


def _kept(
    repository: Repository, key_files: Sequence[str], passphrase_files: Sequence[str]
) -> Iterator[Passphrase | KeyFile]:
    """The keys that go on; each is tried first, so that one that opens nothing is named."""
    from safebackup.repository import KeyFile, Passphrase
    from safebackup.repository.key_slots import list_keys

    named = [("--keep-key-file", file, made_key(KeyFile, file, "--keep-key-file")) for file in key_files]
    option = "--keep-passphrase-file"
    named += [(option, file, made_key(Passphrase.from_file, file, option)) for file in passphrase_files]
    for option, file, key in named:
        try:
            list_keys(repository, key=key)
        except AccessError as error:
            error.message = f"{option} {file}: {error.message}"
            raise
        yield key


def _no_keys(repository: Repository) -> ConfigurationError:
    return ConfigurationError(
        f"the repository at {repository.url} is not encrypted: it has no keys",
        code=Code.KEY_NOT_WANTED,
        hint="Whether a repository is sealed is decided when it is made: make a new one with a key.",
    )


def _changed(outcome: str, left: KeyList, summary: str) -> Result:
    return Result(
        outcome=outcome,
        report={"keys": left.keys},
        findings=left.findings,
        findings_total=len(left.findings),
        summary=summary,
    )


def _keys_left(left: KeyList) -> str:
    current = [one for one in left.keys if one.current]
    return f"{len(current)} of {len(left.keys)} keys open everything"


def _lines(found: KeyList) -> list[str]:
    rows = [
        (
            one.id[:12],
            _METHODS.get(one.method, one_line(one.method)),
            time_text(one.created),
            "everything" if one.current else f"up to epoch {one.epoch}",
            "yes" if one.this else "",
            one.label,
        )
        for one in found.keys
    ]
    return table(("id", "kind", "created", "opens", "used now", "label"), rows)
