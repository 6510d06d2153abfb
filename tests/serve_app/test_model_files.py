"""Versions as files: what is downloaded can be uploaded, and nothing else."""

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from lwmecps_gym.platform.models import ModelVersion

AddVersion = Callable[[], ModelVersion]
Members = dict[str, bytes]
MODEL = "/api/v1/models/untrained"
STATE = {"state": {"placement": {"video": {"bs_1": 1}}, "demand_rps": {"video": {"bs_1": 5}}}}
TAR = {"Content-Type": "application/x-tar"}


@pytest.fixture
def members(client: TestClient, add_version: AddVersion) -> Members:
    """The files of a version, as its download has them."""
    add_version()
    with tarfile.open(fileobj=io.BytesIO(client.get(f"{MODEL}/versions/1/file").content)) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def archive(members: Members, **headers: Any) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as opened:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
        if headers:
            extra = tarfile.TarInfo(headers.pop("name"))
            for field, value in headers.items():
                setattr(extra, field, value)
            opened.addfile(extra)
    return target.getvalue()


def with_manifest(members: Members, **changes: Any) -> Members:
    manifest = {**json.loads(members["manifest.json"]), **changes}
    return {**members, "manifest.json": json.dumps(manifest).encode()}


def with_weights(members: Members, weights: bytes, name: str = "model.safetensors") -> Members:
    """Other weights, with hashes that are right."""
    stated = {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}
    return with_manifest({**members, name: weights}, files={name: stated})


def upload(client: TestClient, content: bytes, model: str = "copy") -> Any:
    return client.post(f"/api/v1/models/{model}/versions", content=content, headers=TAR)


def test_a_download_that_is_uploaded_is_the_same_version_and_decides(
    client: TestClient, add_version: AddVersion
) -> None:
    digest = add_version().digest
    download = client.get(f"{MODEL}/versions/latest/file")
    assert download.headers["etag"] == f'"{digest}"'
    assert download.headers["content-disposition"] == 'attachment; filename="untrained-1.tar"'
    created = client.post(
        "/api/v1/models/copy/versions?parent=untrained:latest",
        content=download.content,
        headers=TAR,
    )
    assert created.status_code == 201, created.text
    version = created.json()
    assert (version["digest"], version["version"], version["task_id"]) == (digest, 1, None)
    assert (version["lineage"]["scenario"], version["lineage"]["parent"]) == ("tiny", "untrained:1")
    assert client.get(created.headers["location"]).json() == version
    assert client.get("/api/v1/models/copy/versions/1/file").content == download.content
    for model in ("untrained", "copy"):
        client.post(f"/api/v1/models/{model}/deploy")
    answers = [
        client.post(f"/api/v1/models/{model}/predict", json=STATE).json()["action"]
        for model in ("untrained", "copy")
    ]
    assert answers[0] == answers[1]


def test_a_file_that_the_client_has_is_not_sent_again(
    client: TestClient, add_version: AddVersion
) -> None:
    add_version()
    etag = client.get(f"{MODEL}/versions/1/file").headers["etag"]
    again = client.get(f"{MODEL}/versions/1/file", headers={"If-None-Match": f'"x", W/{etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def refusals() -> dict[str, Callable[[Members], bytes]]:
    """Files that are refused, by what the refusal says."""
    nan = save_tensors({"a": np.array([np.nan], dtype=np.float32)})
    small = save_tensors({"a": np.zeros(3, dtype=np.float32)})

    def renamed(name: str) -> Callable[[Members], bytes]:
        return lambda members: archive({**members, name: b"{}"})

    def other_env(members: Members) -> bytes:
        return archive(with_manifest(members, env={"id": "lwmecps-v9", "options": {}}))

    def claims_much(members: Members) -> bytes:
        network = json.loads(members["manifest.json"])["network"] | {"hidden": [2_000_000_000] * 2}
        return archive(with_manifest(members, network=network))

    def nan_weights(members: Members) -> bytes:
        tensors = load_tensors(members["model.safetensors"])
        first = next(iter(tensors))
        tensors[first] = np.full_like(tensors[first], np.nan)
        return archive(with_weights(members, save_tensors(tensors)))

    return {
        "not an uncompressed tar": lambda members: pickle.dumps({"weights": 1}),
        "not an uncompressed tar: ": lambda members: gzip.compress(archive(members)),
        "not an uncompressed tar: empty file": lambda members: b"",
        "has no manifest.json": lambda members: archive({"a.json": b"{}"}),
        "'weights.pkl'; a model is made": renamed("weights.pkl"),
        "cannot be named '../up.json'": renamed("../up.json"),
        "cannot be named '/tmp/up.json'": renamed("/tmp/up.json"),
        "'link.json', which is not a plain file": lambda members: archive(
            members, name="link.json", type=tarfile.SYMTYPE, linkname="/etc/passwd"
        ),
        "'pipe', which is not a plain file": lambda members: archive(
            members, name="pipe", type=tarfile.FIFOTYPE
        ),
        "model.safetensors is not what its name says": lambda members: archive(
            with_weights(members, pickle.dumps([1]))
        ),
        "is not the file that manifest.json describes": lambda members: archive(
            {**members, "model.safetensors": small}
        ),
        r"files: names \['model.safetensors'\], the archive holds": lambda members: archive(
            {**members, "more.safetensors": nan}
        ),
        "manifest.json is not JSON": lambda members: archive({**members, "manifest.json": b"{"}),
        "want an object, got list": lambda members: archive({**members, "manifest.json": b"[]"}),
        "scenario": lambda members: archive(with_manifest(members, scenario="/etc/passwd")),
        "lwmecps-v9": other_env,
        "metrics.return": lambda members: archive(
            with_manifest(members, metrics={"return": float("nan")})
        ),
        "not finite": nan_weights,
        "not a model that can be loaded": lambda members: archive(with_weights(members, small)),
        "not a model that can be loaded: ": claims_much,
        "ends within|unexpected end": lambda members: archive(members)[:2000],
    }


@pytest.mark.parametrize("reason", refusals())
def test_a_file_that_is_no_model_is_refused_and_leaves_nothing(
    client: TestClient, members: Members, tmp_path: Path, reason: str
) -> None:
    before = sorted(path.name for path in (tmp_path / "artifacts").iterdir())
    refusal = upload(client, refusals()[reason](members))
    assert refusal.status_code == 422, refusal.text
    assert re.search(reason, refusal.json()["detail"]), refusal.json()["detail"]
    assert client.get("/api/v1/models/copy").status_code == 404
    assert sorted(path.name for path in (tmp_path / "artifacts").iterdir()) == before


def test_what_is_no_tar_by_its_type_or_too_large_is_not_read(client: TestClient) -> None:
    assert client.post("/api/v1/models/copy/versions", json={}).status_code == 415
    size = {"Content-Length": str(2**31)}
    too_large = client.post(
        "/api/v1/models/copy/versions", content=iter([b""]), headers={**TAR, **size}
    )
    assert too_large.status_code == 413
    assert upload(client, b"", model="Not%20a%20slug").status_code == 422


def test_files_of_deleted_versions_go_unless_they_are_young_or_in_use(
    client: TestClient, add_version: AddVersion, tmp_path: Path
) -> None:
    versions = [add_version() for _ in range(3)]
    folders = [tmp_path / "artifacts" / version.digest for version in versions]
    long_ago = time.time() - 7200
    for folder in folders[1:]:
        os.utime(folder, (long_ago, long_ago))
    for number in (1, 2):
        assert client.delete(f"{MODEL}/versions/{number}").status_code == 204
    assert [folder.exists() for folder in folders] == [True, False, True]
    assert client.delete(f"{MODEL}/versions/3").status_code == 409
    assert client.delete(MODEL).status_code == 204
    assert [folder.exists() for folder in folders] == [True, False, False]
    assert client.get(MODEL).status_code == 404
