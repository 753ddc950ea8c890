"""Storage options on a command line: NAME=VALUE, as often as needed. Secrets come from files."""

from __future__ import annotations

import json
from collections.abc import Sequence

from safebackup.errors import ConfigurationError

_SECRETS = {
    "account_key",
    "connection_string",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "sas_token",
    "secret",
    "secret_key",
    "session_token",
}


def storage_options_of(option: str, given: Sequence[str] | None) -> dict[str, object]:
    """What was written behind each `option`: JSON where it is JSON, else text; `@FILE` is what a file holds.

    Raises:
        ConfigurationError: one is no NAME=VALUE, its file cannot be read, or a secret was written out.
    """
    found: dict[str, object] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name.isidentifier() or not equals:
            raise ConfigurationError(
                f"{option} {name or text!r} is not NAME=VALUE", hint=f"For example {option} endpoint_url=https://…"
            )
        if name in found:
            raise ConfigurationError(f"{option} {name} is given twice", hint="Leave one of them out.")
        if value.startswith("@"):
            found[name] = _first_line(option, name, value[1:])
        elif name in _SECRETS:
            raise ConfigurationError(
                f"{option} {name} is written on the command line, which every user of this machine can read",
                hint=f"Write it into a file and name that: {option} {name}=@FILE; or use the environment, as the "
                "provider's own tools do.",
            )
        else:
            found[name] = _value(value)
    return found


def _first_line(option: str, name: str, file: str) -> str:
    try:
        with open(file, encoding="utf-8") as text:
            return text.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{option} {name}: {file} cannot be read: {getattr(error, 'strerror', None) or error}",
            hint="Its first line is the value.",
        ) from error


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
