"""What you test your own schedules with: hypothesis strategies that look where clocks change, and `check_schedule`.

Needs hypothesis: `pip install 'safebackup[testing]'`.
"""

try:
    import hypothesis as _  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("safebackup.testing needs hypothesis: pip install 'safebackup[testing]'") from error

from safebackup.testing.checking import check_schedule
from safebackup.testing.clocks import Transition
from safebackup.testing.expressions import cron_expressions, schedules
from safebackup.testing.histories import RunHistory, Start, run_histories
from safebackup.testing.promises import (
    exactly_once_a_civil_day,
    never_inside,
    never_more_than,
)
from safebackup.testing.strategies import instants, near_transitions, transitions, wall_times_in_gaps, zones

__all__ = [
    "RunHistory",
    "Start",
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
