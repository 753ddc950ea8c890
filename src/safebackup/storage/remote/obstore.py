"""S3 read through obstore, which is quicker; chosen with `storage_options={"client": "obstore"}`.

Reading alone goes through obstore, by its own API, and everything else through `S3Transport`: a restore from a fast
server takes about two thirds of the time, and a backup takes as long as before (`benchmarks/stores.py`). The rest
would also be unsafe: obstore takes any page of XML for a list, and one without objects for an empty list, and lists
the key "a/" as "a".

obstore knows no error of its own here. Whatever it cannot read is read again in the proven way, which then says what is
wrong; and where that succeeds and obstore fails again and again, it is not asked any more. In a process that was forked
it is never asked, because its threads stayed in the parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from fsspec.asyn import sync
from obstore import get_async
from obstore.store import S3Store

from safebackup.clock import SystemClock
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.s3 import S3Transport
from safebackup.storage.store import OBJECT_BYTES_MAX

_FAILURES_MAX = 3  # without one success between them
_SIGNED_FOR = timedelta(minutes=10)  # after half of that, obstore asks for credentials anew
_process: int | None = None  # the one in which obstore's threads live

_log = logging.getLogger("safebackup")


class ObstoreTransport(S3Transport):
    """`S3Transport` with the same options, and another way to read."""

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        super().__init__(url, {name: value for name, value in options.items() if name != "client"}, limits)
        self._failures = 0
        self._quick = self._begun() if _is_process_of_obstore() else None

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""
        data = self._read_quickly(path, start, length)
        if data is not None:
            self._failures = 0
            return data
        data = super().read(path, start, length)
        if self._quick is not None:
            self._failures += 1
            if self._failures >= _FAILURES_MAX:
                _log.warning("obstore cannot read from this server as s3fs can, and is not used any more")
                self._quick = None
        return data

    def _read_quickly(self, path: str, start: int, length: int) -> bytes | None:
        if self._quick is None:
            return None
        try:
            return sync(self._loop, _got, self._quick, path, start, length, self._limits)  # type: ignore[no-any-return]
        except Exception:  # whatever it was, the proven way says what it is
            return None

    def _begun(self) -> S3Store | None:
        try:
            store: S3Store = sync(self._loop, self._connected_quickly)
        except Exception as error:  # not even an option that obstore does not know may end a restore
            _log.warning("obstore cannot be used here, and s3fs reads instead: %s", type(error).__name__)
            return None
        return store

    async def _connected_quickly(self) -> S3Store:
        """A store of obstore's for the same bucket and prefix: where s3fs would go, and with its credentials."""
        client = self._files._s3
        context: dict[str, Any] = {"client_config": client.meta.config, "client_region": client.meta.region_name}
        operation = client.meta.service_model.operation_model("GetObject")
        one = {"Bucket": self._bucket, "Key": "any"}
        endpoint: str = (await client._resolve_endpoint_ruleset(operation, one, context))[0]
        return S3Store(
            self._bucket,
            prefix=self._prefix.rstrip("/"),
            endpoint=endpoint,
            virtual_hosted_style_request=True,  # the endpoint says all there is before the key
            region=context.get("signing", {}).get("region") or client.meta.region_name,
            skip_signature=bool(self._files.anon),
            request_payer="RequestPayer" in self._files.req_kw,
            credential_provider=None if self._files.anon else self._credentials,
            client_options={
                "allow_http": endpoint.startswith("http:"),
                "connect_timeout": timedelta(seconds=self._limits.request),
                "timeout": timedelta(seconds=self._limits.seconds_for(OBJECT_BYTES_MAX)),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
        )

    async def _credentials(self) -> Any:
        found = await self._files._s3._request_signer._credentials.get_frozen_credentials()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.fromtimestamp(SystemClock().now() / 1e9, UTC) + _SIGNED_FOR,
        }


async def _got(store: S3Store, path: str, start: int, length: int, limits: Limits) -> bytes | None:
    asked = get_async(store, path, options={"range": (start, start + length)})
    answer = await asyncio.wait_for(asked, limits.request)
    first, end = answer.range  # many bytes may be asked for, and few be there
    data = await asyncio.wait_for(answer.bytes_async(), limits.seconds_for(end - first))
    is_whole = (first, end) == (start, min(start + length, answer.meta["size"])) and len(data) == end - first
    return data.to_bytes() if is_whole else None


def _is_process_of_obstore() -> bool:
    global _process  # noqa: PLW0603
    if _process is None:
        _process = os.getpid()
    return _process == os.getpid()
