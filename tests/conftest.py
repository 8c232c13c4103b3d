"""What all tests share."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "long",
    max_examples=5000,
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what only some tests take."""
    parser.addoption("--kills", type=int, default=20, help="how often tests/test_kill.py ends the watcher")


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often the watcher is ended."""
    return int(request.config.getoption("--kills"))


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, by the pytest plugin that comes with anyio (and anyio with httpx)."""
    return "asyncio"
