"""Keys and the audit, on every back end of the store."""

from datetime import timedelta

import pytest

from lwmecps_gym.platform.access import (
    AuditEntry,
    Scope,
    digest_of,
    issue_key,
    key_id_of,
    parse_lifetime,
)
from lwmecps_gym.platform.database import Documents, Store
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError, NotFoundError
from lwmecps_gym.platform.models import new_id, now


def an_entry(**changes: object) -> AuditEntry:
    fields = {
        "id": new_id(),
        "who": "ci",
        "key_id": "k",
        "verb": "POST",
        "route": "/api/v1/training",
        "object_id": "t",
        "status": 201,
        "request_id": "r",
    }
    return AuditEntry.model_validate({**fields, **changes})


def test_the_store_has_a_keys_digest_and_nothing_of_the_key(
    store: Store, documents: Documents
) -> None:
    key, text = issue_key("ci", Scope.TRAINER, None)
    store.keys.add(key)
    assert key_id_of(text) == key.id
    assert store.keys.find(key.id) == key
    assert key.digest == digest_of(text)
    [document] = documents.find("api_keys", {})
    assert text.rsplit("_", 1)[1] not in str(document)


def test_two_keys_are_never_alike() -> None:
    texts = {issue_key("ci", Scope.VIEWER, None)[1] for _ in range(100)}
    assert len(texts) == 100


def test_a_scope_includes_itself_and_those_below() -> None:
    held = [scope for scope in Scope if Scope.DEPLOYER.includes(scope)]
    assert held == [Scope.VIEWER, Scope.TRAINER, Scope.DEPLOYER]


def test_a_key_is_usable_until_it_expires() -> None:
    key, _ = issue_key("ci", Scope.VIEWER, timedelta(hours=1))
    assert key.usable(key.created_at + timedelta(minutes=59))
    assert not key.usable(key.created_at + timedelta(minutes=60))


def test_a_revoked_key_stays_listed_and_is_not_usable(store: Store) -> None:
    assert not store.keys.exist()
    first, second = (issue_key(name, Scope.ADMIN, None)[0] for name in ("one", "two"))
    store.keys.add(first)
    store.keys.add(second)
    revoked = store.keys.revoke(first.id, now())
    assert not revoked.usable(now())
    assert store.keys.revoke(first.id, now()) == revoked
    assert {key.name for key in store.keys.list() if key.usable(now())} == {"two"}
    assert store.keys.exist()


def test_a_key_that_does_not_exist_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        store.keys.revoke("nobody", now())


def test_audit_entries_are_read_page_by_page_newest_first(store: Store) -> None:
    entries = [an_entry(id=f"{number:020d}", who="ab"[number % 2]) for number in range(5)]
    for entry in entries:
        store.audit.append(entry)
    seen, cursor = store.audit.list(limit=2)
    while cursor is not None:
        page, cursor = store.audit.list(limit=2, cursor=cursor)
        seen += page
    assert seen == entries[::-1]
    assert store.audit.list(who="a", oldest_first=True) == (entries[::2], None)


def test_an_audit_entry_is_never_written_over(store: Store) -> None:
    entry = an_entry()
    store.audit.append(entry)
    with pytest.raises(ConflictError):
        store.audit.append(an_entry(id=entry.id, status=500))
    assert store.audit.list() == ([entry], None)


@pytest.mark.parametrize(
    ("text", "lifetime"),
    [("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("4w", timedelta(weeks=4))],
)
def test_a_lifetime_is_a_number_and_a_unit(text: str, lifetime: timedelta) -> None:
    assert parse_lifetime(text) == lifetime


@pytest.mark.parametrize("text", ["", "30", "0d", "-1d", "3.5d", "999999999w", "30 d", "d"])
def test_a_lifetime_that_is_none_is_refused_by_value(text: str) -> None:
    with pytest.raises(InvalidInputError, match=f"lifetime '{text}'"):
        parse_lifetime(text)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_a_key_needs_a_name(name: str) -> None:
    with pytest.raises(InvalidInputError, match="name"):
        issue_key(name, Scope.VIEWER, None)
