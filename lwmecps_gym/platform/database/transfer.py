"""A whole store as one file, to move from one database to another.

    {"lwmecps_store": 1, "layout": 4}
    {"in": "models", "is": {"id": "edge", ...}}           one line for each document
    {"documents": 1, "sha256": "..."}                     of all lines before

A file is there whole or not at all, and is checked to its last line before anything is imported.
Artifacts, checkpoints and logs are files of their own in the data folder. What is written while an
export runs may be missing in it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from lwmecps_gym.platform.database.documents import Document, Documents
from lwmecps_gym.platform.database.migrations import COLLECTIONS, MIGRATIONS, missing_steps
from lwmecps_gym.platform.errors import InvalidInputError

FORMAT = 1
_PAGE = 1000


def export_store(documents: Documents, file: Path) -> dict[str, int]:
    """Write a store to a new file that its owner alone may read.

    Returns:
        Documents by collection.

    Raises:
        InvalidInputError: the file exists, or cannot be written.
        StoreUnavailableError: the store does not answer; no file is left.
    """
    if file.exists():
        raise InvalidInputError(f"{file} exists; name a new file")
    partial = file.with_name(f".{file.name}-{uuid4().hex}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            counts = _write(documents, target)
            target.flush()
            os.fsync(target.fileno())
        partial.rename(file)
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return counts


def import_store(file: Path, documents: Documents) -> dict[str, int]:
    """Fill an empty store from a file: with all of it, or nothing.

    Returns:
        Documents by collection.

    Raises:
        InvalidInputError: the file is none of `export_store`, was changed, or is of a newer
            version.
        ConflictError: the store is not empty.
        StoreUnavailableError: the store does not answer.
    """
    counts: dict[str, int] = dict.fromkeys(COLLECTIONS, 0)
    for collection, _ in _read(file):
        counts[collection] += 1
    documents.load(_read(file))
    return counts


def _write(documents: Documents, target: Any) -> dict[str, int]:
    digest, counts = hashlib.sha256(), dict.fromkeys(COLLECTIONS, 0)

    def write(line: Document) -> None:
        content = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        digest.update(content)
        target.write(content)

    write({"lwmecps_store": FORMAT, "layout": len(MIGRATIONS)})
    for collection in COLLECTIONS:
        after: str | None = None
        while found := documents.find(collection, {}, after, _PAGE):
            for document in found:
                write({"in": collection, "is": document})
            counts[collection] += len(found)
            after = found[-1]["id"]
    write({"documents": sum(counts.values()), "sha256": digest.hexdigest()})
    return counts


def _read(file: Path) -> Iterator[tuple[str, Document]]:
    """Read the documents of a file; what is wrong with its end is told at the end."""
    digest, count = hashlib.sha256(), 0
    try:
        with file.open("rb") as source:
            first = source.readline()
            _check_first(_line(first, file, 1), file)
            digest.update(first)
            for number, content in enumerate(source, 2):
                line = _line(content, file, number)
                if "sha256" in line:
                    if line != {"documents": count, "sha256": digest.hexdigest()} or source.read():
                        raise InvalidInputError(
                            f"{file}, line {number}: the file was changed: {count} documents with "
                            f"SHA-256 {digest.hexdigest()} come before; export the store again"
                        )
                    return
                yield _document(line, file, number)
                digest.update(content)
                count += 1
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error}") from error
    raise InvalidInputError(f"{file} ends after {count} documents, before its last line")


def _line(content: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(content)
    except ValueError as error:
        raise InvalidInputError(f"{file}, line {number}: not JSON: {error}") from error
    if not isinstance(line, dict):
        raise InvalidInputError(f"{file}, line {number}: want an object")
    return line


def _check_first(line: dict[str, Any], file: Path) -> None:
    if line.get("lwmecps_store") != FORMAT or not isinstance(line.get("layout"), int):
        raise InvalidInputError(f"{file} is not what `lwmecps store export` writes")
    missing_steps(line["layout"], str(file))


def _document(line: dict[str, Any], file: Path, number: int) -> tuple[str, Document]:
    collection, document = line.get("in"), line.get("is")
    fits = (
        collection in COLLECTIONS
        and isinstance(document, dict)
        and isinstance(document.get("id"), str)
        and isinstance(document.get("revision"), int)
    )
    if not fits:
        raise InvalidInputError(f"{file}, line {number}: not a document of a collection")
    assert isinstance(collection, str)
    assert isinstance(document, dict)
    return collection, document
