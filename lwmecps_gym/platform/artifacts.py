"""Model artifacts: folders addressed by the hash of what is in them.

    <root>/<digest>/model.safetensors    the weights, by name
    <root>/<digest>/manifest.json        what they are, and the SHA-256 of the weights

A user's own algorithm names its files as it likes, `.safetensors` and `.json` alone. The digest is
the SHA-256 of `manifest.json` as it lies there (`sha256sum manifest.json` gives it), and the
manifest holds the hashes of all other files, so the digest stands for every byte. Nothing is ever
unpickled: a file that someone hands in can be wrong, but it cannot run.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError, StoreUnavailableError

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"

_RESERVED = "__metadata__"


class ArtifactStore:
    """The artifacts under one folder, which several processes and machines may share.

    Args:
        root: The folder; it is made with the first artifact.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, tensors: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> str:
        """Write an artifact, all of it or nothing; the same content is written once.

        Args:
            tensors: Weights by name, of any shape and of a numeric or boolean dtype.
            manifest: What the weights are, as JSON; its `files` entry is set here.

        Returns:
            The digest, 64 hex digits.

        Raises:
            InvalidInputError: a tensor or the manifest cannot be written as such a file.
            StoreUnavailableError: the folder cannot be written, or the disk is full.
        """
        return self.put_files({WEIGHTS: encode_tensors(tensors)}, manifest)

    def put_files(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> str:
        """Write an artifact of files beside its manifest; otherwise as `put`.

        Args:
            files: Content by name, `.safetensors` and `.json` only.
            manifest: What the files are, as JSON; its `files` entry is set here.

        Returns:
            The digest, 64 hex digits.

        Raises:
            InvalidInputError: a file is of another kind than its name says, or may not be there.
            StoreUnavailableError: the folder cannot be written, or the disk is full.
        """
        for name, content in files.items():
            check_file(name, content)
        hashes = {
            name: {"sha256": _sha256(content), "bytes": len(content)}
            for name, content in files.items()
        }
        described = _encode_manifest({**manifest, "files": hashes})
        digest = _sha256(described)
        target = self._root / digest
        try:
            if target.is_dir():
                os.utime(target)  # young again: see remove_unused
            else:
                self._write(target, {**files, MANIFEST: described})
        except OSError as error:
            raise StoreUnavailableError(
                f"the artifact {target} cannot be written: {error};"
                " see that the folder is writable and the disk has room"
            ) from error
        return digest

    def path(self, digest: str) -> Path:
        """Return the folder of an artifact.

        Raises:
            InvalidInputError: the digest is not one.
            NotFoundError: there is no such artifact.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise InvalidInputError(f"artifact digest {digest!r} is not 64 lower case hex digits")
        folder = self._root / digest
        if not folder.is_dir():
            raise NotFoundError(
                f"there is no artifact {digest} under {self._root}; if the model was trained on"
                " another machine, both must share this folder"
            )
        return folder

    def load(self, digest: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Read an artifact and check every byte of it against its digest.

        Returns:
            The tensors of `model.safetensors` by name, none without that file; and the manifest.

        Raises:
            InvalidInputError: the digest is not one, or a file is missing or was changed; the
                message names the file and both hashes.
            NotFoundError: there is no such artifact.
        """
        files = self.files(digest)
        manifest: dict[str, Any] = json.loads(files[MANIFEST])
        return load_tensors(files[WEIGHTS]) if WEIGHTS in files else {}, manifest

    def files(self, digest: str) -> dict[str, bytes]:
        """Read the files of an artifact by name, its manifest among them; checked as by `load`.

        Raises:
            InvalidInputError: as `load`.
            NotFoundError: there is no such artifact.
        """
        folder = self.path(digest)
        described = _read(folder / MANIFEST, digest)
        files = {
            name: _read(folder / name, stated["sha256"])
            for name, stated in json.loads(described)["files"].items()
        }
        return {MANIFEST: described, **files}

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give a folder beside the artifacts, which is gone with all in it after the block.

        Raises:
            StoreUnavailableError: the folder cannot be made.
        """
        folder = self._root / f".work-{uuid4().hex}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise StoreUnavailableError(
                f"the folder {folder} cannot be made: {error};"
                " see that the disk has room and can be written"
            ) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def remove_unused(self, used: Set[str], older_than_s: float = 3600.0) -> list[str]:
        """Remove artifacts that no version is made of, and what writers left that died.

        Args:
            used: Digests to keep.
            older_than_s: Younger ones stay too, for whoever wrote them may be about to register
                them; an artifact that is put again is young again.

        Returns:
            The names of the folders removed.

        Raises:
            StoreUnavailableError: the folder cannot be read or changed.
        """
        removed = []
        try:
            for folder in self._root.iterdir() if self._root.is_dir() else ():
                old = time.time() - folder.stat().st_mtime > older_than_s
                if old and folder.is_dir() and folder.name not in used:
                    shutil.rmtree(folder)
                    removed.append(folder.name)
        except FileNotFoundError:  # another one removes at the same time, and goes on
            return removed
        except OSError as error:
            raise StoreUnavailableError(f"{self._root} cannot be tidied: {error}") from error
        return removed

    def _write(self, target: Path, files: Mapping[str, bytes]) -> None:
        """Make a folder appear with all its files on the disk, unless it is there by then."""
        temporary = self._root / f".put-{uuid4().hex}"
        temporary.mkdir(parents=True)
        try:
            for name, content in files.items():
                with (temporary / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _sync_folder(temporary)
            try:
                temporary.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
            else:
                _sync_folder(self._root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def encode_tensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Write tensors as a safetensors file.

    Raises:
        InvalidInputError: a name or a dtype does not fit.
    """
    if _RESERVED in tensors:
        raise InvalidInputError(f"a tensor must not be named {_RESERVED!r}; safetensors uses that")
    # A copy in C order: safetensors writes the memory as it lies, so a transposed array would come
    # back with its elements in another place.
    contiguous = {name: np.array(tensor, order="C") for name, tensor in tensors.items()}
    try:
        return save_tensors(contiguous)
    except (SafetensorError, ValueError) as error:
        kinds = ", ".join(f"{name}: {tensor.dtype}" for name, tensor in contiguous.items())
        raise InvalidInputError(
            f"the tensors cannot be written as safetensors: {error!r} ({kinds});"
            " use numeric or boolean arrays"
        ) from error


def check_file(name: str, content: bytes) -> None:
    """Refuse a file that is not what a model may hold: nothing that could run when it is read.

    Raises:
        InvalidInputError: its name is none of a `.safetensors` or `.json` file, or its content is
            of another kind.
    """
    if name == MANIFEST or Path(name).name != name:
        raise InvalidInputError(f"a model's file cannot be named {name!r}")
    try:
        if name.endswith(".safetensors"):
            load_tensors(content)
        elif name.endswith(".json"):
            json.loads(content)
        else:
            raise InvalidInputError(
                f"a model is made of .safetensors and .json files alone, not of {name!r}"
            )
    except KeyError as error:
        raise InvalidInputError(f"{name}: NumPy has no {error}; save as float32") from error
    except (SafetensorError, ValueError) as error:
        raise InvalidInputError(f"{name} is not what its name says: {error}") from error


def _encode_manifest(manifest: Mapping[str, Any]) -> bytes:
    """Return the one text of a manifest: sorted keys, two spaces, UTF-8, a line end."""
    try:
        text = json.dumps(manifest, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"the manifest is not JSON: {error}") from error


def _read(file: Path, expected: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error}; train the model again") from error
    found = _sha256(content)
    if found != expected:
        raise InvalidInputError(
            f"{file} was changed: its SHA-256 is {found} and must be {expected};"
            " remove the folder and train the model again"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
