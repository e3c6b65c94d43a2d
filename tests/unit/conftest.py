"""What several unit tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit import api_desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Any]:
    """A collector in memory, for the API."""
    desk = api_desk.Desk(tmp_path)
    yield desk
    desk.close()
