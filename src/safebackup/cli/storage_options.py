"""Storage options on a command line: NAME=VALUE, as often as needed. Secrets come from files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from safebackup.errors import ConfigurationError

_SECRETS = {
    "account_key",
    "auth",
    "aws_secret_access_key",
    "aws_session_token",
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

    A file holds a list or an object of JSON, or else its first line is the text.

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
        found[name] = _in_file(option, name, value[1:]) if value.startswith("@") else _value(value)
        if not value.startswith("@") and _is_secret(name, found[name]):
            raise ConfigurationError(
                f"{option} {name} is written on the command line, which every user of this machine can read",
                hint=f"Write it into a file and name that: {option} {name}=@FILE; or use the environment, as the "
                "provider's own tools do.",
            )
    return found


def _is_secret(name: str, value: object) -> bool:
    if isinstance(value, Mapping):
        return name == "token" or any(_is_secret(inner, each) for inner, each in value.items())
    return name in _SECRETS


def _in_file(option: str, name: str, file: str) -> object:
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{option} {name}: {file} cannot be read: {getattr(error, 'strerror', None) or error}",
            hint="Its first line is the value, or all of it is a list or an object of JSON.",
        ) from error
    value = _value(text)
    return value if isinstance(value, list | dict) else text.split("\n", 1)[0].rstrip("\r")


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
