"""What the store contract costs: the same bytes to an S3 server through safebackup, and with its client directly.

    .venv/bin/python benchmarks/stores.py                        # starts SeaweedFS by itself
    .venv/bin/python benchmarks/stores.py --url s3://bucket/place --options options.json

Packs and small objects are put and then got back by some threads. All clients take turns in each round, and a ratio is
that of a round, the time through safebackup to the time of the client that it uses: above 1, safebackup is slower.
Medians over the rounds are printed, with the CPU time of this process. With client="obstore", safebackup reads through
obstore and puts through s3fs, and each is compared with its own.

Direct means without the contract: no condition, no checksum of its own, no reading back, no looking first.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for the servers of the tests

from safebackup.storage import DeleteStore, open_store
from safebackup.storage.remote import Limits

MIB = 1 << 20
STEPS = ("put packs", "get packs", "put small", "get small")
LIMITS = Limits(request=120, deadline=600, first_answer=60)


class Client(Protocol):
    """Some way to a place."""

    def put(self, name: str, data: bytes) -> None: ...

    def get(self, name: str) -> object: ...

    def delete(self, name: str) -> None: ...

    def close(self) -> None: ...


@attrs.frozen
class Cost:
    """Of one step in one round."""

    wall_seconds: float
    cpu_seconds: float


class Safebackup:
    """Through the store contract."""

    def __init__(self, url: str, options: Mapping[str, object]) -> None:
        self.store: DeleteStore = open_store(url, storage_options=options, limits=LIMITS)

    def put(self, name: str, data: bytes) -> None:
        self.store.put_new(name, data)

    def get(self, name: str) -> object:
        return self.store.get(name)

    def delete(self, name: str) -> None:
        self.store.delete(name)

    def close(self) -> None:
        self.store.close()  # type: ignore[attr-defined]


class WithS3fs:
    """s3fs as its users call it, with the same settings as safebackup's."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        import s3fs

        plain = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        config = {**plain, **options.get("config_kwargs", {})}
        self.files = s3fs.S3FileSystem(
            skip_instance_cache=True, use_listings_cache=False, **{**options, "config_kwargs": config}
        )
        self.root = url.split("://", 1)[1]

    def put(self, name: str, data: bytes) -> None:
        self.files.pipe_file(f"{self.root}/{name}", data)

    def get(self, name: str) -> object:
        return self.files.cat_file(f"{self.root}/{name}")

    def delete(self, name: str) -> None:
        self.files.rm_file(f"{self.root}/{name}")

    def close(self) -> None:
        pass


class WithObstore:
    """obstore as its users call it."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        from obstore.store import S3Store

        bucket, _, prefix = url.split("://", 1)[1].partition("/")
        endpoint = str(options.get("endpoint_url", ""))
        self.store = S3Store(
            bucket,
            prefix=prefix,
            endpoint=endpoint,
            access_key_id=options.get("key"),
            secret_access_key=options.get("secret"),
            region=options.get("client_kwargs", {}).get("region_name", "us-east-1"),
            virtual_hosted_style_request=False,
            client_options={"allow_http": endpoint.startswith("http:")},
        )

    def put(self, name: str, data: bytes) -> None:
        self.store.put(name, data, use_multipart=False)

    def get(self, name: str) -> object:
        return self.store.get(name).bytes()

    def delete(self, name: str) -> None:
        self.store.delete(name)

    def close(self) -> None:
        pass


Make: TypeAlias = Callable[[str, Mapping[str, Any]], Client]
CLIENTS: dict[str, Make] = {"s3fs": WithS3fs, "safebackup": Safebackup}
if find_spec("obstore") is not None:
    CLIENTS["obstore"] = WithObstore
    CLIENTS["safebackup, client=obstore"] = lambda url, options: Safebackup(url, {**options, "client": "obstore"})


def base_of(name: str, step: str) -> str:
    """The client that is used below, if that is another one."""
    if not name.startswith("safebackup"):
        return ""
    return "obstore" if name.endswith("obstore") and step.startswith("get") else "s3fs"


def measured(act: Callable[[str], object], names: list[str], threads: int) -> Cost:
    """What it costs to do something with all names."""
    wall, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(act, names):
            pass
    return Cost(time.monotonic() - wall, time.process_time() - cpu)


def run_round(client: Client, packs: dict[str, bytes], small: dict[str, bytes], threads: int) -> dict[str, Cost]:
    """All steps with one client, which begins and ends with an empty place."""
    client.put("warm/0", b"warm")  # connected, and asked what the server is
    costs = {}
    for kind, objects in (("packs", packs), ("small", small)):
        names = list(objects)
        costs[f"put {kind}"] = measured(lambda name, of=objects: client.put(name, of[name]), names, threads)  # type: ignore[misc]
        costs[f"get {kind}"] = measured(client.get, names, threads)
    measured(client.delete, [*packs, *small, "warm/0"], threads)
    client.close()
    return costs


@contextmanager
def place(url: str, options: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place that was named, or one on a server that is started for it."""
    if url:
        yield url.rstrip("/"), json.loads(options.read_text()) if options else {}
        return
    from tests.servers import start_s3

    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder, start_s3(Path(folder)) as s:
        yield s.url("bench"), s.options


def ratios(costs: dict[str, dict[str, list[Cost]]], step: str, name: str, base: str) -> list[float]:
    """How many times as long it took as the client that it is compared with, round by round."""
    pairs = zip(costs[step][name], costs[step][base], strict=True)
    return [ours.wall_seconds / direct.wall_seconds for ours, direct in pairs]


def print_table(costs: dict[str, dict[str, list[Cost]]], volumes: dict[str, tuple[int, int]]) -> None:
    """Medians, and ratios where there is something to compare with."""
    print("| step | client | wall | MiB/s | objects/s | CPU | ratio | ratios of the rounds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for step, by_name in costs.items():
        count, size = volumes[step.split()[1]]
        for name, each in by_name.items():
            wall = statistics.median(cost.wall_seconds for cost in each)
            cpu = statistics.median(cost.cpu_seconds for cost in each)
            base = base_of(name, step)
            found = ratios(costs, step, name, base) if base else []
            told = f"{statistics.median(found):.2f}" if found else ""
            rounds = " ".join(f"{ratio:.2f}" for ratio in found)
            rate = f"{count * size / MIB / wall:.1f} | {count / wall:.0f}"
            print(f"| {step} | {name} | {wall:.2f} s | {rate} | {cpu:.2f} s | {told} | {rounds} |")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="an empty place on S3; without it SeaweedFS is started")
    parser.add_argument("--options", type=Path, help="a JSON file of storage options for the URL")
    parser.add_argument("--packs", type=int, default=64)
    parser.add_argument("--pack-mib", type=float, default=16)
    parser.add_argument("--small", type=int, default=500, help="objects of 4 KiB")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--smoke", action="store_true", help="a few bytes, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.packs, options.pack_mib, options.small, options.rounds = 2, 0.25, 5, 1
    return options


def main() -> int:
    """Measure and print."""
    options = arguments()
    data = secrets.token_bytes(int(options.pack_mib * MIB))
    packs = {f"packs/{number:04d}": data for number in range(options.packs)}
    small = {f"small/{number:04d}": data[number : number + 4096] for number in range(options.small)}
    names = list(CLIENTS)
    costs: dict[str, dict[str, list[Cost]]] = {step: {name: [] for name in names} for step in STEPS}
    with place(options.url, options.options) as (url, storage_options):
        for number in range(options.rounds):
            for turn in range(len(names)):
                name = names[(number + turn) % len(names)]
                client = CLIENTS[name](f"{url}/{secrets.token_hex(4)}", storage_options)
                for step, cost in run_round(client, packs, small, options.threads).items():
                    costs[step][name].append(cost)
    print_table(costs, {"packs": (options.packs, len(data)), "small": (options.small, 4096)})
    if options.json:
        told = {
            "threads": options.threads,
            "packs": [options.packs, len(data)],
            "small": [options.small, 4096],
            "costs": {
                step: {name: [attrs.asdict(cost) for cost in each] for name, each in by_name.items()}
                for step, by_name in costs.items()
            },
        }
        options.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
