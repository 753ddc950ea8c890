"""CronJobs for Kubernetes.

Its cron library skips what a gap leaves out and runs both of two. It knows no `L`, no day 7, and no second.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule.cron import parse_cron
from safebackup.schedule.exporting.choosing import Candidate, choose
from safebackup.schedule.exporting.cron_text import ROBFIG, cron_texts
from safebackup.schedule.exporting.exports import Draft, Request, commented, divergences_of, numbered, remarks
from safebackup.schedule.exporting.lines import Line, lines_of, on_clocks_of
from safebackup.schedule.exporting.quoting import in_container, in_yaml
from safebackup.schedule.exporting.simulating import Simulated, instants, off_the_hour, steps_off_the_hour
from safebackup.schedule.policies import ELAPSED
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import zone

# With more missed runs than that within its deadline, the controller gives the CronJob up.
_MOST_MISSED = 100


def write_kubernetes(request: Request) -> Draft:
    """A CronJob; several where one expression cannot say it."""
    command = in_container(request.command)
    if sum(1 for _ in islice(instants(request.schedule.rule, request.start, request.start + request.grace), 101)) > (
        _MOST_MISSED
    ):
        raise ConfigurationError(
            f"more than {_MOST_MISSED} runs are due within the grace, and Kubernetes then gives the CronJob up",
            code=Code.BAD_ARGUMENT,
            hint="Give a shorter grace=.",
        )
    choice = choose(request, _candidates(request, lines_of(request.schedule.rule, request.schedule.zone)))
    if choice.differences and steps_off_the_hour(request.schedule.zone, request.start, request.end):
        raise off_the_hour(request, "CronJobs")
    divergences = divergences_of(request, choice.differences)
    about = commented(remarks(request, divergences))
    texts = choice.candidate.texts
    documents = [
        _document(request, numbered(request.name, index, len(texts)), text, choice.candidate.tz, command)
        for index, text in enumerate(texts)
    ]
    return Draft({f"{request.name}.yaml": about + "---\n".join(documents)}, divergences)


def _candidates(request: Request, lines: list[Line]) -> Iterator[Candidate]:
    for named in dict.fromkeys([request.schedule.zone, zone("UTC")]):
        there = on_clocks_of(lines, named, request.start)
        if there is not None and not steps_off_the_hour(named, request.start, request.end):
            texts = cron_texts(there, ROBFIG, wild=True) or cron_texts(there, ROBFIG, wild=False) or []
            rules = tuple(Walls(parse_cron(text), named, ELAPSED) for text in texts)
            tz = "Etc/UTC" if named.key == "UTC" else named.key
            yield Candidate(tuple(texts), Simulated(rules, adds_up=True), tz)


def _document(request: Request, name: str, text: str, tz: str, command: str) -> str:
    return f"""\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {in_yaml(name)}
spec:
  schedule: {in_yaml(text)}
  timeZone: {in_yaml(tz)}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {request.grace}
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: {in_yaml(request.name)}
              image: {in_yaml(request.image)}
              command: ["/bin/sh", "-c", {command}]
"""
