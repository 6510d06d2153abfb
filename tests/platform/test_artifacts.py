"""Artifacts: what was put is what is loaded, or the load is refused."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from lwmecps_gym.platform.artifacts import ArtifactStore, encode_tensors
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError, StoreUnavailableError

WEIGHTS = {
    "encoder.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "encoder.bias": np.array([0.5, -1.0, 2.0]),
    "steps": np.array(7, dtype=np.int64),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 3), dtype=np.float32),
}
MANIFEST = {"kind": "ppo", "сервис": "видео", "layers": [64, 64], "learning_rate": 3e-4}


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def test_what_was_put_is_loaded_with_shapes_and_dtypes(store: ArtifactStore) -> None:
    tensors, manifest = store.load(store.put(WEIGHTS, MANIFEST))
    assert sorted(tensors) == sorted(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(tensors[name], tensor, strict=True)
    assert {k: v for k, v in manifest.items() if k != "files"} == MANIFEST


@pytest.mark.parametrize(
    "view",
    [lambda a: a.T, lambda a: a[:, ::2], lambda a: a.astype(">f4"), lambda a: a[::-1]],
    ids=["transposed", "strided", "big endian", "reversed"],
)
def test_an_array_in_any_memory_order_comes_back_the_same(
    store: ArtifactStore, view: Callable[[np.ndarray], np.ndarray]
) -> None:
    array = view(WEIGHTS["encoder.weight"])
    tensors, _ = store.load(store.put({"w": array}, {}))
    np.testing.assert_array_equal(tensors["w"], array)


def test_the_digest_is_that_of_the_manifest_which_names_that_of_the_weights(
    store: ArtifactStore,
) -> None:
    digest = store.put(WEIGHTS, MANIFEST)
    folder = store.path(digest)
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    assert hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() == digest
    weights = (folder / "model.safetensors").read_bytes()
    assert json.loads((folder / "manifest.json").read_text())["files"] == {
        "model.safetensors": {
            "sha256": hashlib.sha256(weights).hexdigest(),
            "bytes": len(weights),
        }
    }


def test_the_same_content_has_the_same_digest_in_any_order(
    store: ArtifactStore, tmp_path: Path
) -> None:
    digest = store.put(WEIGHTS, MANIFEST)
    backwards = store.put(dict(reversed(WEIGHTS.items())), dict(reversed(MANIFEST.items())))
    assert backwards == digest
    assert store.put(*store.load(digest)) == digest
    assert len(list((tmp_path / "artifacts").iterdir())) == 1


def test_other_weights_or_another_manifest_have_another_digest(store: ArtifactStore) -> None:
    digests = {
        store.put(WEIGHTS, MANIFEST),
        store.put({**WEIGHTS, "steps": np.array(8)}, MANIFEST),
        store.put(WEIGHTS, {**MANIFEST, "kind": "dqn"}),
    }
    assert len(digests) == 3


def test_threads_that_put_the_same_content_leave_one_artifact(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(8) as threads:
        digests = set(threads.map(lambda _: store.put(WEIGHTS, MANIFEST), range(16)))
    assert [entry.name for entry in (tmp_path / "artifacts").iterdir()] == list(digests)


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_changed_file_is_refused_with_its_name_and_both_hashes(
    store: ArtifactStore, name: str
) -> None:
    digest = store.put(WEIGHTS, MANIFEST)
    file = store.path(digest) / name
    before = file.read_bytes()
    file.write_bytes(before[:-2] + bytes([before[-2] ^ 1]) + before[-1:])
    with pytest.raises(InvalidInputError) as caught:
        store.load(digest)
    for part in (
        str(file),
        hashlib.sha256(before).hexdigest(),
        hashlib.sha256(file.read_bytes()).hexdigest(),
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_missing_file_is_refused_with_its_name(store: ArtifactStore, name: str) -> None:
    digest = store.put(WEIGHTS, MANIFEST)
    (store.path(digest) / name).unlink()
    with pytest.raises(InvalidInputError, match=name):
        store.load(digest)


def test_files_of_ones_own_lie_beside_a_manifest_that_names_their_hashes(
    store: ArtifactStore,
) -> None:
    files = {"notes.json": b'{"a": 1}', "head.safetensors": encode_tensors(WEIGHTS)}
    folder = store.path(store.put_files(files, MANIFEST))
    assert {name: (folder / name).read_bytes() for name in files} == files
    tensors, manifest = store.load(folder.name)
    assert tensors == {} and manifest["files"]["notes.json"]["bytes"] == 8
    (folder / "notes.json").write_bytes(b'{"a": 2}')
    with pytest.raises(InvalidInputError, match=r"notes\.json was changed"):
        store.load(folder.name)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.pt", b"", "not of 'model.pt'"),
        ("../notes.json", b"{}", "cannot be named '../notes.json'"),
        ("manifest.json", b"{}", "cannot be named 'manifest.json'"),
        ("notes.json", b"\x80\x04N.", "notes.json is not what its name says"),
        ("head.safetensors", b"{}", "head.safetensors is not what its name says"),
        ("head.safetensors", save({"a": torch.ones(1, dtype=torch.bfloat16)}), "has no 'BF16'"),
    ],
    ids=["suffix", "path", "manifest", "no JSON", "no tensors", "bfloat16"],
)
def test_a_file_that_is_no_tensors_and_no_json_is_refused_and_leaves_nothing(
    store: ArtifactStore, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        store.put_files({name: content}, MANIFEST)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_digest_is_not_found(store: ArtifactStore) -> None:
    with pytest.raises(NotFoundError, match="0" * 64):
        store.load("0" * 64)


@pytest.mark.parametrize("digest", ["", "../..", "a" * 63, "A" * 64, "a" * 64 + "\n", "/" * 64])
def test_what_is_no_digest_never_becomes_a_path(store: ArtifactStore, digest: str) -> None:
    with pytest.raises(InvalidInputError, match="64 lower case hex digits"):
        store.path(digest)


@pytest.mark.parametrize(
    ("tensors", "manifest", "message"),
    [
        ({"w": np.array([object()])}, {}, "w: object"),
        ({"__metadata__": np.zeros(2)}, {}, "__metadata__"),
        ({}, {"at": object()}, "manifest is not JSON"),
        ({}, {"loss": float("nan")}, "manifest is not JSON"),
    ],
    ids=["objects", "reserved name", "no JSON", "NaN"],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    store: ArtifactStore,
    tmp_path: Path,
    tensors: dict[str, np.ndarray],
    manifest: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        store.put(tensors, manifest)
    assert not (tmp_path / "artifacts").exists()


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="file"):
        ArtifactStore(tmp_path / "file" / "artifacts").put(WEIGHTS, MANIFEST)


PUT_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
import numpy as np
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.errors import StoreUnavailableError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    ArtifactStore(Path(sys.argv[1])).put({"w": np.zeros(10_000)}, {})
except StoreUnavailableError as error:
    print(error)
"""

PUT_FOR_EVER = """
import itertools, sys
from pathlib import Path
import numpy as np
from lwmecps_gym.platform.artifacts import ArtifactStore
store = ArtifactStore(Path(sys.argv[1]))
for n in itertools.count():
    print(store.put({"w": np.full(500_000, n)}, {"n": n}), flush=True)
"""


def test_a_write_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    said = subprocess.run(
        [sys.executable, "-c", PUT_WITHOUT_ROOM, str(root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the disk has room" in said.stdout
    assert list(root.iterdir()) == []


def test_a_killed_writer_leaves_only_whole_artifacts_to_be_seen(tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    writer = subprocess.Popen(
        [sys.executable, "-c", PUT_FOR_EVER, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    promised = [writer.stdout.readline().strip() for _ in range(3)]
    writer.kill()
    writer.communicate()

    visible = [entry.name for entry in root.iterdir() if not entry.name.startswith(".")]
    assert set(promised) <= set(visible)
    for digest in visible:
        tensors, manifest = ArtifactStore(root).load(digest)
        assert set(tensors["w"]) == {manifest["n"]}
