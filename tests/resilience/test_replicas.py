"""Three replicas on one PostgreSQL: whatever happens to the leader, nothing is lost and little is repeated.

`--takeovers N` makes the long form: N kills, N / 5 freezes, cuts, ends and reloads, N / 10 restarts of the
server, each for as long as it really takes, some 12 s. `--log-cli-level=info` shows the figures.
"""

import logging
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.resilience.test_kill import SLOTS
from tests.support.bursts import a_scene, ids, repeats
from tests.support.replicas import PGBOUNCER, Replicas, pgbouncer, restartable_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(7200)]

log = logging.getLogger(__name__)


def disturbances(takeovers: int, chance: random.Random) -> list[str]:
    """Returns what happens, in some order."""
    if not takeovers:
        return ["kill", "freeze", "restart", "cut", "reload", "term", "crash"]
    kinds = {"kill": takeovers, **dict.fromkeys(("freeze", "cut", "term", "reload"), takeovers // 5)}
    kinds |= dict.fromkeys(("restart", "crash"), takeovers // 20)
    all_of_them = [kind for kind, number in kinds.items() for _ in range(number)]
    chance.shuffle(all_of_them)
    return all_of_them


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pgbouncer"])
@pytest.mark.usefixtures("postgresql_server")  # skips it where there are no programs of PostgreSQL
async def test_takeovers_lose_nothing(tmp_path: Path, takeovers: int, *, pooled: bool) -> None:
    """Each takeover repeats at most the sends under way; nothing is lost and no two replicas ever write."""
    if pooled and PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    chance, began = random.Random(20261128), time.monotonic()
    kinds = disturbances(takeovers, chance)
    async with a_scene(tmp_path, chance) as scene, AsyncExitStack() as stack:
        server = stack.enter_context(restartable_server())
        port = stack.enter_context(pgbouncer(server)) if pooled else server.port
        settings = await stack.enter_async_context(scene.settings())
        replicas = Replicas(tmp_path, scene, server, chance, port)
        await replicas.begin(settings)
        for kind in kinds if not pooled or takeovers else kinds[:3]:
            scene.ask_many()
            scene.change()
            await replicas.disturb(kind, patient=takeovers > 0)
            log.info("%s: silent for %.1f s", kind, replicas.silences[kind][-1])
        await scene.all_told()
        statuses = await replicas.end()
        problems = replicas.problems()
    log.info(
        "%d takeovers in %.0f s: %s; %s",
        replicas.takeovers,
        time.monotonic() - began,
        scene.figures(),
        {kind: f"silent {max(seconds):.1f} s at most" for kind, seconds in replicas.silences.items()},
    )
    assert ([0, 0, 0], [], set()) == (statuses, problems, scene.lost())
    assert [] == scene.misreported()
    assert {1} == set(ids(scene.hooked).values()) | set(ids(scene.slacked).values())
    ends = [replica.number for replica in replicas.ended]
    assert SLOTS >= most_at_end(repeats(scene.hooked), ends)
    assert 1 >= most_at_end(repeats(scene.slacked), ends)


def most_at_end(repeated: Counter[tuple[int, int]], ends: list[int]) -> int:
    """Returns how many calls were made twice because one replica ended, at most; `ends` is in which order.

    What a leader had claimed when it froze it may send when it wakes, after its successor did.
    """
    assert [] == [pair for pair in repeated if len(set(pair)) == 1], "repeated without a takeover"
    because_of: Counter[int] = Counter()
    for pair, times in repeated.items():
        because_of[min(pair, key=ends.index)] += times
    return max(because_of.values(), default=0)
