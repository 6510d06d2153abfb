"""The store over a real connection to MongoDB, which is cut, slow, or not there."""

from collections.abc import Iterator

import pytest

from lwmecps_gym.platform.database import MongoDocuments
from lwmecps_gym.platform.errors import ConflictError, StoreUnavailableError

from ..mongodb_server import FIRST_BATCH, MongoServer

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def server() -> Iterator[MongoServer]:
    with MongoServer() as running:
        yield running


@pytest.fixture
def documents(server: MongoServer) -> Iterator[MongoDocuments]:
    opened = MongoDocuments.connect(server.url, "lwmecps-test", answer_within_s=2)
    yield opened
    opened.close()


def task(number: int = 1, revision: int = 0) -> dict[str, object]:
    return {"id": f"t{number:04d}", "revision": revision}


def test_more_than_the_server_gives_at_once_is_read_whole(
    server: MongoServer, documents: MongoDocuments
) -> None:
    many = [task(number) for number in range(2 * FIRST_BATCH)]
    documents.put_many("tasks", many)
    assert documents.find("tasks", {}) == many
    assert server.commands[-1] == "getMore"


def test_a_write_whose_answer_was_lost_is_done_once_and_answered(
    server: MongoServer, documents: MongoDocuments
) -> None:
    server.cut("insert", done=True)
    documents.insert("tasks", task())
    server.cut("update", done=True)
    assert documents.replace("tasks", task(revision=1), expected_revision=0)
    assert documents.find("tasks", {}) == [task(revision=1)]
    server.cut("delete", done=True)
    assert documents.delete("tasks", "t0001")
    assert [server.commands.count(name) for name in ("insert", "delete")] == [1, 1]


def test_a_write_that_was_cut_before_it_was_done_is_done(
    server: MongoServer, documents: MongoDocuments
) -> None:
    server.cut("insert", done=False)
    documents.insert("tasks", task())
    with pytest.raises(ConflictError):
        documents.insert("tasks", task())


def test_a_read_that_was_cut_is_made_again(server: MongoServer, documents: MongoDocuments) -> None:
    documents.insert("tasks", task())
    server.cut("find", done=True)
    assert documents.get("tasks", "t0001") == task()
    server.cut("aggregate", done=False)
    assert documents.count("tasks", {}) == 1


def test_a_server_that_is_not_there_is_told_and_found_again_when_it_is_back(
    server: MongoServer, documents: MongoDocuments
) -> None:
    documents.insert("tasks", task())
    with server.away(), pytest.raises(StoreUnavailableError, match="MONGODB_URL"):
        documents.get("tasks", "t0001")
    assert documents.get("tasks", "t0001") == task()


def test_a_server_that_does_not_answer_is_not_waited_for(server: MongoServer) -> None:
    documents = MongoDocuments.connect(server.url, "lwmecps-test", answer_within_s=0.5)
    server.slow_s = 5.0
    with pytest.raises(StoreUnavailableError, match="timed out"):
        documents.ping()
    server.slow_s = 0.0
    documents.close()
