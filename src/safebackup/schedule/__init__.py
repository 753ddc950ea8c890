"""When something is due: schedules in a named zone, exact through every change of the clocks; pure."""

from safebackup.schedule.asking import Gap, Missed, Occurrence
from safebackup.schedule.diffing import ScheduleDiff, data_changed
from safebackup.schedule.explaining import Explanation
from safebackup.schedule.judging import Judgement, Verdict
from safebackup.schedule.policies import PRESETS, Policy
from safebackup.schedule.previewing import Preview
from safebackup.schedule.recording import recorded_zone
from safebackup.schedule.rules import Why
from safebackup.schedule.schedule import Schedule
from safebackup.schedule.windows import Window
from safebackup.schedule.zones import Zone, zone, zone_from_data

__all__ = [
    "PRESETS",
    "Explanation",
    "Gap",
    "Judgement",
    "Missed",
    "Occurrence",
    "Policy",
    "Preview",
    "Schedule",
    "ScheduleDiff",
    "Verdict",
    "Why",
    "Window",
    "Zone",
    "data_changed",
    "recorded_zone",
    "zone",
    "zone_from_data",
]
