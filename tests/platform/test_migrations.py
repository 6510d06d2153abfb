"""A store knows how far its layout is, and is brought up to date when it is opened."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import mongomock
import pytest
from pymongo import MongoClient

from lwmecps_gym.platform.database import Documents, MongoDocuments, SqliteDocuments, Store
from lwmecps_gym.platform.database.migrations import COLLECTIONS, MIGRATIONS
from lwmecps_gym.platform.errors import InvalidInputError

Opener = Callable[[], Documents]
FIRST = """
CREATE TABLE models (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL);
INSERT INTO models VALUES ('peak', 0, '{"id":"peak","revision":0,"name":"Peak",
  "latest_version":1,"created_at":"2026-01-01T00:00:00Z"}');
"""


def sqlite_indexes(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
    connection.close()
    return {name for (name,) in rows}


def test_a_file_from_before_there_were_steps_takes_them_all(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with sqlite3.connect(path) as old:
        old.executescript(FIRST)
    old.close()
    documents = SqliteDocuments(path)
    assert Store(documents).get_model("peak").name == "Peak"
    documents.close()
    assert {"versions_model_id", "aliases_model_id", "tasks_state"} <= sqlite_indexes(path)


def test_a_store_that_is_up_to_date_is_opened_without_a_write(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    SqliteDocuments(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # from now on no one else may write
    documents = SqliteDocuments(path, busy_timeout_s=0.1)
    assert documents.find("models", {}) == []
    documents.close()
    other.close()


def test_a_mongodb_gets_its_indexes_and_remembers_how_many_steps_it_took() -> None:
    client: MongoClient[dict[str, object]] = mongomock.MongoClient()
    MongoDocuments(client, "lwmecps")
    assert client["lwmecps"]["schema"].find_one() == {"_id": "schema", "version": len(MIGRATIONS)}
    indexed = {
        name.rpartition("__id_")[0] for name in client["lwmecps"]["tasks"].index_information()
    }
    assert {"state_1", "model_type_1"} <= indexed


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    SqliteDocuments(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    client: MongoClient[dict[str, object]] = mongomock.MongoClient()
    client["lwmecps"]["schema"].insert_one({"_id": "schema", "version": 99})
    with pytest.raises(InvalidInputError, match=r"store\.sqlite3 has layout 99.*upgrade"):
        SqliteDocuments(path)
    with pytest.raises(InvalidInputError, match="layout 99"):
        MongoDocuments(client, "lwmecps")
    assert client["lwmecps"].list_collection_names() == ["schema"]


def test_every_collection_can_be_read_in_a_new_store(documents: Documents) -> None:
    for collection in COLLECTIONS:
        assert documents.find(collection, {}) == []
