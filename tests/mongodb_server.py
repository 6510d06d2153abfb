"""MongoDB's wire protocol over mongomock: what runs against it is the real driver, over TCP."""

import itertools
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import bson
import mongomock
from pymongo.errors import DuplicateKeyError

Document = dict[str, Any]

HEADER = struct.Struct("<iiii")
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
FIRST_BATCH = 101


class MongoServer:
    """A primary of one, as long as the block runs; its data outlives `away`.

    It keeps the answers to retryable writes, as the real one does, so that a write that is sent
    again is answered and not done again.
    """

    def __init__(self) -> None:
        self._data: mongomock.MongoClient[Document] = mongomock.MongoClient()
        self._lock = threading.RLock()
        self._answers: dict[tuple[bytes, int], Document] = {}
        self._cursors: dict[int, list[Document]] = {}
        self._cursor_ids = itertools.count(1)
        self._cuts: list[tuple[str, bool]] = []
        self._server: _Listener | None = None
        self._port = 0
        self.commands: list[str] = []
        """Names of the commands that were carried out."""
        self.slow_s = 0.0
        """How long it waits before it answers anything but greetings."""

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self._port}/?directConnection=true"

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Close every connection and take no new one while the block runs."""
        self._stop()
        try:
            yield
        finally:
            self._listen()

    def cut(self, command: str, *, done: bool) -> None:
        """Close the connection on which the next such command comes: once it is done, or before."""
        self._cuts.append((command, done))

    def _listen(self) -> None:
        self._server = _Listener(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()

    def answer(self, command: Document) -> Document | None:
        """Carry out a command; None where the connection is to be closed instead of an answer."""
        name = next(iter(command))
        if name.lower() in ("hello", "ismaster"):
            return self._hello()
        if (name, False) in self._cuts:
            self._cuts.remove((name, False))
            return None
        time.sleep(self.slow_s)
        key = (bytes(command.get("lsid", {}).get("id", b"")), command.get("txnNumber", -1))
        with self._lock:
            reply = self._answers.get(key)
            if reply is None:
                self.commands.append(name)
                reply = {**getattr(self, f"_{name}", self._unknown)(command), "ok": 1.0}
                if "errmsg" in reply:
                    reply["ok"] = 0.0
                if key[1] >= 0:
                    self._answers[key] = reply
        if (name, True) in self._cuts:
            self._cuts.remove((name, True))
            return None
        return reply

    def _hello(self) -> Document:
        address = f"127.0.0.1:{self._port}"
        return {
            "ismaster": True, "isWritablePrimary": True, "helloOk": True, "readOnly": False,
            "setName": "rs0", "hosts": [address], "me": address, "primary": address,
            "maxBsonObjectSize": 2**24, "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0, "maxWireVersion": 21, "ok": 1.0,
        }  # fmt: skip

    def _unknown(self, command: Document) -> Document:
        return {"errmsg": f"no such command: {next(iter(command))}", "code": 59}

    def _nothing(self, command: Document) -> Document:
        return {}

    _ping = _endSessions = _killCursors = _nothing

    def _collection(self, command: Document) -> Any:
        return self._data[command["$db"]][next(iter(command.values()))]

    def _find(self, command: Document) -> Document:
        found = self._collection(command).find(command.get("filter", {}))
        if "sort" in command:
            found = found.sort(list(command["sort"].items()))
        documents = list(found.limit(command.get("limit", 0)))
        return self._page(command, documents, "firstBatch", FIRST_BATCH)

    def _aggregate(self, command: Document) -> Document:
        documents = list(self._collection(command).aggregate(command["pipeline"]))
        return self._page(command, documents, "firstBatch", FIRST_BATCH)

    def _getMore(self, command: Document) -> Document:  # noqa: N802
        rest = self._cursors.pop(command["getMore"])
        return self._page({**command, "find": command["collection"]}, rest, "nextBatch", len(rest))

    def _page(self, command: Document, found: list[Document], part: str, most: int) -> Document:
        batch, rest = found[:most], found[most:]
        cursor = next(self._cursor_ids) if rest and not command.get("singleBatch") else 0
        if cursor:
            self._cursors[cursor] = rest
        where = f"{command['$db']}.{command.get('find', 'of')}"
        return {"cursor": {"id": bson.Int64(cursor), "ns": where, part: batch}}

    def _insert(self, command: Document) -> Document:
        errors: list[Document] = []
        for index, document in enumerate(command["documents"]):
            try:
                self._collection(command).insert_one(document)
            except DuplicateKeyError as error:
                errors.append({"index": index, "code": 11000, "errmsg": str(error)})
                if command.get("ordered", True):
                    break
        done = {"n": len(command["documents"]) - len(errors)}
        return {**done, "writeErrors": errors} if errors else done

    def _update(self, command: Document) -> Document:
        matched = changed = 0
        upserted = []
        for index, each in enumerate(command["updates"]):
            collection, upsert = self._collection(command), each.get("upsert", False)
            operators = any(name.startswith("$") for name in each["u"])
            change = collection.update_one if operators else collection.replace_one
            result = change(each["q"], each["u"], upsert=upsert)
            matched += result.matched_count
            changed += result.modified_count
            if result.upserted_id is not None:
                upserted.append({"index": index, "_id": result.upserted_id})
        done = {"n": matched + len(upserted), "nModified": changed}
        return {**done, "upserted": upserted} if upserted else done

    def _delete(self, command: Document) -> Document:
        collection, number = self._collection(command), 0
        for each in command["deletes"]:
            remove = collection.delete_one if each["limit"] else collection.delete_many
            number += remove(each["q"]).deleted_count
        return {"n": number}

    def _createIndexes(self, command: Document) -> Document:  # noqa: N802
        for index in command["indexes"]:
            self._collection(command).create_index(list(index["key"].items()), name=index["name"])
        return {}

    def _dropDatabase(self, command: Document) -> Document:  # noqa: N802
        self._data.drop_database(command["$db"])
        return {}


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], mongo: MongoServer) -> None:
        self.mongo = mongo
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def close_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    server: _Listener

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        with suppress(OSError):
            while header := self.rfile.read(HEADER.size):
                length, request_id, _, kind = HEADER.unpack(header)
                command = _command(kind, self.rfile.read(length - HEADER.size))
                reply = self.server.mongo.answer(command)
                if reply is None:
                    break
                self.wfile.write(_framed(kind, request_id, bson.encode(reply)))
        self.server.connections.discard(self.connection)


def _command(kind: int, body: bytes) -> Document:
    if kind == OP_QUERY:  # flags, collection, skip, number, query
        return bson.decode(body[body.index(b"\0", 4) + 9 :])
    assert kind == OP_MSG, kind
    position, command = 4, {}
    lists: dict[str, Sequence[Document]] = {}
    while position < len(body):
        section, size = body[position], struct.unpack_from("<i", body, position + 1)[0]
        content = body[position + 1 : position + 1 + size]
        if section == 0:
            command = bson.decode(content)
        else:
            name, _, documents = content[4:].partition(b"\0")
            lists[name.decode()] = bson.decode_all(documents)
        position += 1 + size
    return {**command, **lists}


def _framed(kind: int, request_id: int, reply: bytes) -> bytes:
    if kind == OP_QUERY:
        body, answer = struct.pack("<iqii", 8, 0, 0, 1) + reply, OP_REPLY
    else:
        body, answer = struct.pack("<IB", 0, 0) + reply, OP_MSG
    return HEADER.pack(HEADER.size + len(body), 0, request_id, answer) + body
