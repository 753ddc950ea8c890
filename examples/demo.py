# /// script
# requires-python = ">=3.11"
# dependencies = ["safebackup"]
# ///
"""The whole life of a backup on real files, in one minute: this is what `make demo` runs.

Python's own library (some thousand files) is copied to a folder of its own and backed up into a sealed repository
there; it is changed and backed up again; everything is verified in full, restored and compared. Nothing outside
of that folder is touched. Exit status: 0 if all was proved, 1 otherwise.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from safebackup import KeyFile, Repository, back_up, restore, verify

REAL_FILES = Path(sysconfig.get_paths()["stdlib"])


def main() -> int:
    """Run the demonstration; 0 if everything was proved."""
    home = Path(tempfile.mkdtemp(prefix="safebackup-demo-"))
    source = home / "source"
    shutil.copytree(REAL_FILES, source, symlinks=True, ignore=shutil.ignore_patterns("site-packages", "__pycache__"))
    key = KeyFile.create(home / "demo.key")
    repository = Repository.create(home / "repository", key=key)
    say("copied", f"{REAL_FILES} to {source}")

    first = back_up(source, into=repository)
    say("backed up", f"{first.snapshot.files:,} files, {mib(first.read_bytes)} read, {mib(first.stored_bytes)} stored")

    change(source)
    second = back_up(source, into=repository)
    say(
        "again",
        f"{second.files_changed} changed, {second.files_new} new, {second.entries_removed} removed, "
        f"{second.files_unchanged:,} not read; {mib(second.stored_bytes)} stored",
    )

    checked = verify(repository, level="full")
    say("verified", checked.statement)

    # As after a disaster: another handle, opened with the key file alone.
    restored = home / "restored"
    report = restore(Repository.open(home / "repository", key=key).snapshot(), to=restored)
    differences = compare(source, restored)
    say("restored", f"{report.files:,} files, {mib(report.content_bytes)} in {report.seconds:.1f} s")
    say("compared", f"{len(differences)} differences in content, kind, mode and time")

    proved = first.complete and second.complete and checked.passed and report.complete and not differences
    say("proved" if proved else "FAILED", f"look around in {home}; remove it with: rm -r {home}")
    return 0 if proved else 1


def change(source: Path) -> None:
    """What people do to files: edit, add, rename, delete, link."""
    (source / "abc.py").write_text("# edited\n" + (source / "abc.py").read_text())
    (source / "new.txt").write_text("a new file\n")
    os.link(source / "new.txt", source / "new-linked.txt")
    (source / "bisect.py").rename(source / "bisect-renamed.py")
    (source / "this.py").unlink()


def compare(expected: Path, found: Path) -> list[str]:
    """The paths that differ."""
    names = {path.relative_to(root) for root in (expected, found) for path in root.rglob("*")}
    return [str(name) for name in sorted(names) if not is_same(expected / name, found / name)]


def is_same(left: Path, right: Path) -> bool:
    """Whether two paths have the same kind, mode, time and content."""
    if not (os.path.lexists(left) and os.path.lexists(right)):
        return False
    facts = [(path.lstat().st_mode, path.lstat().st_mtime_ns) for path in (left, right)]
    if left.is_symlink():
        return facts[0] == facts[1] and left.readlink() == right.readlink()
    return facts[0] == facts[1] and (left.is_dir() or filecmp.cmp(left, right, shallow=False))


def say(what: str, details: str) -> None:
    """One line of the report."""
    print(f"{what:>10}  {details}")


def mib(size: int) -> str:
    """A size for people."""
    return f"{size / (1 << 20):.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
