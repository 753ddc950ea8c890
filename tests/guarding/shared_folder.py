"""A file system of fsspec's over a folder, as a stand-in for a store that many hosts share.

It behaves as file servers do: writing is not exclusive, folders must be there, and a listing shows what was put.
"""

from __future__ import annotations

import os
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class SharedFolder(LocalFileSystem):  # type: ignore[misc]
    """`shared://folder/name`."""

    protocol = "shared"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return (
            os.environ["SHARED_FOLDER"]
            + "/"
            + str(path).removeprefix("shared://").replace(os.environ["SHARED_FOLDER"] + "/", "")
        )

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        # As a store does: whole, and seen by nobody before.
        target = self._strip_protocol(path)
        temporary = f"{os.path.dirname(os.environ['SHARED_FOLDER'])}/{os.getpid()}.part"
        with open(temporary, "wb") as file:
            file.write(value)
        os.replace(temporary, target)


fsspec.register_implementation("shared", SharedFolder, clobber=True)
