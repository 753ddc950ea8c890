"""What several parts of the suite start once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.postgres import Cluster, binaries, running_cluster
from tests.servers import (
    AzureServer,
    FtpServer,
    GcsServer,
    LiarServer,
    S3Server,
    SshServer,
    WebdavServer,
    start_azure,
    start_ftp,
    start_gcs,
    start_liar,
    start_s3,
    start_ssh,
    start_webdav,
)

# Read when gcsfs is imported; if it is on, gcsfs first asks Google itself, whatever server it is given.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

# Started by nohup, or in the background of a script, this process has been told to ignore these two, and every program
# that a test starts and signals would be too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL cluster of its own."""
    if binaries() is None:
        pytest.skip("takes a PostgreSQL server: apt-get install postgresql")
    with running_cluster() as found:
        yield found


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS: an S3 that honours conditions."""
    with start_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def liar_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiarServer]:
    """rclone's S3: it accepts conditions, and ignores them."""
    with start_liar(tmp_path_factory.mktemp("liar")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """fake-gcs-server."""
    with start_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """Azurite."""
    with start_azure(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """OpenSSH's server, with SFTP."""
    with start_ssh(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(scope="session")
def ftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    """pyftpdlib."""
    with start_ftp(tmp_path_factory.mktemp("ftp")) as server:
        yield server


@pytest.fixture(scope="session")
def webdav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebdavServer]:
    """rclone's WebDAV."""
    with start_webdav(tmp_path_factory.mktemp("webdav")) as server:
        yield server
