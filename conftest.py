"""How the suite runs: hypothesis profiles."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Real files are slow and jittery, so that neither a deadline nor "too slow" says anything about our code.
_SLOW_DISKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("ci", max_examples=50, deadline=None, print_blob=True, suppress_health_check=_SLOW_DISKS)
settings.register_profile("long", settings.get_profile("ci"), max_examples=2000)
settings.load_profile("long" if os.environ.get("SAFEBACKUP_LONG") == "1" else "ci")
