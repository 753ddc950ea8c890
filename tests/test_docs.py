"""The documents: what they show is what happens, what is generated is current, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import attrs
import pytest

import safebackup

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DOCUMENTS = sorted(DOCS.rglob("*.md"))
FRONT = [ROOT / "README.md", ROOT / "CHANGELOG.md"]
GENERATOR = runpy.run_path(str(DOCS / "generate.py"))
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@attrs.frozen
class Fence:
    """A fenced block that is run; `shows` is what the document says that it prints, None if it says nothing."""

    kind: str
    line: int
    code: str
    shows: str | None = None


def fences(text: str) -> list[Fence]:
    """The Python and the shell in a document, each with the text fence that follows it under the same heading."""
    found: list[Fence] = []
    awaits_output = False
    for kind, line, body in _blocks(text):
        if kind in ("python", "sh"):
            found.append(Fence(kind, line, body))
        elif kind == "text" and awaits_output:
            found[-1] = attrs.evolve(found[-1], shows=body)
        awaits_output = kind in ("python", "sh")
    return found


def _blocks(text: str) -> Iterator[tuple[str, int, str]]:
    """Headings and fenced blocks in order: kind, line number, content."""
    kind, start, body = "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if not kind and line.startswith("```"):
            kind, start, body = line[3:].strip() or "plain", number + 1, []
        elif kind and line == "```":
            yield kind, start, "\n".join(body) + "\n"
            kind = ""
        elif kind:
            body.append(line)
        elif line.startswith("#"):
            yield "heading", number, line


def matches(shown: str, printed: str) -> bool:
    """Whether `printed` is what is shown; `…` stands for anything on one line."""
    pattern = ".*?".join(re.escape(part) for part in shown.rstrip().split("…"))
    return re.fullmatch(pattern, printed.rstrip()) is not None


RUN = [path for path in [*FRONT, *DOCUMENTS] if fences(path.read_text(encoding="utf-8"))]
FENCES_SEEN = {
    "python",
    "sh",
    "hex",
    "text",
    "plain",
    "toml",
    "json",
    "crontab",
    "systemd",
    "yaml",
    "console",
    "mermaid",
}


@pytest.mark.parametrize("path", RUN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_shows_what_its_code_prints(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document is one story, in its own empty folder: its Python shares names, its shell only files."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for fence in fences(path.read_text(encoding="utf-8")):
        where = f"{path.relative_to(ROOT)}:{fence.line}"
        printed = run_python(fence, path, names) if fence.kind == "python" else run_shell(fence, where)
        if fence.shows is None:
            assert printed == "", f"{where} prints something that the document does not show:\n{printed}"
        else:
            assert matches(fence.shows, printed), f"{where} prints:\n{printed}"


def run_python(fence: Fence, path: Path, names: dict[str, object]) -> str:
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile("\n" * (fence.line - 1) + fence.code, str(path), "exec"), names)
    return printed.getvalue()


def run_shell(fence: Fence, where: str) -> str:
    """What it prints; the commands of this environment come first, and nothing of the user's home is seen."""
    surroundings = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.getcwd(),
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", fence.code], env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{where} ends with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("path", [*FRONT, *DOCUMENTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_says_what_it_is(path: Path) -> None:
    kinds = {kind.split()[0] for kind, _, _ in _blocks(path.read_text(encoding="utf-8"))} - {"heading"}

    assert kinds <= FENCES_SEEN, "Python and sh are run; call what cannot be run console, crontab, text, …"


def test_an_output_that_differs_by_one_word_is_noticed() -> None:
    (fence,) = fences("```python\nprint('one two')\n```\n\nIt prints:\n\n```text\none …\n```\n")

    assert fence.shows == "one …\n"
    assert matches(fence.shows, "one two\n")
    assert not matches(fence.shows, "two two\n")
    assert not matches(fence.shows, "one two\nthree\n")


@pytest.mark.parametrize("page", GENERATOR["pages"](), ids=lambda page: page.name)
def test_a_generated_page_is_what_the_code_says(page: Path) -> None:
    expected = GENERATOR["pages"]()[page]

    assert page.read_text(encoding="utf-8") == expected, "run: python docs/generate.py"


def test_every_public_name_is_in_the_api_page() -> None:
    described = {name for _, names in GENERATOR["API"].values() for name in names}

    assert set(safebackup.__all__) - described == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(DOCS)))
def test_every_link_in_a_document_leads_somewhere(path: Path) -> None:
    dead = [link for link in links_of(path) if not leads_somewhere(path, link)]

    assert dead == []


def links_of(path: Path) -> list[str]:
    """Links to other documents and places in them, without those to other sites."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [link for link in _LINK.findall(text) if "://" not in link]


def leads_somewhere(path: Path, link: str) -> bool:
    """Whether the file is there, and the heading or anchor in it."""
    name, _, place = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.exists():
        return False
    return not place or place in places_in(target.read_text(encoding="utf-8"))


def places_in(text: str) -> set[str]:
    """What a link's fragment can name: headings, as sites spell them, and anchors."""
    headings = [heading.lstrip("#").strip() for kind, _, heading in _blocks(text) if kind == "heading"]
    spelled = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return spelled | set(re.findall(r'<a id="([^"]+)">', text))


def test_every_document_can_be_reached_from_the_first_page() -> None:
    reached: set[Path] = set()
    pending = [DOCS / "index.md"]
    while pending:
        path = pending.pop()
        if path.is_dir():
            pending += path.glob("*.md")
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        targets = [(path.parent / link.partition("#")[0]).resolve() for link in links_of(path) if link[0] != "#"]
        pending += [target for target in targets if target.is_relative_to(DOCS)]

    assert sorted(str(path.relative_to(DOCS)) for path in set(DOCUMENTS) - reached) == []


def test_a_small_piece_loads_only_what_it_needs() -> None:
    """As docs/explanation/architecture.md says."""
    code = "import sys, safebackup.storage; print({'cryptography', 'zstandard', 'blake3'} & set(sys.modules))"

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert child.stdout == "set()\n"
