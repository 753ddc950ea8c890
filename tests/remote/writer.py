"""A process of its own that works with a repository: `python -m tests.remote.writer VERB ...`, its place on stdin."""

from __future__ import annotations

import json
import sys

from safebackup import Repository, SafeBackupError, back_up, restore, verify


def main() -> int:
    verb, *arguments = sys.argv[1:]
    given = json.load(sys.stdin)
    try:
        if verb == "create":
            print(
                json.dumps({"created": Repository.create(given["url"], key=None, storage_options=given["options"]).id})
            )
            return 0
        repository = Repository.open(given["url"], key=None, storage_options=given["options"])
        if verb == "back_up":
            report = back_up(arguments[0], into=repository)
            print(
                json.dumps(
                    {"complete": report.complete, "snapshot": report.snapshot.id, "unchanged": report.files_unchanged}
                )
            )
        elif verb == "verify":
            checked = verify(repository, level="full")
            print(json.dumps({"passed": checked.passed, "findings": [str(each) for each in checked.findings]}))
        elif verb == "restore":
            (snapshot,) = [each for each in repository.snapshots() if each.id == arguments[0]]
            print(json.dumps({"complete": restore(snapshot, arguments[1]).complete}))
    except SafeBackupError as error:
        print(json.dumps({"error": str(error.code), "said": str(error)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
