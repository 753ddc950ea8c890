"""A shell command inside the files of other programs: quoted so that exactly that command reaches the shell."""

from __future__ import annotations

import re

from safebackup.errors import Code, ConfigurationError

# Of a longer command Debian's cron drops the line, and says so in the system's log at most.
_LONGEST_IN_CRONTAB = 998
# What cron gives to the shell has one backslash for two, and a % for one with a backslash; other backslashes stay.
_SPECIAL_IN_CRONTAB = re.compile(r"%|\\+(?=%)|\\{2,}")


def refused(command: str, why: str) -> ConfigurationError:
    """The error for a command that a target cannot hold."""
    return ConfigurationError(
        f"command={command!r} {why}",
        code=Code.EXPORT_IMPOSSIBLE,
        hint="Put it into a script, and give the path of that as command=.",
    )


def in_crontab(command: str) -> str:
    """A command as the rest of a crontab line, where a bare `%` would end it."""
    if command != command.strip(" \t"):
        raise refused(command, "has spaces around it")
    if not command.replace("\t", " ").isprintable():
        raise refused(command, "has a line break or a control character, and a crontab line is one line")
    written = _SPECIAL_IN_CRONTAB.sub(lambda found: "\\" + "\\".join(found[0]), _without_zero(command))
    if len(written.encode()) > _LONGEST_IN_CRONTAB:
        raise refused(command, f"is longer than the {_LONGEST_IN_CRONTAB} bytes that cron reads")
    return written


def in_systemd(command: str) -> str:
    """A command as one argument in a unit file, in double quotes."""
    doubled = _without_zero(command).replace("%", "%%").replace("$", "$$")
    return '"' + "".join(_escaped_in_systemd(character) for character in doubled) + '"'


def _escaped_in_systemd(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else "".join(f"\\x{byte:02x}" for byte in character.encode())


def in_yaml(text: str) -> str:
    """A text as a double-quoted scalar, of plain ASCII."""
    return '"' + "".join(_escaped_in_yaml(character) for character in text) + '"'


def _escaped_in_yaml(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if " " <= character <= "~":
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def in_container(command: str) -> str:
    """A command for a container's `command`, where Kubernetes expands `$(NAME)` and makes one `$` of two."""
    return in_yaml(_without_zero(command).replace("$", "$$"))


def _without_zero(command: str) -> str:
    if not command.strip() or "\0" in command:
        raise refused(command, "is empty or has a zero byte")
    try:
        command.encode()
    except UnicodeEncodeError as error:
        raise refused(command, "cannot be written as UTF-8") from error
    return command
