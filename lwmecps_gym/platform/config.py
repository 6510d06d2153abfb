"""Settings, read once from the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lwmecps_gym.platform.errors import InvalidInputError


def _modules(given: Any) -> Any:
    """Split names at commas; a file's path holds in every process, wherever that works."""
    names = given.split(",") if isinstance(given, str) else given
    stripped = [str(name).strip() for name in names]
    return tuple(
        str(Path(name).absolute()) if name.endswith(".py") else name for name in stripped if name
    )


def _words(given: Any) -> Any:
    """Split a text at commas."""
    words = given.split(",") if isinstance(given, str) else given
    return tuple(word.strip() for word in words if word.strip())


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """Every setting of the platform; each has an environment variable.

    `LWMECPS_<NAME>` sets a field; the fields below with an alias keep the name that their own
    tools use (`MONGODB_URL`, `WANDB_*`).
    """

    model_config = SettingsConfigDict(env_prefix="LWMECPS_", populate_by_name=True, extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("lwmecps-gym"),
        description="Folder of the embedded store, artifacts, checkpoints and offline W&B runs.",
    )
    mongodb_url: SecretStr | None = Field(
        default=None,
        validation_alias="MONGODB_URL",
        description="MongoDB connection string; without it the store is a SQLite file in data_dir.",
    )
    mongodb_database: str = "lwmecps"
    wandb_api_key: SecretStr | None = Field(default=None, validation_alias="WANDB_API_KEY")
    wandb_project: str = Field(default="lwmecps-gym", validation_alias="WANDB_PROJECT")
    wandb_mode: str | None = Field(
        default=None,
        validation_alias="WANDB_MODE",
        description="online, offline or disabled; unset: online with a key, offline without.",
    )
    max_concurrent_trainings: int | None = Field(
        default=None,
        ge=1,
        description="Trainings at one time; unset: one for each core that Ray has.",
    )
    max_queued_trainings: int = Field(default=100, ge=1, description="Trainings that may wait.")
    checkpoint_interval_s: float = Field(
        default=60.0, ge=0, description="Time between checkpoints of a training, s."
    )
    lease_s: float = Field(
        default=30.0,
        gt=0,
        description="How long a running training may be silent before it is suspected to be dead; "
        "a third of that later it is taken back, s.",
    )
    begin_lease_s: float = Field(
        default=120.0, gt=0, description="How long a launched training may take to begin, s."
    )
    max_attempts: int = Field(
        default=5,
        ge=1,
        description="Attempts in a row that may be lost, without a checkpoint in between, before "
        "a training fails.",
    )
    algorithms: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_modules)] = Field(
        default=(),
        description="Modules or .py files, separated by commas, that register algorithms.",
    )
    auth: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="Who may call the API. auto: anyone on this machine until a key exists, then "
        "those with a key; required: those with a key; off: anyone, for behind a proxy that asks.",
    )
    admin_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="A key of the scope admin beside those in the store, for the first login.",
    )
    allowed_hosts: Words = Field(
        default=(),
        description="Names in the Host header that are answered; *: any. Unset: this machine's "
        "own where no key is asked for, any where one is.",
    )
    cors_origins: Words = Field(
        default=(), description="Origins whose pages may call the API from a browser."
    )
    requests_per_s: float = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description="Requests a second of one key, or of one address without; 0: any number. "
        "Counts where keys are asked for.",
    )
    log_level: Literal["debug", "info", "warning"] = "info"
    log_format: Literal["text", "json"] = Field(
        default="text", description="Lines of the log: for people, or one JSON object each."
    )
    kubernetes_namespace: str = "default"
    kubeconfig: Path | None = Field(
        default=None, description="Path of a kubeconfig; unset: in-cluster, then the default one."
    )

    def with_keys_required(self) -> "Settings":
        """Return these settings for an API that others can reach: `auto` becomes `required`."""
        return self if self.auth == "off" else self.model_copy(update={"auth": "required"})


def read_settings(**given: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        given: fields that differ from it.

    Raises:
        InvalidInputError: a variable is wrong; the message names it, and its value if it is no
            secret.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = [
            f"{_variable(str(item['loc'][0]))}: {item['msg']}{_value(item)}"
            for item in error.errors(include_url=False)
        ]
        raise InvalidInputError("; ".join(wrong)) from None  # it holds the values of secrets


def _value(item: ErrorDetails) -> str:
    """Say what a wrong value was, unless it is a secret."""
    secrets = {
        name
        for field, info in Settings.model_fields.items()
        if "SecretStr" in str(info.annotation)
        for name in (field, info.validation_alias)
    }
    return "" if item["loc"][0] in secrets else f" (value {item['input']!r})"


def _variable(field: str) -> str:
    """Name of the environment variable of a field, which has its own name if it has an alias."""
    return f"LWMECPS_{field.upper()}" if field in Settings.model_fields else field
