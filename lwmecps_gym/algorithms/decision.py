"""Decisions of a policy, in plain terms: one at a time, or a batch in one forward pass."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.algorithms.decision_request import (
    Decision,
    DecisionBatch,
    DecisionRequest,
    Effect,
    PlainState,
)
from lwmecps_gym.algorithms.networks import MASK
from lwmecps_gym.algorithms.plain_states import PlainStates
from lwmecps_gym.algorithms.policy import LearnedPolicy
from lwmecps_gym.envs.actions import Kind, apply_to
from lwmecps_gym.envs.cluster import Ints
from lwmecps_gym.platform.errors import InvalidInputError


@dataclass(frozen=True)
class Outcome:
    """Decisions, and what they were made on.

    Attributes:
        answer: for the caller; a batch if one was asked for.
        decisions: those in the answer, B.
        observation: what the policy saw, encoded, [B, ...].
        decision_ms: time for all of them.
    """

    answer: Decision | DecisionBatch
    decisions: list[Decision]
    observation: Any
    decision_ms: float


class Decider:
    """Asks one policy, and says its answers in words.

    Args:
        policy: whom to ask.
    """

    def __init__(self, policy: LearnedPolicy) -> None:
        self.policy = policy
        self._states = PlainStates(policy.scenario)
        self._space = policy.encoding.observation_space
        self._words: dict[int, dict[str, Any]] = {}

    def decide(self, request: DecisionRequest) -> Outcome:
        """Decide on everything in a request.

        Raises:
            InvalidInputError: the request does not fit the model; the message names the field.
        """
        begin = time.perf_counter()
        if request.observation is not None:
            observation, decisions = self._on_observations([request.observation], ["observation"])
        elif request.observations is not None:
            fields = [f"observations[{i}]" for i in range(request.size)]
            observation, decisions = self._on_observations(request.observations, fields)
        elif request.state is not None:
            observation, decisions = self._on_states([request.state], ["state"])
        else:
            assert request.states is not None
            fields = [f"states[{i}]" for i in range(request.size)]
            observation, decisions = self._on_states(request.states, fields)
        spent_ms = 1000 * (time.perf_counter() - begin)
        for decision in decisions:
            decision.decision_ms = spent_ms / len(decisions)
        single = request.state is not None or request.observation is not None
        answer = (
            decisions[0] if single else DecisionBatch(decisions=decisions, decision_ms=spent_ms)
        )
        return Outcome(answer, decisions, observation, spent_ms)

    def _on_states(
        self, plain: Sequence[PlainState], fields: Sequence[str]
    ) -> tuple[Any, list[Decision]]:
        policy = self.policy
        state = self._states.read(plain, fields)
        observation = policy.encoding.encode(state, policy.actions.legal_in(state))
        actions = policy.encoding.to_model(policy.act_on(observation))
        after = apply_to(state.replicas, policy.actions, actions)
        placements = self._states.placements(after)
        effects = self._states.effects(state, after, policy.actions, actions)
        return observation, [
            self._decision(action, action, placement, effect)
            for action, placement, effect in zip(actions.tolist(), placements, effects, strict=True)
        ]

    def _on_observations(
        self, given: Sequence[Any], fields: Sequence[str]
    ) -> tuple[Any, list[Decision]]:
        observation = self._read(given, fields)
        wide: Ints = self.policy.act_on(observation)
        actions = self.policy.encoding.to_model(wide)
        for row in np.flatnonzero(actions < 0).tolist():
            raise InvalidInputError(
                f"{fields[row]}.{MASK}: allows action {wide[row]}, which is padding: the scenario "
                "has no such service or node"
            )
        return observation, [
            self._decision(own, chosen)
            for own, chosen in zip(wide.tolist(), actions.tolist(), strict=True)
        ]

    def _decision(
        self,
        number: int,
        action: int,
        placement: dict[str, dict[str, int]] | None = None,
        effect: Effect | None = None,
    ) -> Decision:
        """Say an action of the model; `number` is what the environment calls it."""
        words = self._words.get(action)
        if words is None:
            words = self._words[action] = self._say(action)
        return Decision.model_construct(
            action=number, **words, placement=placement, effect=effect, decision_ms=0.0
        )

    def _say(self, action: int) -> dict[str, Any]:
        table, names = self.policy.actions, self._states

        def name(known: list[str], index: int) -> str | None:
            return known[index] if index >= 0 else None

        return {
            "kind": Kind(int(table.kind[action])).name.lower(),
            "description": table.describe(action, names.services, names.nodes),
            "service": name(names.services, int(table.service[action])),
            "source": name(names.nodes, int(table.source[action])),
            "target": name(names.nodes, int(table.target[action])),
        }

    def _read(self, given: Sequence[Any], fields: Sequence[str]) -> Any:
        """Check encoded observations against the space, and make them a batch."""
        if not isinstance(self._space, gym.spaces.Dict):
            return _array(given, fields, self._space)
        parts: Mapping[str, gym.Space[Any]] = self._space.spaces
        for one, field in zip(given, fields, strict=True):
            if not isinstance(one, dict) or one.keys() != parts.keys():
                raise InvalidInputError(f"{field}: want an object with {sorted(parts)}")
        read = {
            name: _array([one[name] for one in given], [f"{f}.{name}" for f in fields], space)
            for name, space in parts.items()
        }
        for row in np.flatnonzero(~read[MASK].any(1)).tolist():
            raise InvalidInputError(f"{fields[row]}.{MASK}: allows no action")
        return read


def decide(policy: LearnedPolicy, request: DecisionRequest) -> Decision | DecisionBatch:
    """Ask a policy once; `Decider` is for asking again and again.

    Raises:
        InvalidInputError: the request does not fit the model; the message names the field.
    """
    return Decider(policy).decide(request).answer


def _array(given: Sequence[Any], fields: Sequence[str], space: gym.Space[Any]) -> NDArray[Any]:
    """Stack arrays of one space, [B, ...]; the message names the first that does not fit it."""
    assert isinstance(space, gym.spaces.Box)
    try:
        array = np.asarray(given, dtype=space.dtype)
    except (TypeError, ValueError, OverflowError):
        array = None
    if array is not None and array.shape == (len(given), *space.shape):
        fits = (array >= space.low) & (array <= space.high)
        if fits.all():
            return array
        row = int(np.flatnonzero(~fits.reshape(len(given), -1).all(1))[0])
        raise InvalidInputError(
            f"{fields[row]}: a value is outside the bounds of the environment: between "
            f"{space.low.min()} and {space.high.max()} at most"
        )
    for one, field in zip(given, fields, strict=True):
        try:
            shape = np.asarray(one, dtype=space.dtype).shape
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"{field}: not an array of numbers: {error}") from error
        if shape != space.shape:
            raise InvalidInputError(
                f"{field}: shape {shape} does not fit {space.shape} {space.dtype}"
            )
    raise AssertionError("arrays that fit one by one fit together")
