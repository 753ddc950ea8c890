"""Options that commands share, as classes, and how a function with such parameters becomes a command.

    @command(app, "snapshots")
    def snapshots(screen: Screen, where: Where) -> Result: ...

Each field of `Screen` and of `Where` becomes an option; the function is given the classes back.
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar, get_type_hints

import attrs
import typer

from safebackup.cli.hints import Typed
from safebackup.cli.running import Result, perform

REPOSITORY_VARIABLE = "SAFEBACKUP_REPOSITORY"
Function = TypeVar("Function", bound=Callable[..., Result])


@attrs.frozen
class Where:
    """Which repository, and what opens it."""

    repository: Annotated[
        str | None,
        typer.Option(
            "--repository",
            "-r",
            metavar="URL",
            help="The repository: a folder or its URL. Without it: SAFEBACKUP_REPOSITORY.",
            show_default=False,
        ),
    ] = None
    key_file: Annotated[
        str | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Open it with this key file. Without it: SAFEBACKUP_KEY_FILE.",
            show_default=False,
        ),
    ] = None
    passphrase_file: Annotated[
        str | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="Open it with the passphrase in the first line of this file. "
            "Without it: SAFEBACKUP_PASSPHRASE_FILE or SAFEBACKUP_PASSPHRASE; on a terminal you are asked.",
            show_default=False,
        ),
    ] = None
    storage_option: Annotated[
        list[str] | None,
        typer.Option(
            "--storage-option",
            metavar="NAME=VALUE",
            help="A storage option for the repository's URL; NAME=@FILE takes the value from a file. Repeatable.",
        ),
    ] = None
    allow_unproven_store: Annotated[
        bool,
        typer.Option(
            "--allow-unproven-store",
            help="Use a kind of store that is not proven; all that is written is read back.",
        ),
    ] = False


@attrs.frozen
class Pace:
    """How much of the machine may be used."""

    limit_bandwidth: Annotated[
        str | None,
        typer.Option(
            "--limit-bandwidth",
            metavar="SIZE",
            help="Read from and write to the repository at most so many bytes a second, such as 10M.",
            show_default=False,
        ),
    ] = None
    low_priority: Annotated[
        bool, typer.Option("--low-priority", help="Let other programs go first (nice and, if installed, ionice).")
    ] = False


OfSource = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="Only snapshots of the source of this name.", show_default=False),
]


def command(app: typer.Typer, name: str, *, group: str = "", proves: bool = False) -> Callable[[Function], Function]:
    """Make a function a command of `app`; `proves` where a store that fails means that nothing was proved."""
    full_name = f"{group} {name}".strip()

    def register(function: Function) -> Function:
        bundles = _bundles_of(function)

        def run(**given: object) -> int:
            arguments = {
                parameter: kind(**{field.name: given.pop(field.name) for field in attrs.fields(kind)})
                for parameter, kind in bundles.items()
            }
            screen = arguments["screen"]
            typed = _typed(full_name, arguments.get("where"), given.get("url"))
            return perform(typed, screen, lambda: function(**arguments, **given), proves=proves)

        parameters = sorted(_parameters_of(function, bundles), key=lambda parameter: parameter.kind)
        vars(run)["__signature__"] = inspect.Signature(parameters, return_annotation=int)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        app.command(name)(run)
        return function

    return register


def _typed(verb: str, where: Where | None, url: object) -> Typed:
    if where is None:
        return Typed(verb=verb)
    key = ""
    if where.key_file:
        key = f"--key-file {shlex.quote(where.key_file)}"
    elif where.passphrase_file:
        key = f"--passphrase-file {shlex.quote(where.passphrase_file)}"
    named = url if isinstance(url, str) else where.repository or os.environ.get(REPOSITORY_VARIABLE, "")
    return Typed(verb=verb, url=named, key=key)


def _bundles_of(function: Callable[..., Result]) -> dict[str, type]:
    hints = get_type_hints(function)
    return {name: kind for name, kind in hints.items() if name != "return" and attrs.has(kind)}


def _parameters_of(function: Callable[..., Result], bundles: dict[str, type]) -> Iterator[inspect.Parameter]:
    """The function's own parameters first, so that a page of help begins with them; keywords all, as none is called."""
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in bundles:
            yield parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
    for kind in bundles.values():
        types = get_type_hints(kind, include_extras=True)
        for field in attrs.fields(kind):
            default = inspect.Parameter.empty if field.default is attrs.NOTHING else field.default
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, annotation=types[field.name], default=default
            )
