"""The command line: arguments in, exit status out. Nothing else in safebackup prints or ends the process."""

from __future__ import annotations

# What is imported up here is not yet protected: who presses Ctrl-C meanwhile would see a traceback.
TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with these arguments, or the process's own; the exit status."""
    try:
        from safebackup.cli.program import run

        return run(arguments)
    except KeyboardInterrupt:  # before any command has begun
        return 130
