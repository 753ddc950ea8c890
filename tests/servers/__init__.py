"""Real servers, each started by the tests in a folder of its own and on a free port of 127.0.0.1."""

from __future__ import annotations

from tests.servers.azurite import AzureServer, start_azure
from tests.servers.fake_gcs import GcsServer, start_gcs
from tests.servers.ftp import FtpServer, start_ftp
from tests.servers.liar import LiarServer, start_liar
from tests.servers.openssh import SshServer, start_ssh
from tests.servers.seaweed import S3Server, start_s3
from tests.servers.server import BUCKET, Server
from tests.servers.webdav import WebdavServer, start_webdav

__all__ = [
    "BUCKET",
    "AzureServer",
    "FtpServer",
    "GcsServer",
    "LiarServer",
    "S3Server",
    "Server",
    "SshServer",
    "WebdavServer",
    "start_azure",
    "start_ftp",
    "start_gcs",
    "start_liar",
    "start_s3",
    "start_ssh",
    "start_webdav",
]
