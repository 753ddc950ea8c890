"""What you test your own schedules, scripts and stores with.

For schedules, hypothesis strategies that look where clocks change, and `check_schedule`: these need hypothesis,
`pip install 'safebackup[testing]'`. For scripts, stores and a proxy that fail: these need nothing more. For a place
where backups are to be kept, `StoreConformance`: a class of tests, which needs pytest.
The names are imported when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in safebackup itself
if TYPE_CHECKING:
    from safebackup.testing.checking import check_schedule
    from safebackup.testing.clocks import Transition
    from safebackup.testing.conformance import StoreConformance
    from safebackup.testing.expressions import cron_expressions, schedules
    from safebackup.testing.faults import CrashingStore, FarStore, FaultyStore, RecordingStore, SimulatedCrash
    from safebackup.testing.histories import RunHistory, Start, run_histories
    from safebackup.testing.promises import (
        exactly_once_a_civil_day,
        never_inside,
        never_more_than,
    )
    from safebackup.testing.proxy import FaultProxy, Mode
    from safebackup.testing.strategies import instants, near_transitions, transitions, wall_times_in_gaps, zones

_HOMES = {
    "CrashingStore": "faults",
    "FaultProxy": "proxy",
    "FarStore": "faults",
    "FaultyStore": "faults",
    "Mode": "proxy",
    "RecordingStore": "faults",
    "RunHistory": "histories",
    "SimulatedCrash": "faults",
    "Start": "histories",
    "StoreConformance": "conformance",
    "Transition": "clocks",
    "check_schedule": "checking",
    "cron_expressions": "expressions",
    "exactly_once_a_civil_day": "promises",
    "instants": "strategies",
    "near_transitions": "strategies",
    "never_inside": "promises",
    "never_more_than": "promises",
    "run_histories": "histories",
    "schedules": "expressions",
    "transitions": "strategies",
    "wall_times_in_gaps": "strategies",
    "zones": "strategies",
}

__all__ = [  # the keys above, spelled out for type checkers
    "CrashingStore",
    "FarStore",
    "FaultProxy",
    "FaultyStore",
    "Mode",
    "RecordingStore",
    "RunHistory",
    "SimulatedCrash",
    "Start",
    "StoreConformance",
    "Transition",
    "check_schedule",
    "cron_expressions",
    "exactly_once_a_civil_day",
    "instants",
    "near_transitions",
    "never_inside",
    "never_more_than",
    "run_histories",
    "schedules",
    "transitions",
    "wall_times_in_gaps",
    "zones",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'safebackup.testing' has no attribute {name!r}")
    from importlib import import_module

    try:
        module = import_module(f"safebackup.testing.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("hypothesis", "pytest"):
            raise
        raise ImportError(f"safebackup.testing.{name} needs {error.name}: pip install 'safebackup[testing]'") from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
