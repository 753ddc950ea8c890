"""The corpora: made from a seed, each in a folder of its own, and used again if they are there.

A corpus has the folder `current`, which is backed up, and `changed`, which holds what the step "1 % changed" moves in.
What it replaces or removes is moved to `original`, and all is moved back afterwards: nothing is written, and nothing
is deleted, between two timings.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import BinaryIO

import attrs

from benchmarks.contents import KIB, MIB, binary, changed_pages, dump, extents, noise, record, text

MADE_AS = 1  # to be raised when something else is made from a seed
OLDEST, NEWEST = 1_400_000_000, 1_750_000_000  # when files were last modified


@attrs.frozen(kw_only=True)
class Corpus:
    """One that is there. `added` and `removed` are what "1 % changed" adds and removes, beyond replacing."""

    name: str
    folder: Path
    files: int
    mib: float
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """What is backed up."""
        return self.folder / "current"

    def change(self) -> None:
        """Make it the one with 1 % changed."""
        for path in relative_files(self.folder / "changed"):
            if path not in self.added:
                move(self.source / path, self.folder / "original" / path)
            move(self.folder / "changed" / path, self.source / path)
        for path in self.removed:
            move(self.source / path, self.folder / "original" / path)

    def revert(self) -> None:
        """Undo `change`, also where it was interrupted."""
        for path in self.added:
            if (self.source / path).exists():
                move(self.source / path, self.folder / "changed" / path)
        for path in relative_files(self.folder / "original"):
            if path not in self.removed and (self.source / path).exists():
                move(self.source / path, self.folder / "changed" / path)
            move(self.folder / "original" / path, self.source / path)


def corpus(name: str, folder: Path, *, seed: int, scale: float) -> Corpus:
    """The corpus of a name in its folder, made if it is not there, or if it was made otherwise."""
    wanted = {"made_as": MADE_AS, "seed": seed, "scale": scale}
    manifest = folder / "corpus.json"
    if manifest.exists():
        there = json.loads(manifest.read_text(encoding="utf-8"))
        if {key: there[key] for key in wanted} == wanted:
            found = from_manifest(name, folder, there)
            found.revert()
            return found
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("current", "changed", "original"):
        (folder / part).mkdir(parents=True)
    removed = CORPORA[name](folder, seed, scale)
    manifest.write_text(json.dumps({**wanted, **described(folder), "removed": removed}), encoding="utf-8")
    return from_manifest(name, folder, json.loads(manifest.read_text(encoding="utf-8")))


def described(folder: Path) -> dict[str, object]:
    """What is in a corpus that was made just now."""
    files = list(relative_files(folder / "current"))
    return {
        "files": len(files),
        "mib": sum((folder / "current" / path).lstat().st_size for path in files) / MIB,
        "added": [p for p in relative_files(folder / "changed") if not (folder / "current" / p).exists()],
    }


def from_manifest(name: str, folder: Path, there: dict[str, object]) -> Corpus:
    return Corpus(
        name=name,
        folder=folder,
        files=int(str(there["files"])),
        mib=float(str(there["mib"])),
        added=tuple(there["added"]),  # type: ignore[arg-type]
        removed=tuple(there["removed"]),  # type: ignore[arg-type]
    )


def relative_files(root: Path) -> list[str]:
    """Everything below a root but folders, sorted."""
    return sorted(os.path.relpath(os.path.join(home, name), root) for home, _, names in os.walk(root) for name in names)


def move(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)


def write(path: Path, content: bytes, rng: Random, *, mode: int = 0o644) -> None:
    """A file of the past."""
    path.write_bytes(content)
    path.chmod(mode)
    age(path, rng)


def age(path: Path, rng: Random) -> None:
    moment = rng.randrange(OLDEST * 10**9, NEWEST * 10**9)
    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def age_folders(root: Path, rng: Random) -> None:
    """Give folders their times, when nothing is put into them any more."""
    for home in sorted((home for home, _, _ in os.walk(root)), reverse=True):
        age(Path(home), rng)


def make_tree(folder: Path, seed: int, scale: float) -> list[str]:
    """Sources: many small files, log-normal in size, some programs and pictures, duplicates and links."""
    return plant(folder, Random(f"{seed} tree"), files=round(80_000 * scale), text_only=False)


def plant(folder: Path, rng: Random, *, files: int, text_only: bool) -> list[str]:
    """A tree of so many files, and its version with 1 % changed; what that removes."""
    homes = make_folders(folder / "current", rng, max(1, files // 20))
    made: list[Path] = []
    for number in range(files):
        word = "".join(filter(str.isalpha, text(rng, 9).decode("ascii")))
        path = rng.choice(homes) / f"{word}{number}"
        chance = rng.random()
        if made and chance < 0.04:
            duplicate(rng.choice(made), path, rng)
        elif made and chance < 0.05 and not text_only:
            path.symlink_to(os.path.relpath(rng.choice(made), path.parent))
            age(path, rng)
            continue
        else:
            write(path, content_for(rng, 0.5 if text_only else chance), rng, mode=rng.choice(MODES))
        made.append(path)
    removed = change_some(folder, made, rng)
    age_folders(folder, rng)
    return removed


MODES = (0o644,) * 12 + (0o755, 0o755, 0o600, 0o664, 0o444)


def make_folders(root: Path, rng: Random, count: int) -> list[Path]:
    """Nested folders, those that were made first with the most in them."""
    homes = [root]
    for number in range(count):
        home = homes[int(len(homes) * rng.random() ** 2)] / f"{rng.choice(('src', 'lib', 'test', 'doc'))}{number}"
        home.mkdir()
        home.chmod(rng.choice((0o755, 0o755, 0o755, 0o750)))
        homes.append(home)
    return homes


def duplicate(path: Path, to: Path, rng: Random) -> None:
    write(to, path.read_bytes(), rng)


def content_for(rng: Random, chance: float) -> bytes:
    """Of a size that is log-normal: the median is 3.6 KiB, the mean 13 KiB."""
    size = min(int(math.exp(rng.gauss(math.log(3600), 1.6))), 32 * MIB)
    kind = binary if chance > 0.95 else noise if chance > 0.94 else text
    return kind(rng, size)


def change_some(folder: Path, files: list[Path], rng: Random) -> list[str]:
    """The version with 1 % changed: of 10 files 8 are edited and 1 is removed, and 1 is new."""
    chosen = rng.sample(files, k=max(2, len(files) // 100))
    removed = chosen[: math.ceil(len(chosen) / 10)]
    for number, path in enumerate(chosen):
        to = folder / "changed" / path.relative_to(folder / "current")
        to.parent.mkdir(parents=True, exist_ok=True)
        if number < len(removed):
            write(to.with_name(to.name + ".new"), content_for(rng, 0.5), rng)
            continue
        content = path.read_bytes()
        middle = rng.randrange(len(content) + 1)
        write(to, content[:middle] + text(rng, 80) + content[middle:], rng)
    return [str(path.relative_to(folder / "current")) for path in removed]


def make_database(folder: Path, seed: int, scale: float) -> list[str]:
    """One file of 2 GiB, and the dump of the day after."""
    for part in ("current", "changed"):
        path = folder / part / "orders.sql"
        with path.open("wb") as file:
            file.writelines(dump(seed, int(2048 * MIB * scale), second=part == "changed"))
        age(path, Random(f"{seed} {part}"))
    return []


def make_media(folder: Path, seed: int, scale: float) -> list[str]:
    """Pictures and films of 1 to 20 MiB; "1 % changed" adds one of a hundred."""
    rng, left, number = Random(f"{seed} media"), int(1024 * MIB * scale), 0
    while left > 0:
        size = min(int(math.exp(rng.uniform(0, math.log(20))) * MIB), left)
        write(folder / "current" / f"{number:04}.jpg", noise(rng, size), rng)
        left, number = left - size, number + 1
    for new in range(math.ceil(number / 100)):
        write(folder / "changed" / f"new{new}.jpg", noise(rng, min(7 * MIB, int(1024 * MIB * scale))), rng)
    return []


def make_image(folder: Path, seed: int, scale: float) -> list[str]:
    """The image of a disk of 4 GiB, 0.7 GiB of it written, and the same with pages changed."""
    apparent, data = int(4096 * scale) * MIB, int(717 * MIB * scale) // (4 * KIB) * 4 * KIB
    rng = Random(f"{seed} pages")
    with open_image(folder, "current", apparent) as before, open_image(folder, "changed", apparent) as after:
        for number, (place, content) in enumerate(extents(seed, apparent, data)):
            os.pwrite(before.fileno(), content, place)
            os.pwrite(after.fileno(), changed_pages(rng, content, surely=number == 0), place)
    for part in ("current", "changed"):
        age(folder / part / "disk.img", Random(f"{seed} {part}"))
    return []


@contextmanager
def open_image(folder: Path, part: str, size: int) -> Iterator[BinaryIO]:
    with (folder / part / "disk.img").open("wb") as file:
        file.truncate(size)
        yield file


def make_tiny(folder: Path, seed: int, scale: float) -> list[str]:
    """300,000 files of 50 to 500 bytes, a thousand to a folder."""
    rng = Random(f"{seed} tiny")
    made: list[Path] = []
    for number in range(round(300_000 * scale)):
        home = folder / "current" / f"{number // 1000:03}"
        home.mkdir(exist_ok=True)
        made.append(home / f"{rng.getrandbits(48):012x}-{number}")
        write(made[-1], record(rng), rng)
    removed = change_some(folder, made, rng)
    age_folders(folder, rng)
    return removed


def make_churn(folder: Path, seed: int, scale: float) -> list[str]:
    """A small tree, 3 % of which change each day: see `live_a_day`."""
    return plant(folder, Random(f"{seed} churn"), files=max(40, round(3000 * scale)), text_only=True)


def live_a_day(tree: Path, *, seed: int, day: int) -> None:
    """Edit 3 % of the files of a tree, add a few, and remove as many."""
    rng = Random(f"{seed} day {day}")
    files = [tree / path for path in relative_files(tree)]
    for path in rng.sample(files, k=math.ceil(len(files) * 0.03)):
        content = path.read_bytes()
        middle = rng.randrange(len(content) + 1)
        fresh = path.with_name(path.name + ".new")
        write(fresh, content[:middle] + text(rng, 200) + content[middle:], rng)
        fresh.rename(path)
    for number, path in enumerate(rng.sample(files, k=math.ceil(len(files) * 0.002))):
        write(path.with_name(f"day{day}-{number}"), content_for(rng, 0.5), rng)
        path.unlink()


CORPORA: dict[str, Callable[[Path, int, float], list[str]]] = {
    "tree": make_tree,
    "database": make_database,
    "media": make_media,
    "image": make_image,
    "tiny": make_tiny,
    "churn": make_churn,
}
