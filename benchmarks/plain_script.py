"""The backup script that people write today: a tar file, compressed. No more than that: it neither seals nor syncs.

python -P plain_script.py backup|verify|restore FILE SOURCE TARGET
"""

import sys
import tarfile

import zstandard

action, file, source, target = sys.argv[1:]
if action == "backup":
    compressor = zstandard.ZstdCompressor(level=3, threads=-1)
    with zstandard.open(file, "wb", cctx=compressor) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        tar.add(source, arcname=".")
else:
    with zstandard.open(file, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        if action == "restore":
            tar.extractall(target, filter="fully_trusted")  # it is our own, and permissions are to come back
        else:
            assert sum(1 for _ in tar)
