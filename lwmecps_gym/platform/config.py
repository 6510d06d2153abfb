"""Settings, read once from the environment."""

import os
from pathlib import Path

from platformdirs import user_data_path
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    max_concurrent_trainings: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 2) // 2), ge=1
    )
    kubernetes_namespace: str = "default"
    kubeconfig: Path | None = Field(
        default=None, description="Path of a kubeconfig; unset: in-cluster, then the default one."
    )
