"""Storage options on a command line: what becomes of them, and that no secret stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from safebackup.cli.storage_options import storage_options_of
from safebackup.errors import ConfigurationError

OPTION = "--storage-option"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("hunter2\nand a remark\n", "hunter2"),
        ("12345\n", "12345"),
        ("true", "true"),
        ('"quoted"', '"quoted"'),
        ('["ann", "hunter2"]\n', ["ann", "hunter2"]),
        ('{\n "type": "service_account",\n "private_key": "k"\n}\n', {"type": "service_account", "private_key": "k"}),
        ("[unfinished", "[unfinished"),
        ("", ""),
    ],
)
def test_a_file_holds_a_text_or_a_list_or_an_object(tmp_path: Path, text: str, value: object) -> None:
    (tmp_path / "file").write_text(text)

    assert storage_options_of(OPTION, [f"auth=@{tmp_path}/file"]) == {"auth": value}


@pytest.mark.parametrize(
    "given",
    [
        'auth=["ann","hunter2"]',
        "auth=hunter2",
        "password=hunter2",
        'token={"private_key":"hunter2"}',
        'client_kwargs={"aws_secret_access_key":"hunter2"}',
        'sftp={"password":"hunter2"}',
    ],
)
def test_a_secret_that_is_written_out_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ConfigurationError, match="every user of this machine") as caught:
        storage_options_of(OPTION, [given])

    assert "hunter2" not in str(caught.value)
    assert "=@FILE" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("token=anon", "anon"),
        ("token=/etc/key.json", "/etc/key.json"),
        ("port=22", 22),
        ('client_kwargs={"region_name":"x"}', {"region_name": "x"}),
        ('client_keys=["/root/.ssh/id"]', ["/root/.ssh/id"]),
    ],
)
def test_what_is_no_secret_may_be_written_out(given: str, value: object) -> None:
    assert list(storage_options_of(OPTION, [given]).values()) == [value]
