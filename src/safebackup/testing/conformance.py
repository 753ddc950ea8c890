"""The checks of stores as tests, for your own test suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from safebackup.storage.conformance import CHECKS, Outcome, run_checks
from safebackup.storage.conformance.subject import Address, Recipe, Subject, named, own_name, subject_at
from safebackup.storage.conformance.trial import Check
from safebackup.storage.store import DeleteStore


class StoreConformance:
    """A test for each guarantee that a store must keep: inherit it, and say which store.

    Either `store_url`, with `storage_options` if it takes any; or, for a store of your own, `open_store`, and
    `open_unreachable` if it can be had. Its other processes make an instance of your class and call the same methods,
    so that these may rest on nothing that a fixture has made. All is done in a folder of its own, which is removed.
    """

    store_url: ClassVar[str] = ""
    storage_options: ClassVar[Mapping[str, object]] = {}
    allow_unproven_store: ClassVar[bool] = False
    thorough: ClassVar[bool] = False  # takes minutes, and asks for more of everything
    lives_in_one_process: ClassVar[bool] = False  # no other process can reach it, as with a store in memory

    def open_store(self) -> DeleteStore:
        """A new handle on the store, each time it is called."""
        return self._address().open()

    def open_unreachable(self) -> DeleteStore:
        """A handle on one whose root is not there."""
        raise NotImplementedError

    @pytest.mark.parametrize("check", [check for check in CHECKS if not check.thorough], ids=lambda check: check.name)
    def test_store(self, check: Check) -> None:
        """Each check of `safebackup store test`."""
        self._require(check)

    @pytest.mark.parametrize("check", [check for check in CHECKS if check.thorough], ids=lambda check: check.name)
    def test_store_thoroughly(self, check: Check) -> None:
        """Those that only `thorough` asks for."""
        if not self.thorough:
            pytest.skip("thorough = True asks for it")
        self._require(check)

    def _require(self, check: Check) -> None:
        report = run_checks(self._subject(), checks=[check], thorough=self.thorough)
        (result,) = report.checks
        if result.outcome is Outcome.NOT_TRIED and not result.cut_short:
            pytest.skip(result.what)
        if result.outcome is not Outcome.PASSED:
            pytest.fail(f"{result.guarantee}: {result.what}", pytrace=False)

    def _address(self) -> Address:
        if not self.store_url:
            raise NotImplementedError(f"{type(self).__name__} has neither store_url nor open_store")
        return Address(url=self.store_url, options=dict(self.storage_options), allow_unproven=self.allow_unproven_store)

    def _subject(self) -> Subject:
        kind = type(self)
        if kind.open_store is StoreConformance.open_store:
            return subject_at(self._address())
        recipe = Recipe(f"{__name__}:open_of", {"module": kind.__module__, "name": kind.__qualname__})
        has_unreachable = kind.open_unreachable is not StoreConformance.open_unreachable
        return Subject(
            url=self.open_store().url,
            open=self.open_store,
            folder=f"{own_name()}/",
            recipe=None if self.lives_in_one_process else recipe,
            unreachable=self.open_unreachable if has_unreachable else None,
        )


def open_of(*, module: str, name: str) -> DeleteStore:
    """What another process calls to open the store of a class of tests."""
    store: DeleteStore = named(f"{module}:{name}")().open_store()
    return store
