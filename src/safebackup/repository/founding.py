"""How those who create the same repository at the same moment agree on one.

Exclusive creation cannot be had on every store, so nothing rests on it. Creators agree with puts and lists alone
(commit-adopt, in rounds): each puts its proposal and lists; whoever sees no other proposal votes for its own as
"committed", everyone else for what it saw. If a list of votes holds nothing but committed votes for one proposal,
that is the decision, and everybody who comes later, however late, arrives at it too: their list holds that vote.
Otherwise another round begins with the proposal that somebody committed to, or else the least in sight.
A creator that dies leaves words that the next one takes up; there is nothing to clean.
"""

from __future__ import annotations

import attrs

from safebackup.errors import Code, ConflictError
from safebackup.format.header import Kind, damaged, parse_header
from safebackup.format.objects import Identity, build_record, read_record
from safebackup.format.records import FoundingBody
from safebackup.repository.keys import NO_KEYS
from safebackup.repository.runtime import Runtime
from safebackup.storage import AppendStore

_ROUNDS_MAX = 50
_PROPOSAL, _VOTE = 1, 2


def agree(store: AppendStore, repository: bytes, configuration: bytes, runtime: Runtime) -> bytes:
    """The founding record that all creators of this place agree on: `configuration` or another's.

    Raises:
        ConflictError: too many creators kept getting in each other's way.
    """
    mine = configuration
    for number in range(_ROUNDS_MAX):
        place = _Round(store, repository, number, runtime)
        proposals = place.say(_PROPOSAL, mine)
        committed = {word.configuration for word in proposals} == {mine}
        votes = place.say(_VOTE, mine if committed else min(word.configuration for word in proposals), committed)
        promised = {vote.configuration for vote in votes if vote.committed}
        if promised and all(vote.committed for vote in votes):
            (decision,) = promised
            return decision
        mine = min(promised) if promised else min(vote.configuration for vote in votes)
    raise ConflictError(
        "other processes kept trying to create this repository at the same moment",
        code=Code.CREATION_CONTESTED,
        hint="Wait until they are done; then open the repository, or run the same call again.",
    )


@attrs.frozen
class _Round:
    store: AppendStore
    repository: bytes
    number: int
    runtime: Runtime

    def say(self, phase: int, configuration: bytes, committed: bool = False) -> list[FoundingBody]:
        """Put one word, then list everybody's words of the same phase."""
        body = FoundingBody(round=self.number, phase=phase, committed=committed, configuration=configuration)
        word = build_record(
            Identity(self.repository, NO_KEYS),
            Kind.FOUNDING,
            body,
            salt=self.runtime.random(32),
            tier=self.number,
        )
        self.store.put_new(word.name, word.data)
        words = [self._read(info.name) for info in self.store.list(f"founding/{self.number}/")]
        return [word for word in words if word.phase == phase]

    def _read(self, name: str) -> FoundingBody:
        data = self.store.get(name)
        identity = Identity(parse_header(data, name=name).repository, NO_KEYS)
        word = read_record(data, FoundingBody, name=name, kind=Kind.FOUNDING, identity=identity)
        if word.round != self.number:
            raise damaged(name, f"it is of round {word.round}")
        return word
