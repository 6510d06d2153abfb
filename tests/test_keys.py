"""`lwmecps keys`: a key is shown once, listed without itself, and revoked."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lwmecps_gym import cli
from lwmecps_gym.platform.config import read_settings
from lwmecps_gym.platform.database import open_store


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, with a store of the test's own."""
    monkeypatch.delenv("MONGODB_URL", raising=False)
    monkeypatch.setenv("LWMECPS_DATA_DIR", str(tmp_path))

    def call(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lwmecps", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return Answer(int(end.value.code or 0), printed.out, printed.err)

    return call


def created(run: Run, *more: str) -> dict[str, Any]:
    answer = run("keys", "create", "--scope", "trainer", "--name", "ci", "--json", *more)
    document: dict[str, Any] = json.loads(answer.out)
    return document


def test_a_created_key_is_the_only_line_on_stdout(run: Run) -> None:
    answer = run("keys", "create", "--scope", "viewer", "--name", "ci")
    assert (answer.code, answer.out.count("\n")) == (0, 1)
    assert answer.out.startswith("lwmecps_")
    assert answer.out.strip() not in answer.err


def test_keys_are_listed_without_themselves(run: Run) -> None:
    key = created(run, "--expires", "30d")["key"]
    listed = run("keys", "list", "--json").out
    [line] = json.loads(listed)
    assert (line["name"], line["scope"]) == ("ci", "trainer")
    assert line["expires_at"] > line["created_at"]
    assert key not in listed and key.rsplit("_", 1)[1] not in run("keys", "list").out


def test_a_key_is_revoked_by_its_id_and_the_audit_says_so(run: Run) -> None:
    key_id = created(run)["id"]
    assert run("keys", "revoke", key_id).code == 0
    assert json.loads(run("keys", "list", "--json").out)[0]["revoked_at"] is not None
    entries, _ = open_store(read_settings()).audit.list()
    assert [(entry.verb, entry.object_id) for entry in entries] == [
        ("revoke", key_id),
        ("create", key_id),
    ]
    assert entries[0].who.startswith("cli:")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create", "--scope", "root", "--name", "ci"], "root"),
        (["create", "--scope", "viewer", "--name", ""], "name"),
        (["create", "--scope", "viewer", "--name", "ci", "--expires", "soon"], "soon"),
        (["revoke", "nobody"], "nobody"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    run: Run, arguments: list[str], named: str
) -> None:
    answer = run("keys", *arguments)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert named in answer.err


def test_a_wrong_admin_key_is_refused_without_being_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LWMECPS_ADMIN_KEY", "too-short")
    answer = run("keys", "list")
    assert answer.code == 2
    assert "LWMECPS_ADMIN_KEY" in answer.err and "too-short" not in answer.err


def test_serving_to_others_without_a_key_is_one_line_and_exit_code_2(run: Run) -> None:
    answer = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert answer.code == 2
    assert "keys create" in answer.err.splitlines()[-1]
