"""Everything in a store moves to another: of the same kind or not, all of it or nothing."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import mongomock
import pytest
from pymongo import MongoClient

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import (
    Documents,
    MongoDocuments,
    SqliteDocuments,
    Store,
    open_store,
)
from lwmecps_gym.platform.database.migrations import COLLECTIONS
from lwmecps_gym.platform.database.transfer import export_store, import_store
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError, StoreUnavailableError
from lwmecps_gym.platform.models import MetricRecord, ServingCounts

SECRET = "s3cr"
Opener = Callable[[], Documents]


def new_mongo(client: MongoClient[dict[str, object]] | None = None) -> MongoDocuments:
    server: MongoClient[dict[str, object]] = client or mongomock.MongoClient()
    return MongoDocuments(server, "elsewhere")


@pytest.fixture(params=["sqlite", "mongomock"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Documents:
    return SqliteDocuments(tmp_path / "t.sqlite3") if request.param == "sqlite" else new_mongo()


def fill(documents: Documents) -> Store:
    store = Store(documents)
    for _ in range(3):
        store.add_version("Peak α", model_type="ppo", task_id=None, digest="a" * 64, metrics={})
    store.set_alias("peak", "champion", 2, by="me")
    store.deploy("peak", "champion", by="me")
    store.append_metrics(
        [
            MetricRecord(
                id=f"t/{i:010d}",
                task_id="t",
                iteration=i,
                episode=i,
                env_steps=i,
                values={"loss": float("nan"), "big": 2.0**60},
            )
            for i in range(1100)
        ]
    )
    store.serving.add(ServingCounts(id="peak/000002", model_id="peak", version=2, requests=7))
    return store


def everything(documents: Documents) -> dict[str, list[dict[str, object]]]:
    return {name: documents.find(name, {}, limit=10_000) for name in COLLECTIONS}


def test_all_of_a_store_is_the_same_elsewhere(
    documents: Documents, target: Documents, tmp_path: Path
) -> None:
    fill(documents)
    file = tmp_path / "store.jsonl"
    counts = export_store(documents, file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (counts["versions"], counts["metrics"], counts["serving"]) == (3, 1100, 1)
    assert import_store(file, target) == counts
    assert everything(target) == everything(documents)
    again = Store(target)
    assert again.get_version("peak", "champion").version == 2
    assert (
        again.add_version(
            "peak", model_type="ppo", task_id=None, digest="b" * 64, metrics={}
        ).version
        == 4
    )
    target.close()


def test_a_store_that_is_not_empty_is_not_touched(target: Documents, tmp_path: Path) -> None:
    source = new_mongo()
    fill(source)
    export_store(source, tmp_path / "f")
    Store(target).deploy(
        Store(target)
        .add_version("own", model_type="ppo", task_id=None, digest="c" * 64, metrics={})
        .model_id,
        by="me",
    )
    before = everything(target)
    with pytest.raises(ConflictError, match="is not empty"):
        import_store(tmp_path / "f", target)
    assert everything(target) == before
    target.close()


def broken(lines: list[bytes]) -> dict[str, list[bytes]]:
    """Files that are refused, by what is said of them."""
    twice = [*lines[:-1], lines[1], lines[-1]]
    return {
        "ends after 0 documents": lines[:1],
        "before its last line": lines[:-1],
        "line 2: not JSON": [lines[0], b"{\n", *lines[2:]],
        "the file was changed": twice,
        "was changed": [lines[0], lines[1].replace(b"Peak", b"Peek"), *lines[2:]],
        "the file was changed: ": [*lines, b"{}\n"],
        "is not what": [b'{"a":1}\n'],
        "line 2: not a document": [lines[0], b'{"in":"sqlite_master","is":{"id":"x"}}\n'],
        "layout 99": [b'{"lwmecps_store":1,"layout":99}\n', *lines[1:]],
    }


@pytest.mark.parametrize("reason", broken([b"a", b"b", b"c"]))
def test_a_file_that_is_not_whole_changes_nothing(
    target: Documents, tmp_path: Path, reason: str
) -> None:
    source = SqliteDocuments(tmp_path / "source.sqlite3")
    Store(source).add_version("Peak", model_type="ppo", task_id=None, digest="a" * 64, metrics={})
    file = tmp_path / "f"
    export_store(source, file)
    source.close()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(broken(lines)[reason]))
    with pytest.raises(InvalidInputError, match=reason):
        import_store(file, target)
    assert not any(everything(target).values())
    target.close()


def test_documents_with_one_id_are_refused_and_leave_nothing(target: Documents) -> None:
    one = ("models", {"id": "a", "revision": 0})
    with pytest.raises(ConflictError):
        target.load([one, ("tasks", {"id": "t", "revision": 0}), one])
    assert not any(everything(target).values())
    target.load([one])
    target.close()


def test_a_mongodb_with_half_an_import_is_refused_until_it_is_cleared() -> None:
    client: MongoClient[dict[str, object]] = mongomock.MongoClient()
    new_mongo(client)
    client["elsewhere"]["schema"].update_one({"_id": "schema"}, {"$set": {"importing": True}})
    client["elsewhere"]["models"].insert_one({"_id": "half", "revision": 0})
    with pytest.raises(StoreUnavailableError, match="--clear-unfinished"):
        new_mongo(client)
    cleared = MongoDocuments(client, "elsewhere", clear_unfinished=True)
    assert not any(everything(cleared).values())
    new_mongo(client)


def test_an_existing_file_is_not_overwritten(documents: Documents, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(InvalidInputError, match="exists"):
        export_store(documents, tmp_path / "f")
    assert (tmp_path / "f").read_text() == "mine"
    with pytest.raises(InvalidInputError, match="cannot be written"):
        export_store(documents, tmp_path / "no" / "folder")


@pytest.mark.parametrize(
    "address",
    [
        "me:s3cr@t:x@host",
        "me:s3cr@host:port",
        "me:s3cr/x@h:1",
        "s3cr%zz:s3cr%40@h:x",
        "h:1/?tlsCertificateKeyFilePassword=s3cr&tlsCertificateKeyFile=/s3cr",
    ],
)
def test_no_secret_of_a_mongodb_url_is_in_an_error_or_a_log(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings.model_validate({"mongodb_url": f"mongodb://{address}"})
    with pytest.raises(InvalidInputError, match="MONGODB_URL") as caught:
        open_store(settings)
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(settings)
    assert SECRET not in told


def test_no_secret_is_told_when_the_server_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreUnavailableError) as caught:
        MongoDocuments.connect(f"mongodb://me:{SECRET}@127.0.0.1:9/", "lwmecps", 0.2)
    told = "".join(traceback.format_exception(caught.value, chain=True)) + caplog.text
    assert SECRET not in told
