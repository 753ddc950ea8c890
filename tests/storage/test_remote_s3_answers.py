"""What an S3 server answers, what that is taken for, and what is never believed."""

from __future__ import annotations

import logging
import pickle
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.storage import DeleteStore, open_store
from safebackup.storage.remote import Limits
from safebackup.storage.remote.s3 import S3Transport, UnusableAnswerError
from safebackup.storage.remote.transport import Trouble
from tests.servers import Server
from tests.storage.contract import MIB
from tests.storage.relaying import Answered, Asked, Relay, passed_on, relayed, s3_error

LIMITS = Limits(request=10, deadline=20, first_answer=20)
HASTY = Limits(request=3, deadline=1, first_answer=1)


def fresh() -> str:
    return f"answers/{secrets.token_hex(6)}"


def opened(
    server: Server,
    folder: str,
    *,
    port: int | None = None,
    limits: Limits = LIMITS,
    but: dict[str, object] | None = None,
) -> DeleteStore:
    at = port or server.port
    options = server.options_at(at) | (but or {})
    return open_store(server.url_at(folder, at), storage_options=options, limits=limits)


@pytest.fixture
def relay(s3_server: Server) -> Iterator[Relay]:
    with relayed(s3_server.port) as relay:
        yield relay


PAGE = "<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{}</ListBucketResult>"
EMPTY_PAGE = PAGE.format("<IsTruncated>false</IsTruncated>").encode()
ODD_PAGES = {
    "a greeting": b"<html><body>Welcome to this network</body></html>",
    "nothing": b"",
    "says not whether it ends": PAGE.format("<Name>tests</Name>").encode(),
    "says not where it goes on": PAGE.format("<IsTruncated>true</IsTruncated>").encode(),
    "goes on where it was": PAGE.format(
        "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    ).encode(),
    "of another folder": PAGE.format(
        "<IsTruncated>false</IsTruncated><Contents><Key>elsewhere/one</Key><Size>1</Size></Contents>"
    ).encode(),
}


@pytest.mark.parametrize("page", ODD_PAGES.values(), ids=ODD_PAGES)
def test_s3_a_page_that_is_no_list_is_not_an_empty_list(s3_server: Server, relay: Relay, page: bytes) -> None:
    relay.answer = lambda _asked: Answered(200, page, {"Content-Type": "application/xml"})
    store = opened(s3_server, fresh(), port=relay.port, limits=HASTY)

    with pytest.raises(StorageError) as caught:
        store.list("")

    assert caught.value.retryable


@pytest.mark.parametrize("page", [ODD_PAGES[name] for name in list(ODD_PAGES)[:3]], ids=list(ODD_PAGES)[:3])
def test_s5_a_root_that_answers_with_something_else_is_not_there(s3_server: Server, relay: Relay, page: bytes) -> None:
    relay.answer = lambda _asked: Answered(200, page, {"Content-Type": "application/xml"})
    transport = S3Transport(s3_server.url(fresh()), s3_server.options_at(relay.port), HASTY)

    with pytest.raises(Exception, match=r"something else|invalid XML") as caught:
        transport.reach()

    assert transport.trouble_of(caught.value) is Trouble.UNKNOWN
    transport.close()


def test_the_empty_objects_that_consoles_draw_as_folders_are_no_entries(s3_server: Server, relay: Relay) -> None:
    folder = fresh()
    keys = [f"{folder}/", f"{folder}/packs/one"]
    page = "".join(f"<Contents><Key>{key}</Key><Size>0</Size></Contents>" for key in keys)
    relay.answer = lambda _asked: Answered(200, PAGE.format(f"<IsTruncated>false</IsTruncated>{page}").encode())
    transport = S3Transport(s3_server.url(folder), s3_server.options_at(relay.port), HASTY)

    assert [each.path for each in transport.entries("")] == ["packs/one"]
    transport.close()


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "RequestTimeout", "again"),
        (400, "IncompleteBody", "again"),
        (400, "XAmzContentSHA256Mismatch", "again"),
        (409, "OperationAborted", "again"),
        (429, "TooManyRequests", "again"),
        (500, "InternalError", "again"),
        (503, "SlowDown", "again"),
        (507, "QuotaExceeded", Code.STORE_FULL),
        (404, "NoSuchBucket", Code.STORE_MISSING),
        (403, "InvalidObjectState", Code.STORE_FAILED),
        (400, "InvalidArgument", Code.STORE_FAILED),
        (403, "AccessDenied", Code.STORE_DENIED),
        (400, "ExpiredToken", Code.STORE_DENIED),
    ],
)
def test_an_error_is_told_as_what_it_is_after_one_request(
    s3_server: Server, relay: Relay, status: int, code: str, told: str
) -> None:
    store = opened(s3_server, fresh(), port=relay.port, limits=Limits(request=5, deadline=0, first_answer=0))
    relay.answer = lambda _asked: s3_error(status, code)

    with pytest.raises(StorageError) as caught:
        store.get("one")

    assert len(relay.seen) == 1  # neither s3fs nor the SDK tries again by itself
    assert caught.value.retryable if told == "again" else caught.value.code == told


@pytest.mark.parametrize(
    "answer",
    [Answered(404, b"<html>no such page</html>"), Answered(404), s3_error(404, "NoSuchThing")],
    ids=["a page", "nothing", "another code"],
)
def test_s5_a_not_found_that_s3_did_not_say_is_no_answer(s3_server: Server, relay: Relay, answer: Answered) -> None:
    store = opened(s3_server, fresh(), port=relay.port, limits=HASTY)
    store.put_new("one", b"1")
    relay.answer = lambda _asked: answer

    with pytest.raises(StorageError) as caught:
        store.get("one")

    assert caught.value.retryable


def test_s4_a_server_that_gives_other_ranges_than_asked_for_is_never_believed(s3_server: Server, relay: Relay) -> None:
    store = opened(s3_server, fresh(), port=relay.port, limits=HASTY)
    store.put_new("one", b"0123456789")
    relay.answer = lambda asked: Answered(200, b"0123456789") if asked.method == "GET" else None

    assert store.get("one") == b"0123456789"
    for start, length in [(3, 4), (0, 4)]:
        with pytest.raises(StorageError) as caught:
            store.get("one", start=start, length=length)
        assert caught.value.retryable

    transport = S3Transport(s3_server.url(fresh()), s3_server.options_at(relay.port), HASTY)
    spans = iter(["bytes 0-1/10", "bytes 1-4/10", "bytes 0-3/10", "bytes 0-1/4"])
    relay.answer = lambda _asked: Answered(206, b"01", {"Content-Range": next(spans)})
    for _ in range(4):
        with pytest.raises(UnusableAnswerError):
            transport.read("one", 0, 4)
    transport.close()


def test_what_was_damaged_on_its_way_up_is_refused_and_sent_again(s3_server: Server, relay: Relay) -> None:
    folder = fresh()
    store = opened(s3_server, folder, port=relay.port)
    store.put_new("one", b"1")
    left = [True]

    def damage(asked: Asked) -> Asked | None:
        if asked.method != "PUT" or not left:
            return None
        left.clear()
        return Asked(asked.method, asked.path, asked.headers, asked.body[:-1] + b"!")

    relay.answer = damage
    store.put_new("two", bytes(MIB))

    assert not left
    assert s3_server.peek(folder)["two"] == bytes(MIB)


def test_an_etag_that_is_no_md5_is_not_taken_for_damage(s3_server: Server, relay: Relay) -> None:
    relay.answer = lambda asked: Answered(200, b"", {"ETag": '"abc"'}) if asked.method == "PUT" else None
    store = opened(s3_server, fresh(), port=relay.port, limits=HASTY)

    with pytest.raises(StorageError) as caught:
        store.put_new("one", b"1")  # and it is not there
    assert caught.value.retryable

    relay.answer = encrypted(s3_server)
    store.put_new("one", b"1")
    assert store.get("one") == b"1"


def encrypted(server: Server) -> Callable[[Asked], Answered | None]:
    def answer(asked: Asked) -> Answered | None:
        if asked.method != "PUT":
            return None
        answered = passed_on(asked, server.port)
        return Answered(answered.status, answered.body, {"ETag": '"1b2cf535f27731c974343645a3985328"'})

    return answer


# Credentials


def test_credentials_that_are_wrong_are_said_to_be(s3_server: Server) -> None:
    wrong: list[dict[str, object]] = [{"key": "nobody"}, {"secret": "Wrong-Secret-1"}]
    for but in wrong:
        store = opened(s3_server, fresh(), but=but)
        with pytest.raises(StorageError) as reading:
            store.get("one")
        with pytest.raises(StorageError) as storing:
            store.put_new("one", b"1")
        assert {reading.value.code, storing.value.code} == {Code.STORE_DENIED}


def test_that_there_are_no_credentials_is_said_at_once(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    store = opened(s3_server, fresh(), but={"key": None, "secret": None})

    with pytest.raises(StorageError) as caught:
        store.get("one")

    assert caught.value.code is Code.STORE_DENIED


def test_credentials_that_are_replaced_while_they_expire_do_not_end_a_run(
    s3_server: Server, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    key = str(s3_server.options["key"])
    line = f"[default]\naws_access_key_id={key}\naws_secret_access_key={s3_server.secret}\n"
    file.write_text(f"{line}aws_session_token=old\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    is_old: Callable[[Asked], bool] = lambda asked: asked.headers.get("x-amz-security-token") == "old"  # noqa: E731
    relay.answer = lambda asked: Answered(200, EMPTY_PAGE) if is_old(asked) else None
    store = opened(s3_server, fresh(), port=relay.port, but={"key": None, "secret": None})
    assert store.list("") == []

    relay.answer = lambda asked: s3_error(400, "ExpiredToken") if is_old(asked) else None
    file.write_text(line)
    store.put_new("one", b"1")
    assert store.get("one") == b"1"

    relay.answer = lambda _asked: s3_error(400, "ExpiredToken")
    with pytest.raises(StorageError) as caught:
        store.get("one")
    assert caught.value.code is Code.STORE_DENIED


@pytest.mark.parametrize(
    "bad",
    [
        {"config_kwargs": "fast"},
        {"config_kwargs": {"no_such_setting": 1}},
        {"client_kwargs": {"no_such_setting": 1}},
        {"no_such_option": 1},
        {"endpoint_url": "nonsense s3-Hunter2-Secret"},
        {"profile": "nobody-has-this-one"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(s3_server: Server, bad: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        S3Transport(s3_server.url(fresh()), s3_server.options | bad, LIMITS)

    assert caught.value.code is Code.BAD_URL
    assert s3_server.secret not in str(caught.value)


def test_secrets_are_shown_nowhere(s3_server: Server, relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = opened(s3_server, fresh(), port=relay.port, limits=HASTY)
    store.put_new("one", b"1")
    relay.answer = lambda _asked: s3_error(403, f"Echo-{s3_server.secret}")
    with pytest.raises(StorageError) as denied:
        store.get("one")
    relay.answer = lambda _asked: s3_error(503, f"Echo-{s3_server.secret}")
    with pytest.raises(StorageError) as unreached:
        store.get("one")

    for error in (denied.value, unreached.value):
        assert "***" in str(error)
        assert error.__cause__ is None
        assert s3_server.secret not in f"{error!r} {error} {error.hint}"
    assert s3_server.secret not in f"{store!r} {store.url}"
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("safebackup")]
    assert ours
    assert not any(s3_server.secret in message for message in ours)
    with pytest.raises(ConfigurationError):
        pickle.dumps(store)
