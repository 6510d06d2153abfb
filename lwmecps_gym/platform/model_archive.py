"""A model version as one file: an uncompressed tar of its manifest and its other files.

The same version gives the same bytes, whoever packs it and when. What someone hands in is read
without trust: bounded in size, of plain files alone, by names that are no paths, and every hash
that the manifest states is checked. Nothing of it is unpacked to a disk under a name of its own.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from typing import IO, Any

from lwmecps_gym.platform.artifacts import MANIFEST, check_file
from lwmecps_gym.platform.errors import InvalidInputError

MEDIA_TYPE = "application/x-tar"
MAX_ARCHIVE_BYTES = 64 * 1024 * 1024
MAX_FILES = 64
MAX_MANIFEST_BYTES = 4 * 1024 * 1024


def pack(files: Mapping[str, bytes]) -> bytes:
    """Make the archive of a version.

    Args:
        files: As `ArtifactStore.files` reads them, the manifest among them.
    """
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files, key=lambda name: (name != MANIFEST, name)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return target.getvalue()


def unpack(archive: IO[bytes]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Read an archive that may hold anything.

    Returns:
        The files beside the manifest, as bytes by name; and the manifest.

    Raises:
        InvalidInputError: it is no uncompressed tar of plain files, a name or a size is refused, a
            file is not what its name says, or a hash is not the manifest's.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r:") as opened:
            files = _members(opened)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise InvalidInputError(
            f"the archive is not an uncompressed tar: {error}; send what a download gives"
        ) from error
    if MANIFEST not in files:
        raise InvalidInputError(
            f"the archive has no {MANIFEST}; it has {sorted(files) or 'nothing'}"
        )
    manifest = _manifest(files.pop(MANIFEST))
    for name, content in files.items():
        check_file(name, content)
    _check_hashes(files, manifest.get("files"))
    return files, manifest


def _members(opened: tarfile.TarFile) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for member in opened:
        # Shown shortened: whoever made the archive chose the name.
        name = ascii(member.name[:80])
        if not member.isreg() or member.issparse():
            raise InvalidInputError(f"the archive holds {name}, which is not a plain file")
        if member.name in files:
            raise InvalidInputError(f"the archive holds {name} twice")
        if member.name != MANIFEST and not member.name.endswith((".safetensors", ".json")):
            raise InvalidInputError(
                f"the archive holds {name}; a model is made of .safetensors and .json files alone"
            )
        total += member.size
        if len(files) == MAX_FILES or total > MAX_ARCHIVE_BYTES:
            raise InvalidInputError(
                f"the archive holds more than {MAX_FILES} files or {MAX_ARCHIVE_BYTES} bytes"
            )
        source = opened.extractfile(member)
        assert source is not None
        content = source.read()
        if len(content) != member.size:
            raise InvalidInputError(f"the archive ends within {name}; send it whole")
        files[member.name] = content
    return files


def _manifest(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidInputError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{MANIFEST} is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise InvalidInputError(f"{MANIFEST}: want an object, got {type(manifest).__name__}")
    return manifest


def _check_hashes(files: Mapping[str, bytes], stated: Any) -> None:
    if not isinstance(stated, dict) or set(stated) != set(files):
        named = sorted(stated) if isinstance(stated, dict) else "no object"
        raise InvalidInputError(
            f"{MANIFEST}, files: names {named}, the archive holds {sorted(files)} beside it"
        )
    for name, content in files.items():
        found = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        if stated[name] != found:
            raise InvalidInputError(
                f"{name} is not the file that {MANIFEST} describes: found {found}, it states "
                f"{stated[name]!r:.200}; send the archive as it was downloaded"
            )
