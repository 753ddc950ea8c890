"""The reference pages of the command line, made from the commands themselves.

Run `python -m tests.cli.pages` to write them anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs
from typer.main import get_command

from safebackup.cli.options import Pace, Where
from safebackup.cli.program import PROGRAM, build_app
from safebackup.cli.running import Screen
from safebackup.cli.schedule_options import When
from safebackup.statuses import STATUS_OF_CLASS, STATUS_OF_CODE, ExitStatus

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
NOTICE = "<!-- Made by tests/cli/pages.py: change the commands, and run it again. -->"
SHARED: dict[str, type[attrs.AttrsInstance]] = {
    "Which repository, and its key": Where,
    "When it is due": When,
    "What is shown": Screen,
    "How much of the machine is used": Pace,
}

INTRODUCTION = """\
`safebackup COMMAND --help` shows the same. `python -m safebackup` is the same program.

```sh
mkdir orders && echo '17;paid' > orders/ledger.csv

safebackup init backups --new-key-file orders.key
export SAFEBACKUP_REPOSITORY=backups SAFEBACKUP_KEY_FILE=orders.key
safebackup backup orders --name orders --exclude '*.tmp'
safebackup verify --level structure
safebackup drill --check 'test -s ledger.csv'
safebackup restore latest --to restored
safebackup snapshots
safebackup ls latest
```

It prints:

```text
id            time                       host…  source  files  size  standing            tags
…+00:00  …  orders      1   8 B  proven (structure)
ledger.csv
```

In a script write whole paths.

* **Exit statuses** are the same for all commands: [exit-statuses.md](exit-statuses.md).
* **Secrets** are never arguments, which every user of the machine can read. A key is a file, or a passphrase in a
  file, in a variable, or typed at a prompt. The command line comes before the environment; two keys at the same level
  are refused. Whether a new repository is encrypted is always said: there is no default.
* **When all is well** nothing is printed where standard output is no terminal, so that cron mails nothing; `--verbose`
  prints what was done. Lists (`snapshots`, `ls`, `key list`, `schedule`, `store`) are always printed. Findings, errors
  and progress go to standard error.
* **A bar** at a terminal shows bytes and their rate; how many files, except for `verify`, which reads packs; and the
  time left where the total is known: at once for `verify`, `drill` and the restore of a whole snapshot, and for a
  backup from the second on, by the size of the one before. Elsewhere `--verbose` prints the same as a line every ten
  seconds. `NO_COLOR` is respected.
* **Sizes** are bytes with K, M, G or T (1024 each; `10MB` is ten million). **Durations** are seconds, or `90m`, `2h`,
  `1d12h`. **Times** are in UTC, with their offset.
* **Names** from files are shown with everything escaped that could change a terminal.
* **Signals**: SIGINT, SIGTERM and SIGHUP stop the work cleanly, and a second one at once. What was stored by then is
  found again by the next backup.
* **Shell completion**: `safebackup --install-completion`.
* `--debug`, or `SAFEBACKUP_DEBUG=1`, logs everything, with tracebacks. Without it there is never a traceback.

## JSON

With `--json` there is exactly one JSON document on standard output, also for errors:

| field | |
| --- | --- |
| `schema_version` | 1; it rises when a field changes its meaning or goes |
| `command` | such as `backup` or `key list`; empty if none was recognised |
| `outcome` | one word, such as `complete`, `incomplete`, `passed`, `damaged`, `proved`; for errors as in the table of \
exit statuses |
| `exit_status` | as the process ends |
| `findings` | a list of `code`, `severity`, `what`, `action`, `subject` |
| `warnings` | texts |
| `error` | `null`, or `code`, `message` and `hint`; `code` is `null` for signals |

Beside them are the fields of the report, named as in the [API](api.md); `snapshots`, `entries`, `keys` and
`artifacts` are lists. Times are RFC 3339 in UTC. A path that is no text is shown escaped, and byte for byte in base64
in a field beside it (`path_base64`, `target_base64`)."""

AFTER_STATUSES = """\
A script may rely on these numbers; they never change. Treat one that is not in the table as a failure.

Two things are never 0: an incomplete snapshot, and a verification that could not be made.

## From an error to a status

What went wrong has a [code](errors.md) and a class. The class decides, and a few codes know better:
"""

AFTER_CODES = """\
While `verify`, `drill` or `check-artifact` reads, a store that fails is 7: nothing was proved, in either direction. A
store that may answer again without anybody's help is 75. `check-artifact` ends with 5 if something is wrong
with a file, and with 7 if it is of no kind that can be judged; an unknown kind inside gzip or zstd is a warning, as the
compression itself was proved. Of several files the worst counts. `schedule lint` ends with 1 if there is a warning or
an error, `schedule diff` if runs differ, `schedule next` if nothing is due any more, and `guard --check` if a run is
missing. `store test` ends with 5 if a guarantee was seen broken, and with 7 if one
could not be tried, or the result not be kept; `store probe` with 0 whatever it finds out. An error that is none of
ours is a bug, and ends with 1.

## In a script

```sh
mkdir orders && echo '17;paid' > orders/ledger.csv
safebackup init backups --new-key-file orders.key
export SAFEBACKUP_REPOSITORY=backups SAFEBACKUP_KEY_FILE=orders.key

status=0
safebackup backup orders || status=$?
case $status in
    0) ;;
    3) echo "the snapshot lacks something: see above" ;;
    75) sleep 10m && safebackup backup orders ;;
    *) exit $status ;;
esac
```

Python has the same numbers: `safebackup.statuses.ExitStatus`, and `status_of(error)` for an error; the scripts in
`examples/` end with them."""


def command_line_page() -> str:
    """Every command with its arguments and options."""
    parts = ["# The command line", NOTICE, INTRODUCTION]
    program: Any = get_command(build_app())
    for name, command in program.commands.items():
        if hasattr(command, "commands"):
            parts += [part for inner, each in command.commands.items() for part in _described(f"{name} {inner}", each)]
        else:
            parts += _described(name, command)
    parts.append("## Options that commands share")
    for heading, kind in SHARED.items():
        parts += [f"### {heading}", *_table(_options_of(program, kind))]
    parts += ["### Of the program itself", *_table(program.params)]
    return "\n\n".join(parts) + "\n"


def exit_statuses_page() -> str:
    """Every exit status, and what leads to it."""
    statuses = [f"| {int(status)} | {status.word.replace('_', ' ')} | {status.meaning} |" for status in ExitStatus]
    classes = [f"| `{kind.__name__}` | {int(status)} |" for kind, status in STATUS_OF_CLASS.items()]
    codes = [f"| [`{code}`](errors.md#{code}) | {int(status)} |" for code, status in STATUS_OF_CODE.items()]
    parts = [
        "# Exit statuses",
        NOTICE,
        "All commands of `safebackup` end with one of these.",
        "\n".join(["| status | | what it tells |", "| --- | --- | --- |", *statuses]),
        AFTER_STATUSES.rstrip(),
        "\n".join(["| class | status |", "| --- | --- |", *classes]),
        "\n".join(["| code | status |", "| --- | --- |", *codes]),
        AFTER_CODES,
    ]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """Each page and what it has to hold."""
    return {REFERENCE / "command-line.md": command_line_page(), REFERENCE / "exit-statuses.md": exit_statuses_page()}


def _described(name: str, command: Any) -> Iterator[str]:
    yield f"## safebackup {name}"
    yield command.help
    shared = {field.name for kind in SHARED.values() for field in attrs.fields(kind)}
    own = [param for param in command.params if param.name not in shared and param.name != "help"]
    arguments = [
        param.metavar if param.required else f"[{param.metavar}]"
        for param in own
        if param.param_type_name == "argument"
    ]
    behind = " [-- PROGRAM...]" if name == "backup" else ""
    yield f"```text\n{PROGRAM} {name} {' '.join(['[OPTIONS]', *arguments])}{behind}\n```"
    yield from _table(own)
    taken = {param.name for param in command.params}
    groups = [heading for heading, kind in SHARED.items() if {field.name for field in attrs.fields(kind)} <= taken]
    links = [f"[{heading.lower()}](#{heading.lower().replace(' ', '-').replace(',', '')})" for heading in groups]
    yield f"Also: {'; '.join(links)}."


def _options_of(program: Any, kind: type[attrs.AttrsInstance]) -> list[Any]:
    names = {field.name for field in attrs.fields(kind)}
    commands = (program.commands["backup"], program.commands["guard"])
    return list({param.name: param for command in commands for param in command.params if param.name in names}.values())


def _table(params: list[Any]) -> Iterator[str]:
    if params:
        yield "\n".join(["| | |", "| --- | --- |", *map(_row, params)])


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        name = f"`{param.metavar}`"
    else:
        choices = "\\|".join(str(each) for each in get_args(param.type_descriptor.annotation))
        value = "" if param.is_flag else f" {param.metavar or choices or 'N'}"
        name = ", ".join(f"`{option}{value}`" for option in param.opts)
    default = param.default
    tail = f" Default: `{default}`." if default not in (None, "", False) and param.show_default is not False else ""
    variable = f" Or `{param.envvar}`." if param.envvar else ""
    needed = " Required." if param.required else ""
    return f"| {name} | {(param.help or '').strip()}{variable}{tail}{needed} |"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
