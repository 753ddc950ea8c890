"""How the suite runs: hypothesis profiles, and the Python in the documents."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, chdir
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

# Real files are slow and jittery, so that neither a deadline nor "too slow" says anything about our code.
_SLOW_DISKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("ci", max_examples=50, deadline=None, print_blob=True, suppress_health_check=_SLOW_DISKS)
settings.register_profile("long", settings.get_profile("ci"), max_examples=2000)
settings.load_profile("long" if os.environ.get("SAFEBACKUP_LONG") == "1" else "ci")


def _enter(namespace: dict[str, object]) -> None:
    stack = ExitStack()
    stack.enter_context(chdir(stack.enter_context(TemporaryDirectory(prefix="safebackup-docs-"))))
    namespace["_leave_document"] = stack.close


def _leave(namespace: dict[str, Callable[[], None]]) -> None:
    namespace["_leave_document"]()


# Each document is one story: its own names and its own empty folder. Shell fences are not run.
# Run them with `-p no:randomly`: their order is what they say.
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/**/*.md"],
    setup=_enter,
    teardown=_leave,
).pytest()
