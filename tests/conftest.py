"""What all tests share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, by the pytest plugin that comes with anyio (and anyio with httpx)."""
    return "asyncio"
