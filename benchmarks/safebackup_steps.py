"""One step with safebackup, in a process of its own; prints how often the store was called, as JSON.

python -P safebackup_steps.py ACTION sealed|plain HOME SOURCE TARGET
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safebackup import KeyFile, Repository, back_up, restore, verify
from safebackup.repository.repository import attach
from safebackup.repository.runtime import Runtime
from safebackup.storage import open_store
from safebackup.testing.faults import RecordingStore


def main() -> None:
    action, sealing, home, source, target = sys.argv[1:]
    place = Path(home) / "repository"
    key = KeyFile(Path(home) / "key") if sealing == "sealed" else None
    if action == "init":
        Repository.create(place, key=key and KeyFile.create(Path(home) / "key"))
        return
    store = RecordingStore(open_store(place))
    repository = attach(store, key=key, runtime=Runtime())  # Repository.open, with a store that counts
    if action == "list":
        assert repository.snapshots()
    elif action == "backup":
        assert back_up(source, into=repository).complete
    elif action == "verify":
        assert verify(repository, level="full").passed
    else:
        assert restore(repository.snapshot(), to=target).complete
    print(json.dumps(store.counts))


if __name__ == "__main__":
    main()
