"""Small pieces stand alone: what a piece does not need is not imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import safebackup

_HEAVY = {
    *("attrs", "blake3", "cryptography", "fsspec", "hypothesis", "msgspec", "pathspec", "pendulum", "pyfastcdc"),
    *("rich", "typer", "zstandard"),
}
_PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Missing())
import {piece}
"""


def import_without(piece: str, names: set[str]) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.format(names=names, piece=piece)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.portable
@pytest.mark.parametrize(
    ("piece", "needs"),
    [
        ("safebackup", set()),
        ("safebackup.errors", set()),
        ("safebackup.findings", {"attrs"}),
        ("safebackup.clock", set()),
        ("safebackup.events", {"attrs"}),
        ("safebackup.instants", {"pendulum"}),
        ("safebackup.statuses", set()),
        ("safebackup.schedule", {"attrs", "pendulum"}),
        ("safebackup.guarding", {"attrs", "pendulum"}),
        ("safebackup.artifacts", {"attrs"}),
        ("safebackup.tarring", {"attrs", "zstandard"}),
        ("safebackup.emergency", {"attrs"}),
        ("safebackup.streaming", set()),
        ("safebackup.commands", {"attrs"}),
        ("safebackup.comparing", {"attrs"}),
        ("safebackup.storage", {"attrs"}),
        ("safebackup.format.chunking", {"attrs"}),
        ("safebackup.format.manifest", {"attrs", "blake3", "cryptography", "msgspec", "zstandard"}),
    ],
)
def test_a_piece_imports_where_the_others_dependencies_are_missing(piece: str, needs: set[str]) -> None:
    done = import_without(piece, _HEAVY - needs)

    assert done.returncode == 0, done.stderr


@pytest.mark.portable
def test_the_check_notices_what_is_imported() -> None:
    done = import_without("safebackup.storage", {"attrs", "attr"})

    assert done.returncode != 0


@pytest.mark.portable
def test_no_verb_imports_fsspec_or_the_chunker_before_it_is_used() -> None:
    program = "import sys; from safebackup import back_up, restore, verify; print(*sys.modules)"

    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert {"fsspec", "pyfastcdc", "pathspec", "asyncio"}.isdisjoint(modules)


@pytest.mark.portable
def test_the_public_names_are_these() -> None:
    assert sorted(safebackup.__all__) == [
        "ArtifactReport",
        "BackupReport",
        "Check",
        "DrillReport",
        "Evidence",
        "KeyFile",
        "Passphrase",
        "Repository",
        "RestoreReport",
        "SafeBackupError",
        "Schedule",
        "Snapshot",
        "SnapshotWriter",
        "Source",
        "TarReport",
        "TarSnapshotWriter",
        "TreeComparison",
        "VerifyReport",
        "back_up",
        "check_artifact",
        "compare_trees",
        "drill",
        "guard",
        "restore",
        "verify",
    ]
    assert all(getattr(safebackup, name) is not None for name in safebackup.__all__)
    assert set(safebackup.__all__) <= set(dir(safebackup))


@pytest.mark.portable
def test_a_name_that_is_none_of_ours_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'backup_everything'"):
        _ = safebackup.backup_everything
