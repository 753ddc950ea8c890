"""WebDAV servers that are weaker than rclone's, and more widespread: for the long run of the tests."""

from __future__ import annotations

import os
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path

from tests.servers import WebdavServer
from tests.servers.programs import HOST, Program, found, free_ports, http_status, running
from tests.servers.webdav import SECRET, USER

_APACHE = """
ServerRoot {folder}
ServerName {host}
Listen {host}:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
{modules}
DavLockDB {folder}/locks
DocumentRoot {folder}/data
User {user}
Group {user}
<Location />
  Dav On
  SetOutputFilter DEFLATE
  AuthType Basic
  AuthName tests
  AuthUserFile {folder}/users
  Require valid-user
</Location>
"""
_MODULES = [
    *("mpm_event", "authn_core", "authn_file", "auth_basic", "authz_core", "authz_user"),
    *("dir", "autoindex", "dav", "dav_fs", "filter", "deflate"),
]


@contextmanager
def start_wsgidav(folder: Path) -> Iterator[WebdavServer]:
    """wsgidav: two moves to one name may both succeed."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    program = found("wsgidav", get_it="pip install wsgidav cheroot")
    with free_ports(1) as [port]:
        settings = folder / "wsgidav.yaml"
        settings.write_text(
            f"host: {HOST}\nport: {port}\nserver: cheroot\nprovider_mapping:\n  /: {folder / 'data'}\n"
            f"simple_dc:\n  user_mapping:\n    '*':\n      {USER}:\n        password: {SECRET}\n"
        )
        command = [program, "--config", str(settings), "--quiet"]
        server = Program(command, folder, lambda: http_status(port, "PROPFIND", "/") == 401)
        with running(server):
            yield WebdavServer(server, port, SECRET)


@contextmanager
def start_apache() -> Iterator[WebdavServer]:
    """Apache's mod_dav: two moves to one name may both succeed; weak tags; 400 for what lies below a file.

    In a folder of its own making, as Apache is not root while it serves, and may not enter those of pytest.
    """
    program = found("apache2", get_it="apt-get install apache2-bin")
    user = "www-data" if os.geteuid() == 0 else f"#{os.geteuid()}"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "data").mkdir()
        for each in (folder, folder / "data"):
            each.chmod(0o777)
        yield from _serve_apache(program, folder, user)


def _serve_apache(program: str, folder: Path, user: str) -> Iterator[WebdavServer]:
    (folder / "users").write_text(f"{USER}:{{SHA}}{_hashed(SECRET)}\n")
    root = Path(program).resolve().parent.parent / "lib" / "apache2" / "modules"
    modules = "\n".join(f"LoadModule {name}_module {root}/mod_{name}.so" for name in _MODULES)
    with free_ports(1) as [port]:
        settings = folder / "apache.conf"
        settings.write_text(_APACHE.format(folder=folder, host=HOST, port=port, modules=modules, user=user))
        command = [program, "-f", str(settings), "-DFOREGROUND"]
        server = Program(command, folder, lambda: http_status(port, "GET", "/") == 401)
        with running(server):
            yield WebdavServer(server, port, SECRET)


def _hashed(password: str) -> str:
    return b64encode(sha1(password.encode()).digest()).decode()
