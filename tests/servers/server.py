"""What every server of the tests can be asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import attrs

from tests.servers.programs import Program

BUCKET = "tests"


@attrs.frozen
class Server(ABC):
    """A server that runs. `secret` is what may be shown nowhere; it is empty where the server asks for none.

    A folder is a name that the test makes up; no folder is made here, but what it lies in is there: the bucket, the
    container, or the root folder.
    """

    program: Program = attrs.field(repr=False)
    port: int
    secret: str = attrs.field(repr=False)

    @property
    def options(self) -> dict[str, object]:
        """Storage options for it."""
        return self.options_at(self.port)

    def url(self, folder: str) -> str:
        """The URL of a folder on it."""
        return self.url_at(folder, self.port)

    @abstractmethod
    def options_at(self, port: int) -> dict[str, object]:
        """Storage options for it through another port of this machine."""

    @abstractmethod
    def url_at(self, folder: str, port: int) -> str:
        """The URL of a folder on it through another port of this machine."""

    @abstractmethod
    def peek(self, folder: str) -> dict[str, bytes]:
        """All files below a folder, by another way than through fsspec; none if it is not there."""

    def stop(self) -> None:
        """End it at once, as a crash would; what it holds stays on disk."""
        self.program.stop()

    def start(self) -> None:
        """Start it again, at the same port and with what it held."""
        self.program.start()


def files_below(folder: Path) -> dict[str, bytes]:
    """All files below a folder of this machine."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
