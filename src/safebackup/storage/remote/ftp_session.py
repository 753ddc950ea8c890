"""One session with an FTP server: getting in, commands, and the connections that data take.

With the storage option `tls=True` it is encrypted, data too. fsspec says what a URL and its options mean; its own
connection would take any server's certificate, so another is made here. The certificate has to be one that this machine
trusts, or be in the file that SSL_CERT_FILE names.
"""

from __future__ import annotations

import codecs
import ftplib
import socket
import ssl
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from fsspec.implementations.ftp import FTPFileSystem

from safebackup.clock import SystemClock
from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.remotes import bad_url, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Trouble

UNKNOWN_COMMAND = ("500", "502", "504")

_BLOCK = 64 << 10
_STOPPING_SECONDS = 5
_NOT_LOGGED_IN = ("530", "532")
_NO = ("550", "553")
_FULL = ("452", "552")
_FULL_WORDS = ("no space", "quota", "disk full")


class FtpError(Exception):
    """What was found out about a reply, or without one, and what it means."""

    def __init__(self, trouble: Trouble, what: str) -> None:
        super().__init__(what)
        self.trouble = trouble


class FtpSession:
    """A session that begins at once, and is over when something goes wrong with it. For one thread at a time.

    `root` is the path that the URL names.
    """

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        self._limits = limits
        self._clock = SystemClock()
        self._type = ""
        told = _told(url, options)
        self.root = str(told["root"])
        self._encoding = str(told["encoding"])
        self._ftp = _connected(shown(url), told, limits)
        weakref.finalize(self, self._ftp.close)

    def command(self, verb: str, place: str = "", *, expected: str = "2") -> str:
        """Send a command, and return the reply.

        Raises:
            ftplib.Error: the reply is not the one that was expected.
        """
        with self._over_if_silent():
            reply = self._ftp.sendcmd(self._request(verb, place))
        if not reply.startswith(expected):
            raise ftplib.error_reply(reply)
        return reply

    def received(self, place: str, start: int, wanted: int, *, is_to_the_end: bool) -> bytes:
        """So many bytes of a file from `start`; what comes after them is not waited for."""
        require_in_time = self._until(wanted)
        data = bytearray(wanted)
        rest = memoryview(data)
        with closing(self._line("RETR", place, rest=start or None)) as line:
            while rest and (count := line.recv_into(rest[:_BLOCK])):
                rest = rest[count:]
                require_in_time()
            if is_to_the_end and not rest:
                if line.recv(1):
                    raise FtpError(Trouble.UNREACHED, f"{place} is longer than a moment ago")
                _hang_up(line)
        if is_to_the_end or rest:
            self._hear()
        else:
            self._hear_of_stopping()
        if rest:
            raise FtpError(Trouble.UNREACHED, f"{wanted - len(rest)} bytes came of {wanted}")
        return bytes(data)

    def store(self, place: str, data: memoryview) -> None:
        """Write a file; what is there is replaced.

        Raises:
            FtpError: the server broke off, and did not say why.
        """
        try:
            self._store(place, data)
        except (ftplib.error_temp, ConnectionError) as error:
            if isinstance(error, ftplib.error_temp) and not _is_unexplained(error):
                raise
            raise FtpError(Trouble.UNREACHED, f"{error}; perhaps the server's disk is full") from error

    def _store(self, place: str, data: memoryview) -> None:
        require_in_time = self._until(len(data))
        with closing(self._line("STOR", place)) as line:
            try:
                for start in range(0, len(data), _BLOCK):
                    line.sendall(data[start : start + _BLOCK])
                    require_in_time()
                _hang_up(line)
            except OSError:
                line.close()
                self._hear_of_stopping(is_reason=True)
                raise
        self._hear()

    def lines(self, verb: str) -> list[str]:
        """The lines of a listing of the folder that is the current one."""
        parts = []
        with closing(self._line(verb, kind="A")) as line:
            while part := line.recv(_BLOCK):
                parts.append(part)
            _hang_up(line)
        self._hear()
        text = b"".join(parts).decode(self._encoding, "surrogateescape")
        if text and not text.endswith("\n"):
            raise FtpError(Trouble.UNREACHED, "a listing was cut off")
        return [line.removesuffix("\r") for line in text.split("\n")[:-1]]

    def set_type(self, kind: str) -> None:
        """Let files be taken as they are ("I") or as text ("A")."""
        if self._type != kind:
            self.command("TYPE", kind)
            self._type = kind

    def close(self) -> None:
        """End it without a word, as nobody waits for a server that may be silent."""
        with suppress(OSError):
            self._ftp.close()

    def _request(self, verb: str, place: str) -> str:
        if self._ftp.sock is None:
            raise FtpError(Trouble.UNREACHED, "the connection was given up")
        return f"{verb} {place}" if place else verb

    def _line(self, verb: str, place: str = "", *, rest: int | None = None, kind: str = "I") -> socket.socket:
        """A connection for data. Once it is closed, the server says how it went."""
        self.set_type(kind)
        return self._ftp.transfercmd(self._request(verb, place), rest)

    def _until(self, size_bytes: int) -> Callable[[], None]:
        """What raises once so many bytes have taken too long, even if each of them came in time."""
        until = self._clock.monotonic() + self._limits.seconds_for(size_bytes)

        def require_in_time() -> None:
            if self._clock.monotonic() > until:
                raise TimeoutError(f"{size_bytes} bytes took too long")

        return require_in_time

    def _hear(self) -> None:
        with self._over_if_silent():
            self._ftp.voidresp()

    def _hear_of_stopping(self, *, is_reason: bool = False) -> None:
        """Hear what the server says when data ended early: one reply, which may be the reason, or of any kind."""
        control = self._ftp.sock
        assert control is not None
        with suppress(OSError, EOFError), self._over_if_silent():
            control.settimeout(min(_STOPPING_SECONDS, self._limits.request))
            try:
                self._ftp.getresp()
            except ftplib.Error:
                if is_reason:
                    raise
            finally:
                control.settimeout(self._limits.request)

    @contextmanager
    def _over_if_silent(self) -> Iterator[None]:
        """End the session if no reply comes: else it could be taken for one to a later command."""
        try:
            yield
        except (OSError, EOFError):
            self.close()
            raise


class _Ftp(ftplib.FTP):
    """As the library's, with names and replies in `names`, valid or not: its own Latin-1 passes all bytes on."""

    names = "utf-8"

    def putline(self, line: str) -> None:
        super().putline(line.encode(self.names, "surrogateescape").decode("latin-1"))

    def getline(self) -> str:
        return super().getline().encode("latin-1").decode(self.names, "replace")


class _Ftps(_Ftp, ftplib.FTP_TLS):
    """TLS whose data connections continue the session of the commands: many servers let nobody else have the data."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        line, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        session = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
        return self.context.wrap_socket(line, server_hostname=self.host, session=session), size


def trouble_of_reply(error: ftplib.error_temp | ftplib.error_perm) -> Trouble:
    """What a reply means by itself."""
    if code_of(error) in _FULL or any(words in str(error).lower() for words in _FULL_WORDS):
        return Trouble.FULL
    if code_of(error) in _NOT_LOGGED_IN:
        return Trouble.DENIED
    if isinstance(error, ftplib.error_temp):
        return Trouble.UNREACHED
    return Trouble.UNKNOWN if code_of(error) in _NO else Trouble.REFUSED


def is_no(error: ftplib.error_perm) -> bool:
    """Whether a reply says "not there" or "not allowed", and nobody knows which."""
    return code_of(error) in _NO and trouble_of_reply(error) is Trouble.UNKNOWN


def _is_unexplained(error: ftplib.error_temp) -> bool:
    return code_of(error) == "426" and trouble_of_reply(error) is Trouble.UNREACHED


def code_of(error: ftplib.Error) -> str:
    """The number that a reply begins with."""
    return str(error)[:3]


def _told(url: str, options: dict[str, object]) -> dict[str, Any]:
    """What the URL and the options say about the server."""
    try:
        told = {"port": 21, "tls": False, **FTPFileSystem._get_kwargs_from_urls(url), **options}
        told["encoding"] = codecs.lookup(str(told.get("encoding") or "utf-8")).name
        told["port"] = int(told["port"])
        told["root"] = FTPFileSystem._strip_protocol(url)
        if not 0 < told["port"] < 65536:
            raise ValueError(f"{told['port']} is no port")
    except (ValueError, TypeError, LookupError) as error:
        raise bad_url(f"{shown(url)} cannot be used: {error}") from None
    if not isinstance(told["tls"], bool):
        raise ConfigurationError(
            f"{shown(url)}: the storage option tls is {told['tls']!r}, and may be true or false",
            hint="Write tls=True: the connection begins in the clear, and is encrypted before anybody logs in.",
        )
    return told


def _connected(where: str, told: dict[str, Any], limits: Limits) -> ftplib.FTP:
    if told["tls"]:
        ftp: _Ftp = _Ftps(context=ssl.create_default_context(), timeout=limits.request, encoding="latin-1")
    else:
        ftp = _Ftp(timeout=limits.request, encoding="latin-1")
    ftp.names = told["encoding"]
    password = str(told.get("password") or "")
    try:
        ftp.connect(str(told["host"]), told["port"])
        ftp.login(str(told.get("username") or ""), password, str(told.get("acct") or ""))
        if isinstance(ftp, _Ftps):
            ftp.prot_p()
    except BaseException as error:
        ftp.close()
        _raise_refusal(where, error)
        raise
    return ftp


def _raise_refusal(where: str, error: BaseException) -> None:
    """Raise for what trying again does not change, and else return."""
    if isinstance(error, ssl.SSLCertVerificationError):
        raise StorageError(
            f"{where}: the server's certificate is not trusted, and no password was sent ({error.verify_message})",
            code=Code.STORE_DENIED,
            hint="Use the name that the certificate has; if the server made its own, let SSL_CERT_FILE name a copy.",
        ) from None
    if isinstance(error, ftplib.error_perm):
        is_denied = trouble_of_reply(error) is Trouble.DENIED
        raise StorageError(
            f"{where} lets nobody in with these credentials: {error}" if is_denied else f"{where}: {error}",
            code=Code.STORE_DENIED if is_denied else Code.STORE_FAILED,
            hint="Check the user and the password, and whether the server wants or has TLS (the storage option tls).",
        ) from None


def _hang_up(line: socket.socket) -> None:
    if isinstance(line, ssl.SSLSocket):
        with suppress(OSError):  # whether all has come is for the server to say
            line.unwrap()
