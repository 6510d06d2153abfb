from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("envs", deadline=None, derandomize=True)
settings.load_profile("envs")


@pytest.fixture(scope="session")
def testapp_data() -> Path:
    """Folder of the load profiles of lwmecps-testapp, shared between repositories."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "lwmecps-testapp"
    if not folder.is_dir():
        pytest.skip(f"the load profiles of lwmecps-testapp are not at {folder}")
    return folder
