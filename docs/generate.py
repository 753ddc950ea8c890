"""Makes docs/reference/api.md and docs/reference/errors.md from the code; run it after changing a public name.

python docs/generate.py
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from enum import Enum, EnumMeta
from importlib import import_module
from pathlib import Path
from types import ModuleType

import attrs
import msgspec

from safebackup import errors

DOCS = Path(__file__).parent
SOURCES = Path(errors.__file__).parent
NOTICE = "<!-- Made by docs/generate.py: change the docstrings, or docs/errors.toml, and run it again. -->"

# The heading of each group, its module, and the names in it.
API: dict[str, tuple[str, list[str]]] = {
    "Small pieces": (
        "safebackup",
        ["check_artifact", "ArtifactReport", "compare_trees", "TreeComparison", "TarSnapshotWriter", "TarReport"],
    ),
    "What an artefact holds": ("safebackup.artifacts", ["Kind", "Holds", "Level"]),
    "What differs": ("safebackup.comparing", ["Difference", "Aspect", "Subtree"]),
    "Running programs": ("safebackup.commands", ["start", "run", "Running", "Ended"]),
    "Verbs": ("safebackup", ["back_up", "SnapshotWriter", "restore", "verify", "drill"]),
    "Nouns": ("safebackup", ["Repository", "Snapshot", "Source", "Evidence", "Passphrase", "KeyFile", "Check"]),
    "Reports": ("safebackup", ["BackupReport", "RestoreReport", "VerifyReport", "DrillReport"]),
    "What a drill tells": ("safebackup.recovery", ["Outcome", "Phase", "CheckResult"]),
    "Choices": ("safebackup.recovery", ["Level", "Overwrite", "Owners"]),
    "Standing": ("safebackup.repository", ["Standing"]),
    "Keys of a repository": (
        "safebackup.repository.key_slots",
        ["list_keys", "add_key", "remove_key", "rotate_keys", "KeyList", "KeyInfo"],
    ),
    "Emergency": ("safebackup.emergency", ["ensure_emergency", "script_name", "script_digest", "restore_script"]),
    "Exports of schedules": ("safebackup.schedule.exporting", ["Export", "Divergence", "How"]),
    "Schedules": (
        "safebackup.schedule",
        [
            *("Schedule", "Policy", "Window", "Occurrence", "Why", "Gap", "Missed", "Judgement", "Verdict"),
            *(
                "Explanation",
                "Preview",
                "ScheduleDiff",
                "Zone",
                "zone",
                "zone_from_data",
                "recorded_zone",
                "data_changed",
            ),
        ],
    ),
    "The guard": (
        "safebackup.guarding",
        ["guard", "Guard", "Permit", "StartRefusedError", "Refusal", "check_guard", "GuardReport"],
    ),
    "Testing schedules": (
        "safebackup.testing",
        [
            *("check_schedule", "never_more_than", "never_inside", "exactly_once_a_civil_day"),
            *("zones", "transitions", "near_transitions", "instants", "wall_times_in_gaps"),
            *("cron_expressions", "schedules", "run_histories", "Transition", "RunHistory", "Start"),
        ],
    ),
    "Testing with stores and lines that fail": (
        "safebackup.testing",
        ["StoreConformance", "FaultyStore", "CrashingStore", "SimulatedCrash", "RecordingStore", "FaultProxy", "Mode"],
    ),
    "Findings": ("safebackup.findings", ["Finding", "Severity"]),
    "Entries": ("safebackup.format.manifest", ["Entry", "EntryKind"]),
    "Exit statuses": ("safebackup.statuses", ["ExitStatus", "status_of"]),
    "Errors": (
        "safebackup.errors",
        [
            "SafeBackupError",
            "ConfigurationError",
            "NotFoundError",
            "ConflictError",
            "StorageError",
            "CommandError",
            "AccessError",
            "IntegrityError",
            "RefusedError",
            "InternalError",
        ],
    ),
    "Events": (
        "safebackup.events",
        [
            "Event",
            "RunStarted",
            "RunFinished",
            "FilesCounted",
            "ObjectStored",
            "FindingRaised",
            "ChunksRescued",
            "logged",
            "ignore",
        ],
    ),
    "Stores": (
        "safebackup.storage",
        ["open_store", "ReadStore", "AppendStore", "DeleteStore", "ObjectInfo", "LocalStore", "MemoryStore"],
    ),
}
MADE_BY_CALLERS = {
    "Check",
    "KeyFile",
    "LocalStore",
    "MemoryStore",
    "Passphrase",
    "SafeBackupError",
    "SnapshotWriter",
    "Source",
    "StorageError",
    "TarSnapshotWriter",
}
# Public in Python's sense, but for the library's own layers: docs/reference/compatibility.md says so.
OWN = {
    "Repository": {
        "store",
        "configurations",
        "keyring",
        "runtime",
        "identity",
        "chunker",
        "history",
        "reader",
    },
    "Snapshot": {"body", "name", "require_repository"},
    "Entry": {"mtime", "content", "digest"},
    "Source": {"rules", "roots"},
    "Passphrase": {"method", "material"},
    "KeyFile": {"method", "material"},
    "LocalStore": {"ways"},
    "StorageError": {"from_os"},
}


def pages() -> dict[Path, str]:
    """Every generated page and what it has to hold."""
    return {DOCS / "reference" / "api.md": api_page(), DOCS / "reference" / "errors.md": errors_page()}


# The API


def api_page() -> str:
    """All public names: signature, meaning, errors."""
    parts = [
        "# API",
        NOTICE,
        "What is listed here is public; [compatibility.md](compatibility.md) says what that means.\n"
        'Wherever a choice has names (`Level`, `Overwrite`, `Evidence`, …), its text does too: `level="full"`.',
    ]
    for heading, (home, names) in API.items():
        parts.append(f"## {heading}\n\n`from {home} import …`")
        module = import_module(home)
        parts += [part for name in names for part in _described(module, name)]
    return "\n\n".join(parts) + "\n"


def _described(module: ModuleType, name: str) -> Iterator[str]:
    thing = getattr(module, name)
    yield f"### {name}"
    if not inspect.isclass(thing):
        yield _signature(name, thing)
        yield _prose(thing)
        return
    if name in MADE_BY_CALLERS:
        yield _signature(name, thing.__init__)
    yield _prose(thing)
    if isinstance(thing, EnumMeta):
        notes = _notes(thing)
        members: list[Enum] = list(thing)
        for_people = {each: f"{name}.{each.name}" if isinstance(each, int) else f'"{each.value}"' for each in members}
        yield "\n".join(f"* `{text}`" + _dash(notes.get(each.name)) for each, text in for_people.items())
        return
    if fields := _fields(thing, name):
        yield "| field | type | |\n| --- | --- | --- |\n" + "\n".join(fields)
    yield from _methods(thing, name)


def _fields(thing: type, name: str) -> list[str]:
    if name in ("Passphrase", "KeyFile"):
        return []
    types = dict[str, object]()
    if attrs.has(thing):
        types = {field.name: field.type for field in attrs.fields(thing)}
    elif issubclass(thing, msgspec.Struct):
        types = {field: thing.__annotations__[field] for field in thing.__struct_fields__}
    notes = _notes(thing)
    return [
        f"| `{field}` | `{_cell(str(kind))}` | {notes.get(field, '')} |"
        for field, kind in types.items()
        if field not in OWN.get(name, ()) and not field.startswith("_")
    ]


def _methods(thing: type, name: str) -> Iterator[str]:
    for member, value in vars(thing).items():
        if member.startswith("_") or member in OWN.get(name, ()):
            continue
        if isinstance(value, property):
            yield f"#### {name}.{member}\n\n{_prose(value)}"
        elif isinstance(value, classmethod | staticmethod):
            yield f"#### {name}.{member}\n\n{_signature(f'{name}.{member}', value.__func__)}\n\n{_prose(value)}"
        elif inspect.isfunction(value):
            yield f"#### {name}.{member}\n\n{_signature(f'{name}.{member}', value)}\n\n{_prose(value)}"


def _signature(name: str, function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    parameters = []
    starred = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parameters.append("*")
        starred = starred or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        text = ("*" if parameter.kind is parameter.VAR_POSITIONAL else "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_quoted(str(parameter.annotation))}"
        if parameter.default is not parameter.empty:
            text += f" = {_value(parameter.default)}"
        parameters.append(text)
    result = signature.return_annotation
    tail = "" if result in (signature.empty, "None", None) else f" -> {result}"
    line = f"{name}({', '.join(parameters)}){tail}"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){tail}"
    return f"```text\n{line}\n```"


def _value(value: object) -> str:
    if isinstance(value, Enum):
        return f'"{value.value}"'
    return value.__name__ if inspect.isfunction(value) else _quoted(repr(value))


def _quoted(text: str) -> str:
    return text.replace("'", '"')


def _prose(thing: object) -> str:
    """A docstring as Markdown; what it raises as a list."""
    text, raises, errors_raised = (inspect.getdoc(thing) or "").partition("\nRaises:\n")
    if not raises:
        return text.strip()
    entries = re.split(r"\n(?=\S)", textwrap.dedent(errors_raised).strip())
    rows = []
    for entry in entries:
        names, _, meaning = entry.partition(":")
        kinds = ", ".join(f"`{kind.strip()}`" for kind in names.split(","))
        rows.append(f"* {kinds}: {' '.join(meaning.split())}")
    return text.strip() + "\n\nRaises:\n\n" + "\n".join(rows)


def _notes(thing: type) -> dict[str, str]:
    """The comments behind the fields of a class: `name: type  # comment`."""
    found = re.findall(r"^    (\w+)(?::| =)[^#\n]*  # (.+)$", inspect.getsource(thing), re.MULTILINE)
    return {name: comment for name, comment in found if not comment.startswith("noqa")}


def _dash(note: str | None) -> str:
    return f": {note}" if note else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# The errors


def errors_page() -> str:
    """Every code: as what it is raised, what it means, what to do."""
    told = tomllib.loads((DOCS / "errors.toml").read_text(encoding="utf-8"))
    uses = uses_of_codes()
    parts = [
        "# Errors and findings",
        NOTICE,
        "Every error that safebackup raises on purpose is a `SafeBackupError` with a `code` and a `hint`.\n"
        "Codes are stable: compare them, never the message. Findings in reports have the same codes.",
        "```text\n" + _tree() + "\n```",
        "What stops the work is raised. What was noticed and survived is a finding in the report: "
        "the word *finding* in the second column.\n"
        "`verify` reports damage as findings, also under codes that other verbs raise.",
    ]
    for group, codes in _groups():
        rows = [
            f'| <a id="{code}"></a>`{code}` | {", ".join(uses.get(code) or ["not used yet"])} | '
            f"{_cell(told[code]['means'])} | {_cell(told[code]['do'])} |"
            for code in codes
        ]
        table = ["| code | raised as | what it means | what to do |", "| --- | --- | --- | --- |", *rows]
        parts.append(f"## {group}\n\n" + "\n".join(table))
    return "\n\n".join(parts) + "\n"


def _tree() -> str:
    return textwrap.dedent((errors.__doc__ or "").split("\n\n")[1])


def _groups() -> Iterator[tuple[str, list[str]]]:
    """The registry in its order, grouped by the comments in it."""
    group, codes = "", list[str]()
    for line in inspect.getsource(errors.Code).splitlines():
        if heading := re.fullmatch(r"    # (.+)", line):
            if codes:
                yield group, codes
            group, codes = heading[1], []
        elif code := re.fullmatch(r'    [A-Z_]+ = "(.+)"', line):
            codes.append(code[1])
    yield group, codes


def uses_of_codes() -> dict[str, list[str]]:
    """As what each code leaves the library: names of error classes, or `finding`."""
    uses: dict[str, set[str]] = {}
    for path in SOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for code, use in _uses_in(tree, registry=path == Path(errors.__file__)):
            uses.setdefault(errors.Code[code].value, set()).add(use)
    uses.setdefault("internal", set()).add("InternalError")
    return {code: sorted(found, key=lambda use: (use == "finding", use)) for code, found in uses.items()}


def _uses_in(tree: ast.Module, *, registry: bool) -> Iterator[tuple[str, str]]:
    taken: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (kind := _error_class(node, registry=registry)) is not None:
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            code = _code(given[0]) if given else kind.default_code.name
            if code is not None:
                yield code, kind.__name__
            taken.update(id(value) for value in given)
        elif isinstance(node, ast.Compare):
            taken.update(id(part) for part in ast.walk(node))
        elif isinstance(node, ast.Dict):
            taken.update(map(id, node.keys))  # a table of what is to be said or done about a code
    for node in ast.walk(tree):
        if not registry and id(node) not in taken and (code := _code(node)) is not None:
            yield code, "finding"


def _error_class(call: ast.Call, *, registry: bool) -> type[errors.SafeBackupError] | None:
    if not isinstance(call.func, ast.Name):
        return None
    if registry:
        return errors.StorageError if call.func.id == "cls" else None
    kind = getattr(errors, call.func.id, None)
    return kind if inspect.isclass(kind) and issubclass(kind, errors.SafeBackupError) else None


def _code(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Code":
        return node.attr
    return None


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(DOCS.parent))
