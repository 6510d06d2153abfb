"""Versions, aliases, deployments and their deletion: one contract, proved on every back end."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lwmecps_gym.platform.database import Documents, Store
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError, NotFoundError
from lwmecps_gym.platform.models import Lineage, ModelVersion

Opener = Callable[[], Documents]


def add(store: Store, count: int = 1, name: str = "peak") -> list[ModelVersion]:
    return [
        store.add_version(name, model_type="ppo", task_id=None, digest=f"{n:064x}", metrics={})
        for n in range(count)
    ]


def numbers(store: Store) -> list[int]:
    return [version.version for version in store.list_versions("peak")]


def test_a_version_keeps_what_it_comes_from(store: Store) -> None:
    scenario = {"name": "tiny", "nodes": [{"name": "b"}, {"name": "a"}]}
    lineage = Lineage.of(scenario, "lwmecps-v2", parameters={"learning_rate": 0.1}, parent="old:2")
    same = Lineage.of(dict(reversed(scenario.items())), "lwmecps-v2", parameters={})
    other = Lineage.of({**scenario, "nodes": []}, "lwmecps-v2", parameters={})
    store.add_version(
        "peak", model_type="ppo", task_id="t", digest="a" * 64, metrics={}, lineage=lineage
    )
    assert store.get_version("peak").lineage == lineage
    assert lineage.scenario_sha256 == same.scenario_sha256 != other.scenario_sha256


def test_a_version_is_named_by_number_alias_or_latest(store: Store) -> None:
    versions = add(store, 3)
    store.set_alias("peak", "champion", 2, by="me")
    for name in (2, "2", "champion"):
        assert store.get_version("peak", name) == versions[1]
    for latest in (None, "latest", 3):
        assert store.get_version("peak", latest) == versions[2]
    with pytest.raises(NotFoundError, match="no alias 'challenger'; it has: champion"):
        store.get_version("peak", "challenger")


@pytest.mark.parametrize("name", ["latest", "3", "", "Champion", "a/b", "a" * 64, "a\n"])
def test_what_could_be_taken_for_another_name_is_no_alias(store: Store, name: str) -> None:
    add(store)
    with pytest.raises(InvalidInputError, match="alias"):
        store.set_alias("peak", name, 1, by="me")


def test_an_alias_keeps_who_moved_it_from_where_to_where(store: Store) -> None:
    add(store, 2)
    store.set_alias("peak", "champion", 1, by="ann")
    store.set_alias("peak", "champion", "latest", by="ben")
    store.set_alias("peak", "champion", 2, by="nobody changes a thing")
    store.remove_alias("peak", "champion", by="cy")
    with pytest.raises(NotFoundError):
        store.get_alias("peak", "champion")
    assert store.list_aliases("peak") == []
    history = store.set_alias("peak", "champion", 1, by="di").history
    assert [(move.by, move.from_version, move.to_version) for move in history] == [
        ("ann", None, 1),
        ("ben", 1, 2),
        ("cy", 2, None),
        ("di", None, 1),
    ]


def test_an_alias_that_someone_moved_first_is_a_conflict(store: Store) -> None:
    add(store, 3)
    store.set_alias("peak", "champion", 1, by="ann", expected=None)
    store.set_alias("peak", "champion", 2, by="ann", expected=1)
    for stale in (1, None):
        with pytest.raises(ConflictError, match="names version 2, not"):
            store.set_alias("peak", "champion", 3, by="ben", expected=stale)
    assert store.get_alias("peak", "champion").version == 2


def test_of_threads_that_move_an_alias_as_expected_one_wins(back_end: Opener) -> None:
    documents = back_end()
    store = Store(documents)
    add(store, 8)

    def move(version: int) -> bool:
        try:
            store.set_alias("peak", "champion", version, by=str(version), expected=None)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(move, range(1, 9))) == 1
    documents.close()


def test_tags_are_set_and_removed_one_by_one(store: Store) -> None:
    add(store, 2)
    store.tag_version("peak", 1, {"stage": "lab", "owner": "ann"})
    assert store.tag_version("peak", "1", {"stage": None}).tags == {"owner": "ann"}
    assert store.get_version("peak", 2).tags == {}
    assert store.tag_model("peak", {"team": "edge"}).tags == {"team": "edge"}
    assert store.get_model("peak").latest_version == 2


def test_rollback_goes_back_step_by_step(store: Store) -> None:
    add(store, 3)
    for version in (1, 2, 2, "latest"):
        store.deploy("peak", version, by="ann")
    assert store.rollback("peak", by="ben").version == 2
    assert store.rollback("peak", by="ben").version == 1
    with pytest.raises(ConflictError, match="no other version deployed before"):
        store.rollback("peak", by="ben")
    assert store.get_deployment("peak").version == 1
    changes = store.list_deployment_changes("peak")
    assert [(change.action, change.version) for change in changes] == [
        *[("deploy", number) for number in (1, 2, 2, 3)],
        ("rollback", 2),
        ("rollback", 1),
    ]


def test_rollback_brings_back_what_was_undeployed(store: Store) -> None:
    add(store, 2)
    store.deploy("peak", 1, by="ann")
    store.undeploy("peak", by="ann")
    assert store.list_deployments() == []
    with pytest.raises(NotFoundError):
        store.get_deployment("peak")
    assert store.rollback("peak", by="ann").version == 1
    store.undeploy("peak", by="ann")
    store.deploy("peak", 2, by="ann")
    assert store.rollback("peak", by="ann").version == 1


def test_of_threads_that_deploy_none_fails_and_each_is_kept(store: Store) -> None:
    add(store, 12)
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda n: store.deploy("peak", n + 1, by="me"), range(12)))
    assert sorted(deployment.revision for deployment in made) == list(range(12))
    assert len(store.list_deployment_changes("peak")) == 12
    assert store.get_deployment("peak") == max(made, key=lambda made: made.revision)


def test_what_is_deployed_or_named_is_not_deleted(store: Store) -> None:
    add(store, 3)
    store.deploy("peak", 1, by="me")
    store.set_alias("peak", "champion", 2, by="me")
    with pytest.raises(ConflictError, match="version 1 .* is deployed"):
        store.delete_version("peak", 1)
    with pytest.raises(ConflictError, match="alias 'champion'"):
        store.delete_version("peak", "champion")
    with pytest.raises(ConflictError, match="is deployed"):
        store.delete_model("peak")
    store.undeploy("peak", by="me")
    with pytest.raises(ConflictError, match="alias 'champion'"):
        store.delete_model("peak")
    assert numbers(store) == [1, 2, 3]


def test_a_deleted_versions_number_is_never_given_again(store: Store) -> None:
    add(store, 3)
    store.delete_version("peak", 3)
    assert numbers(store) == [1, 2]
    assert store.get_version("peak").version == 2
    with pytest.raises(NotFoundError, match="version 3 .* was deleted"):
        store.get_version("peak", 3)
    assert add(store)[0].version == 4
    assert store.used_digests() == {f"{n:064x}" for n in (0, 1)}


def test_the_only_version_goes_with_its_model(store: Store) -> None:
    add(store)
    with pytest.raises(ConflictError, match="delete the model"):
        store.delete_version("peak", 1)
    store.delete_model("peak")
    for gone in (store.get_model, store.list_versions, store.get_version):
        with pytest.raises(NotFoundError, match="peak"):
            gone("peak")
    assert store.list_models() == []
    assert store.used_digests() == set()


def test_a_model_that_is_made_again_goes_on_counting(store: Store) -> None:
    add(store, 2)
    store.set_alias("peak", "old", 2, by="me")
    store.remove_alias("peak", "old", by="me")
    store.delete_model("peak")
    assert add(store)[0].version == 3
    assert numbers(store) == [3]
    with pytest.raises(NotFoundError, match="it has 3 to 3"):
        store.get_version("peak", 2)


def test_a_version_is_not_deleted_and_named_at_the_same_moment(back_end: Opener) -> None:
    documents = back_end()
    store = Store(documents)
    add(store, 13)

    def name(version: int) -> bool:
        try:
            store.set_alias("peak", f"name-{version}", version, by="me")
        except NotFoundError:
            return False
        return True

    def delete(version: int) -> bool:
        try:
            store.delete_version("peak", version)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        pairs = [(threads.submit(name, n), threads.submit(delete, n)) for n in range(1, 13)]
    for named, deleted in pairs:
        assert not (named.result() and deleted.result())
    alive = set(numbers(store))
    assert {alias.version for alias in store.list_aliases("peak")} <= alive
    documents.close()
