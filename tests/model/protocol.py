"""A model of how writers, deleters and readers share a store without locks, and a search through all of its states.

The store is one integer, a bit for every name that could ever be put: a put sets bits, a delete clears them, a list
reads them. Each operation is one step, and any process may take the next step, so every interleaving is searched.

What can go wrong is modelled by as little as is needed:

* A process that sleeps is one that is not chosen. A process that crashed is one that is never chosen again, so every
  state of the store that a crash leaves is searched without a step for crashing (a test compares the two).
* A put or delete whose answer is lost goes on its way, and takes effect at any later moment, or never. Its process
  stays where it was: it sends the same again, or is never chosen again, which is giving up.

A pack's name says who put it, how manyeth it was, and what it holds, so that no name recurs. Contents are sets of
chunks, as bits. The intents of one run all name the same manifest, so they are one bit: putting another changes
nothing that anybody could read. Indexes, dooms, suspicions and deaths are never deleted.
"""

from __future__ import annotations

from collections import deque
from functools import reduce
from operator import or_
from random import Random
from typing import Literal, NamedTuple

import attrs

A, B = 1, 2
CHUNKS = (A, B)

RUNS = 3  # run 0 made the first snapshot and is long over; writers are the runs that follow
SLOTS = 3  # packs that one process can put: a writer one at first, and one anew for every deleter
INITIAL_PACKS = 2
PACK_BITS = INITIAL_PACKS + 4 * SLOTS * 3

# Where each family of names begins in the integer that is the store.
PACK = 0
INDEX = PACK_BITS
DOOM = 2 * PACK_BITS
INTENT = 3 * PACK_BITS
SNAPSHOT = INTENT + RUNS
SUSPICION = SNAPSHOT + RUNS
DEATH = SUSPICION + RUNS
REMOVED = DEATH + RUNS  # no object: the model's own memory of snapshots that were deleted on purpose

ALL_PACKS = (1 << PACK_BITS) - 1
ALL_RUNS = (1 << RUNS) - 1

READ, PUT, DELETE = 0, 1, 2


@attrs.frozen
class Rules:
    """What the processes keep to: each default is the protocol, every other value leaves out or changes one rule."""

    intent: bool = True
    dooms_listed: Literal["until none is new", "once after the intent", "before the intent"] = "until none is new"
    live_listed: Literal["after the doom", "before the doom"] = "after the doom"
    dooms_of_others: bool = True
    names: Literal["salted", "writers unsalted", "unsalted"] = "salted"
    reader_believes_deaths: bool = True
    death: Literal["after a suspicion", "after listing snapshots", "at once"] = "after a suspicion"
    last_look: bool = True
    index_after_pack: bool = True
    copy_is_indexed: bool = True
    refuses_for: Literal["snapshots", "snapshots and intents"] = "snapshots"
    copies_of_others: Literal["ignored by writers", "used by writers"] = "ignored by writers"
    relies_on: Literal["settled snapshots", "published snapshots"] = "settled snapshots"
    removed_run: Literal["live until it is dead", "forgotten"] = "live until it is dead"
    reader_reloads: Literal["while something is new", "once"] = "while something is new"


@attrs.frozen
class Scenario:
    """What is in the store at first, and who comes to it.

    `packs` are the contents of the packs that are there, all indexed; `first` is what snapshot 0 needs; `writers` has
    the chunks that each writer needs. `newest`, if any, is what a later run needs that overtook all of the writers.
    With `removal`, deleters may first remove every snapshot older than one on which they rely. At most `in_flight`
    operations whose answer was lost are on their way at once.
    """

    packs: tuple[int, ...]
    first: int
    writers: tuple[int, ...]
    deleters: int
    newest: int = 0
    readers: int = 0
    removal: bool = False
    in_flight: int = 1
    crashes: bool = False
    rules: Rules = Rules()


class Writer(NamedTuple):
    """Where a writer is; `known`: packs that it takes for good, `stored`: how many packs it has put."""

    at: str
    known: int = 0
    stored: int = 0


class Deleter(NamedTuple):
    """Where a deleter is, and what it has in mind.

    `targets`: packs that it has chosen and not deleted yet; `intents` and `snapshots`: runs listed as having one;
    `open`: runs that it may still end, `ending`: the one that it is about to end; `dooms`: packs that it takes for
    doomed; `chunks`: those that live, then those to copy, `firm`: those of them that a snapshot needs; `packs`: where
    it looks for them, then the copy.
    """

    at: str
    targets: int = 0
    intents: int = 0
    snapshots: int = 0
    open: int = 0
    ending: int = 0
    dooms: int = 0
    chunks: int = 0
    firm: int = 0
    packs: int = 0


class Reader(NamedTuple):
    """Where a reader is; `run`: whose snapshot it restores, `packs`: those that the indexes it loaded name."""

    at: str
    run: int = 0
    packs: int = 0


Process = Writer | Deleter | Reader
Operation = tuple[int, int, Process]  # READ, PUT or DELETE; the bits; the process afterwards
Flight = tuple[int, int]  # PUT or DELETE; the bits
Violation = Literal["lost", "void", "none left", "dangling", "false alarm", "stuck"]
"""A snapshot that is published, or was reported as made, lacks a chunk; one that was reported as made is not published;
no snapshot is published any more; an index names a pack that is neither there nor doomed; a reader takes a sound
snapshot for damaged; a deleter refuses for want of what no snapshot needs, as every one after it would."""

CRASHED = Writer("crashed")


class State(NamedTuple):
    """One moment: the store, the operations on their way, the processes."""

    store: int
    flights: tuple[Flight, ...]
    processes: tuple[Process, ...]


class Step(NamedTuple):
    """Who did what: one line of a trace."""

    who: str
    at: str
    verb: int = READ
    mask: int = 0


@attrs.frozen
class Outcome:
    """What a search found: a `violation` with a shortest way to it, or none in `states` (all of them if `complete`)."""

    states: int
    complete: bool
    violation: Violation | None
    trace: tuple[str, ...]
    seen_from_outside: frozenset[tuple[int, tuple[bool, ...]]]


class Model:
    """The states of one scenario: the first, those that follow from another, and what is wrong with one."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rules = scenario.rules
        self.needs = (scenario.first, *scenario.writers, scenario.newest)
        self.needs_by_runs = tuple(
            reduce(or_, (needs for run, needs in enumerate(self.needs) if runs >> run & 1), 0)
            for runs in range(1 << RUNS)
        )
        self.holding = tuple(
            sum(1 << pack for pack in range(PACK_BITS) if _content(pack, scenario) & chunk) for chunk in CHUNKS
        )
        self.who = tuple(f"{type(me).__name__.lower()} {n}" for n, me in enumerate(self.start().processes, 1))

    def missing(self, chunks: int, packs: int) -> int:
        """Which of `chunks` none of `packs` holds."""
        holding_a, holding_b = self.holding
        return chunks & ((0 if packs & holding_a else A) | (0 if packs & holding_b else B))

    def chunks_of(self, runs: int) -> int:
        """What any of `runs` needs."""
        return self.needs_by_runs[runs & ALL_RUNS]

    def name(self, process: int, slot: int, content: int) -> int:
        """The bit of the pack that `process` puts as its `slot`-th."""
        names = self.rules.names
        is_writer = process < len(self.scenario.writers)
        if names == "unsalted" or (names == "writers unsalted" and is_writer):
            if content in self.scenario.packs:
                return 1 << self.scenario.packs.index(content)
            return _new_pack(0, 0, content)
        return _new_pack(process, slot, content)

    # What a writer can do next.

    def writer(self, store: int, me: Writer, process: int) -> list[Operation]:
        """From the start to the last look at suspicions and deaths."""
        run = 1 << (process + 1)
        rules = self.rules
        first = "intent" if rules.intent and rules.dooms_listed != "before the intent" else "dooms"
        match me.at:
            case "start":
                known = store >> INDEX & ~(store >> DOOM) & ALL_PACKS
                return [(READ, 0, self._stores_or(process, known, 0, "pack", first))]
            case "pack" | "index" | "pack anew" | "index anew":
                return [self._storing(process, me, first)]
            case "intent":
                then = "ask" if rules.dooms_listed == "before the intent" else "dooms"
                return [(PUT, run << INTENT, Writer(then, me.known, me.stored))]
            case "dooms":
                then = "intent" if rules.intent and first == "dooms" else "ask"
                known = me.known & ~(store >> DOOM)
                found = self._stores_or(process, known, me.stored, "pack anew", then)
                looks_again = found.at == "pack anew" and rules.copies_of_others == "used by writers"
                again = [(READ, 0, Writer("indexes", known, me.stored))] if looks_again else []
                return [(READ, 0, found), *again]
            case "indexes":
                return [(READ, 0, Writer("dooms", store >> INDEX & ALL_PACKS, me.stored))]
            case "ask" | "last look":
                ended = (store >> SUSPICION | store >> DEATH) & run
                return [(READ, 0, Writer("failed" if ended else "commit" if me.at == "ask" else "success"))]
            case "commit":
                return [(PUT, run << SNAPSHOT, Writer("last look" if rules.last_look else "success"))]
        return []

    def _stores_or(self, process: int, known: int, stored: int, storing: str, otherwise: str) -> Writer:
        return Writer(storing if self.missing(self.needs[process + 1], known) else otherwise, known, stored)

    def _storing(self, process: int, me: Writer, first: str) -> Operation:
        pack = self.name(process, me.stored, self.missing(self.needs[process + 1], me.known))
        anew = me.at.removeprefix("pack").removeprefix("index")
        early, late = (PACK, INDEX) if self.rules.index_after_pack else (INDEX, PACK)
        if me.at.startswith("pack"):
            return PUT, pack << early, Writer("index" + anew, me.known, me.stored)
        then = "ask" if anew and self.rules.dooms_listed == "once after the intent" else first
        return PUT, pack << late, Writer(then, me.known | pack, me.stored + 1)

    # What a deleter can do next.

    def deleter(self, store: int, me: Deleter, process: int) -> list[Operation]:
        """From choosing packs to deleting them."""
        early_doom = self.rules.live_listed == "after the doom"
        match me.at:
            case "start":
                begins = ["remove: snapshots"] if self.scenario.removal else []
                begins.append("doom" if early_doom else "intents")
                chosen = _subsets(store >> PACK & ALL_PACKS)
                return [(READ, 0, Deleter(then, targets)) for targets in chosen for then in begins]
            case "remove: snapshots" | "remove: endings" | "remove":
                return self._removing(store, me)
            case "doom":
                then = "intents" if early_doom else "dooms"
                return [(PUT, me.targets << DOOM, me._replace(at=then))]
            case "intents" | "snapshots" | "suspicion" | "death":
                return self._listing_runs(store, me)
            case "delete":
                rest = [(pack, me.targets & ~pack) for pack in _bits(me.targets)]
                return [(DELETE, pack << PACK, Deleter("delete" if left else "done", left)) for pack, left in rest]
        return self._copying(store, me, process)

    def _removing(self, store: int, me: Deleter) -> list[Operation]:
        """Removing what is older than the newest snapshot on which this deleter relies."""
        if me.at == "remove: snapshots":
            return [(READ, 0, Deleter("remove: endings", me.targets, snapshots=store >> SNAPSHOT & ALL_RUNS))]
        if me.at == "remove":
            victim = me.snapshots & -me.snapshots
            left = me.snapshots & ~victim
            return [(DELETE, victim << SNAPSHOT, Deleter("remove" if left else "doom", me.targets, snapshots=left))]
        relied = me.snapshots & ~(store >> DEATH)
        if self.rules.relies_on == "settled snapshots":
            relied &= ~(store >> SUSPICION)
        victims = me.snapshots & ((1 << max(relied.bit_length() - 1, 0)) - 1)
        return [(READ, 0, Deleter("remove" if victims else "doom", me.targets, snapshots=victims))]

    def _listing_runs(self, store: int, me: Deleter) -> list[Operation]:
        """Listing intents, ending any of their runs, and listing snapshots."""
        intents, snapshots = store >> INTENT & ALL_RUNS, store >> SNAPSHOT & ALL_RUNS
        if me.at == "intents":
            return [(READ, 0, Deleter("snapshots", me.targets, intents, open=intents))]
        respected = Deleter("snapshots", me.targets, me.intents, open=me.open & ~me.ending)
        if me.at == "death":
            return [(PUT, me.ending << DEATH, respected)]
        if me.at == "suspicion":
            return [(READ, 0, respected if snapshots & me.ending else me._replace(at="death"))]
        then = "dooms" if self.rules.live_listed == "after the doom" else "doom"
        done = (READ, 0, Deleter(then, me.targets, me.intents, snapshots))
        return [done, *(self._ending(me, run, snapshots) for run in _bits(me.open))]

    def _ending(self, me: Deleter, run: int, snapshots: int) -> Operation:
        """The first step of ending `run`."""
        respected = me._replace(open=me.open & ~run)
        if self.rules.death == "at once":
            return PUT, run << DEATH, respected
        if self.rules.death == "after listing snapshots":
            return READ, 0, respected if snapshots & run else me._replace(at="death", ending=run)
        return PUT, run << SUSPICION, me._replace(at="suspicion", ending=run)

    def _copying(self, store: int, me: Deleter, process: int) -> list[Operation]:
        """Learning what lives, and copying what of it is nowhere but in doomed packs."""
        match me.at:
            case "dooms" | "dooms again":
                dooms = store >> DOOM & ALL_PACKS if self.rules.dooms_of_others else me.targets
                return [(READ, 0, me._replace(at="deaths" if me.at == "dooms" else "indexes again", dooms=dooms))]
            case "deaths":
                return [(READ, 0, self._living(store, me))]
            case "indexes" | "indexes again":
                indexed = store >> INDEX & ALL_PACKS
                to_copy = self.missing(me.chunks, indexed & ~me.dooms)
                then = me._replace(at=me.at.replace("indexes", "get"), chunks=to_copy, dooms=0, packs=indexed)
                return [(READ, 0, then if to_copy else Deleter("delete", me.targets))]
            case "get" | "get again":
                return [(READ, 0, self._getting(store, me, process))]
            case "copy":
                then = me._replace(at="publish") if self.rules.copy_is_indexed else Deleter("delete", me.targets)
                return [(PUT, me.packs << PACK, then)]
            case "publish":
                return [(PUT, me.packs << INDEX, Deleter("delete", me.targets))]
        return []

    def _living(self, store: int, me: Deleter) -> Deleter:
        ended = store >> DEATH
        if self.rules.removed_run == "forgotten":
            ended |= store >> REMOVED
        firm = self.chunks_of(me.snapshots & ~ended)
        live = firm | self.chunks_of(me.intents & ~ended)
        return Deleter("indexes", me.targets, dooms=me.dooms, chunks=live, firm=firm)

    def _getting(self, store: int, me: Deleter, process: int) -> Deleter:
        nowhere = self.missing(me.chunks, me.packs & store >> PACK)
        if nowhere and me.at == "get":
            return Deleter("dooms again", me.targets, chunks=me.chunks, firm=me.firm)
        if nowhere & me.firm:
            return Deleter("refused")
        if nowhere and self.rules.refuses_for == "snapshots and intents":
            return Deleter("refused for an intent")
        copied = me.chunks & ~nowhere
        if not copied:
            return Deleter("delete", me.targets)
        return Deleter("copy", me.targets, packs=self.name(process, 0, copied))

    # What a reader can do next.

    def reader(self, store: int, me: Reader) -> list[Operation]:
        """From choosing a snapshot to having all of its chunks, or saying that it is damaged."""
        snapshots, indexed = store >> SNAPSHOT & ALL_RUNS, store >> INDEX & ALL_PACKS
        match me.at:
            case "start":
                return [(READ, 0, Reader("deaths", run)) for run in _bits(snapshots)]
            case "deaths":
                return [(READ, 0, Reader("void" if store >> DEATH & me.run else "indexes", me.run))]
            case "indexes":
                return [(READ, 0, Reader("get", me.run, indexed))]
            case "get" | "get again":
                if not self.missing(self.chunks_of(me.run), me.packs & store >> PACK):
                    return [(READ, 0, Reader("restored"))]
                again = me.at == "get" or self.rules.reader_reloads == "while something is new"
                return [(READ, 0, me._replace(at="indexes again" if again else "damaged"))]
            case "indexes again":
                at = "get again" if indexed & ~me.packs else "damaged"
                return [(READ, 0, Reader(at, me.run, indexed))]
        return []

    # All of them together.

    def start(self) -> State:
        """The first state."""
        scenario = self.scenario
        there = (1 << len(scenario.packs)) - 1
        processes: list[Process] = [Writer("start") for _ in scenario.writers]
        processes += [Deleter("start") for _ in range(scenario.deleters)]
        processes += [Reader("start") for _ in range(scenario.readers)]
        snapshots = 1 | (1 << (len(scenario.writers) + 1) if scenario.newest else 0)
        return State(there << PACK | there << INDEX | snapshots << SNAPSHOT, (), tuple(processes))

    def operations(self, store: int, me: Process, process: int) -> list[Operation]:
        """What one process can do next."""
        if isinstance(me, Writer):
            return self.writer(store, me, process)
        return self.deleter(store, me, process) if isinstance(me, Deleter) else self.reader(store, me)

    def next_states(self, state: State) -> list[tuple[Step, State]]:
        """Every state that one step leads to, and the step."""
        store, flights, processes = state
        scenario = self.scenario
        found: list[tuple[Step, State]] = []
        for number, (verb, mask) in enumerate(flights):
            rest = flights[:number] + flights[number + 1 :]
            found.append((Step("late", "", verb, mask), State(_applied(store, verb, mask), rest, processes)))
        for process, me in enumerate(processes):
            before, after = processes[:process], processes[process + 1 :]
            operations = self.operations(store, me, process)
            who = self.who[process]
            for verb, mask, then in operations:
                step = Step(who, me.at, verb, mask)
                found.append((step, State(_applied(store, verb, mask), flights, (*before, then, *after))))
                if verb != READ and len(flights) < scenario.in_flight and (verb, mask) not in flights:
                    lost = State(store, tuple(sorted((*flights, (verb, mask)))), processes)
                    found.append((Step(who, me.at + ", answer lost", verb, mask), lost))
            if operations and scenario.crashes:
                found.append((Step(who, "crash"), State(store, flights, (*before, CRASHED, *after))))
        return found

    def violation(self, state: State) -> Violation | None:
        """What is wrong with the state, if anything."""
        store = state.store
        packs, indexed = store >> PACK & ALL_PACKS, store >> INDEX & ALL_PACKS
        published = store >> SNAPSHOT & ALL_RUNS
        if self.rules.reader_believes_deaths:
            published &= ~(store >> DEATH)
        promised = published
        for process, me in enumerate(state.processes):
            if me.at == "success":
                promised |= 2 << process & ~(store >> REMOVED)
        if self.missing(self.chunks_of(promised), packs & indexed):
            return "lost"
        if promised & ~published:
            return "void"
        for me in state.processes:
            if isinstance(me, Reader) and me.at == "damaged" and me.run & published:
                return "false alarm"
            if me.at == "refused for an intent":
                return "stuck"
        if not published:
            return "none left"
        return "dangling" if indexed & ~packs & ~(store >> DOOM) else None


def search(scenario: Scenario, *, limit: int | None = None, only: Violation | None = None) -> Outcome:
    """Visits every state, breadth first, or about `limit` of them, and stops at the first that is wrong.

    With `only`, what is wrong in another way does not stop it.
    """
    model = Model(scenario)
    start = model.start()
    came_from: dict[State, State | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for _, then in model.next_states(state):
            if then in came_from:
                continue
            came_from[then] = state
            if (wrong := model.violation(then)) is not None and only in (None, wrong):
                return Outcome(len(came_from), False, wrong, _trace(model, came_from, then), frozenset())
            queue.append(then)
        if limit is not None and len(came_from) >= limit:
            return Outcome(len(came_from), False, None, (), frozenset())
    return Outcome(len(came_from), True, None, (), frozenset(map(_seen_from_outside, came_from)))


def walk(scenario: Scenario, *, seed: int, walks: int) -> Outcome:
    """Follows `walks` random ways from the start to where no step is left; `states` counts the steps."""
    model = Model(scenario)
    random = Random(seed)
    steps = 0
    for _ in range(walks):
        state, way = model.start(), list[str]()
        while following := model.next_states(state):
            step, state = random.choice(following)
            way.append(_sentence(step, scenario))
            steps += 1
            if (wrong := model.violation(state)) is not None:
                return Outcome(steps, False, wrong, tuple(way), frozenset())
    return Outcome(steps, False, None, (), frozenset())


def _trace(model: Model, came_from: dict[State, State | None], last: State) -> tuple[str, ...]:
    steps: list[str] = []
    before = came_from[last]
    while before is not None:
        step = next(step for step, then in model.next_states(before) if then == last)
        steps.append(_sentence(step, model.scenario))
        last, before = before, came_from[before]
    return tuple(f"{number}. {step}" for number, step in enumerate(reversed(steps), 1))


def _seen_from_outside(state: State) -> tuple[int, tuple[bool, ...]]:
    """The store, and who has reported success."""
    return state.store, tuple(process.at == "success" for process in state.processes)


def _bits(mask: int) -> list[int]:
    """The single bits that make up `mask`."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low)
        mask ^= low
    return found


def _subsets(mask: int) -> list[int]:
    """Every subset but the empty one."""
    found, subset = [], mask
    while subset:
        found.append(subset)
        subset = (subset - 1) & mask
    return found


def _new_pack(process: int, slot: int, content: int) -> int:
    assert slot < SLOTS, "the name would be that of another process's pack"
    return 1 << (INITIAL_PACKS + (process * SLOTS + slot) * 3 + content - 1)


def _content(pack: int, scenario: Scenario) -> int:
    if pack < INITIAL_PACKS:
        return scenario.packs[pack] if pack < len(scenario.packs) else 0
    return (pack - INITIAL_PACKS) % 3 + 1


def _applied(store: int, verb: int, mask: int) -> int:
    if verb == DELETE:
        return store & ~mask | (mask >> SNAPSHOT & ALL_RUNS) << REMOVED
    return store | mask if verb == PUT else store


FAMILIES = {
    "pack": PACK,
    "index of pack": INDEX,
    "doom of pack": DOOM,
    "intent of run": INTENT,
    "snapshot of run": SNAPSHOT,
    "suspicion of run": SUSPICION,
    "death of run": DEATH,
}


def _sentence(step: Step, scenario: Scenario) -> str:
    did = f"{step.who}: {step.at}" if step.at else step.who
    if step.verb == READ:
        return did
    names: list[str] = []
    for bit in _bits(step.mask):
        position = bit.bit_length() - 1
        family, shift = [(family, shift) for family, shift in FAMILIES.items() if shift <= position][-1]
        content = _content(position - shift, scenario) if family.endswith("pack") else 0
        held = "".join(letter for letter, chunk in zip("ab", CHUNKS, strict=True) if content & chunk)
        names.append(f"{family} {position - shift}" + (f" ({held})" if held else ""))
    return f"{did}: {'put' if step.verb == PUT else 'delete'} {', '.join(names)}"
