"""The parameters of a user's class, read off its `__init__`."""

import inspect
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticUserError

from lwmecps_gym.algorithms.parameters import Fraction, Rate
from lwmecps_gym.platform.errors import InvalidInputError

HANDED = ("env", "wandb_run_id", "seed")
"""Arguments of `__init__` that the platform gives, and no request."""

SHARED: dict[str, Any] = {"learning_rate": Rate, "discount_factor": Fraction}
"""Parameters that mean the same in all algorithms, whatever they are annotated with."""


def parameters_of(agent: type) -> type[BaseModel]:
    """Model of the keyword arguments of `__init__`: names, annotations, defaults.

    One without an annotation takes the type of its default. Other names are refused, also where
    `__init__` takes `**kwargs`.

    Raises:
        InvalidInputError: `__init__` takes no `env`, or an argument is of a type that is not JSON.
    """
    where = f"{agent.__module__}:{agent.__qualname__}.__init__"
    arguments = inspect.signature(agent).parameters
    if "env" not in arguments:
        raise InvalidInputError(f"{where}: takes no argument env")
    try:
        hints = get_type_hints(agent.__init__, include_extras=True)  # type: ignore[misc]
    except NameError as error:
        raise InvalidInputError(f"{where}: an annotation cannot be resolved: {error}") from error
    fields: dict[str, Any] = {}
    for name, argument in arguments.items():
        if name in HANDED or argument.kind is argument.VAR_KEYWORD:
            continue
        if argument.kind in (argument.POSITIONAL_ONLY, argument.VAR_POSITIONAL):
            raise InvalidInputError(f"{where}: {argument} cannot be given by name")
        missing = argument.default is argument.empty
        guess = Any if missing or argument.default is None else type(argument.default)
        annotation = SHARED.get(name, hints.get(name, guess))
        fields[name] = (annotation, ... if missing else argument.default)
    config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    try:
        model = create_model(f"{agent.__name__}Parameters", __config__=config, **fields)
        model.model_json_schema()
    except (PydanticUserError, NameError) as error:
        raise InvalidInputError(
            f"{where}: its arguments cannot be given as JSON: {' '.join(str(error).split())}"
        ) from error
    return model
