"""The store of all metadata: MongoDB where one is set, else a SQLite file.

store = open_store(Settings())
task = store.get_task(task_id)
task = store.update_task(task, state=TaskState.RUNNING)
"""

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database.documents import Documents
from lwmecps_gym.platform.database.mongo import MongoDocuments
from lwmecps_gym.platform.database.sqlite import SqliteDocuments
from lwmecps_gym.platform.database.store import Store
from lwmecps_gym.platform.errors import StoreUnavailableError

__all__ = [
    "Documents",
    "MongoDocuments",
    "SqliteDocuments",
    "Store",
    "open_documents",
    "open_store",
]


def open_store(settings: Settings) -> Store:
    """Open the store that the settings name; each process opens its own.

    Raises:
        InvalidInputError: `MONGODB_URL` is not a connection string, or a newer version of the
            platform made the store.
        StoreUnavailableError: the database does not answer, or data_dir cannot be written.
    """
    return Store(open_documents(settings))


def open_documents(settings: Settings, *, clear_unfinished: bool = False) -> Documents:
    """Open the back end of the store that the settings name; raises as `open_store`.

    Args:
        settings: name it.
        clear_unfinished: remove what an import left that was cut short.
    """
    if settings.mongodb_url is not None:
        url = settings.mongodb_url.get_secret_value()
        return MongoDocuments.connect(
            url, settings.mongodb_database, clear_unfinished=clear_unfinished
        )
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailableError(
            f"the data folder {settings.data_dir} cannot be made: {error};"
            " set LWMECPS_DATA_DIR to a folder that can be written"
        ) from error
    return SqliteDocuments(settings.data_dir / "lwmecps.sqlite3")
