"""How the work for HTTP clients is shared, bounded and dropped."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.builders import BOUND
from watcher.monitoring.questions import Questions, TooManyQuestionsError

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often each question is answered; the first answer is held back until it is released."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.began = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._released = threading.Event()

    def on(self, name: str) -> Callable[[], str]:
        """Returns the work that answers a question of this name."""

        def answer() -> str:
            self.answered.append(name)
            self._loop.call_soon_threadsafe(self.began.set)
            self._released.wait(BOUND)
            return name

        return answer

    def release(self) -> None:
        """Lets all answers end."""
        self._released.set()


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    """Work that ends with the test at the latest."""
    held = Work()
    try:
        async with asyncio.timeout(BOUND):
            yield held
    finally:
        held.release()


async def turns() -> None:
    """Lets everything happen that can happen now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_identical_questions_are_answered_once(work: Work) -> None:
    """However many clients ask the same at a time, the work is done once and everyone gets the answer."""
    questions = Questions(waiting=4)
    clients = [asyncio.create_task(questions.ask("a", work.on("a"))) for _ in range(20)]
    await work.began.wait()
    work.release()
    assert ["a"] * 20 == await asyncio.gather(*clients)
    assert ["a"] == work.answered


async def test_one_question_is_answered_at_a_time_and_few_wait(work: Work) -> None:
    """While one is answered four may wait; the next is refused at once, a part of an admitted one is not."""
    questions = Questions(waiting=4)
    clients = [asyncio.create_task(questions.ask(name, work.on(name))) for name in "abcde"]
    await work.began.wait()
    with pytest.raises(TooManyQuestionsError):
        await questions.ask("f", work.on("f"))
    clients.append(asyncio.create_task(questions.ask("g", work.on("g"), admitted=True)))
    await turns()
    assert ["a"] == work.answered
    work.release()
    assert [*"abcdeg"] == await asyncio.gather(*clients) == work.answered


async def test_the_work_of_a_client_that_left_is_dropped(work: Work) -> None:
    """A question that nobody waits for any more is not answered, and takes no place from others."""
    questions = Questions(waiting=1)
    first = asyncio.create_task(questions.ask("a", work.on("a")))
    await work.began.wait()
    for _ in range(10):
        gone = asyncio.create_task(questions.ask("b", work.on("b")))
        await turns()
        gone.cancel()
        await asyncio.wait({gone})
    last = asyncio.create_task(questions.ask("c", work.on("c")))
    await turns()
    work.release()
    assert ["a", "c"] == list(await asyncio.gather(first, last))
    assert ["a", "c"] == work.answered


async def test_work_that_has_begun_keeps_its_turn(work: Work) -> None:
    """When every client of it has left, the thread still works, so the next question waits for it."""
    questions = Questions(waiting=1)
    gone = asyncio.create_task(questions.ask("a", work.on("a")))
    await work.began.wait()
    gone.cancel()
    await asyncio.wait({gone})
    following = asyncio.create_task(questions.ask("b", work.on("b")))
    await turns()
    assert ["a"] == work.answered
    work.release()
    assert "b" == await following


async def test_one_client_that_leaves_takes_nothing_from_another(work: Work) -> None:
    """An answer that two share is still given to the one that stays."""
    questions = Questions(waiting=2)
    first = asyncio.create_task(questions.ask("a", work.on("a")))
    await work.began.wait()
    gone, stays = (asyncio.create_task(questions.ask("b", work.on("b"))) for _ in range(2))
    await turns()
    gone.cancel()
    await asyncio.wait({gone})
    work.release()
    assert ["a", "b"] == list(await asyncio.gather(first, stays))


async def test_an_error_is_raised_for_every_client() -> None:
    """What the work raises reaches all that asked, and the next question is answered."""
    questions = Questions(waiting=4)

    def broken() -> str:
        raise ValueError("broken")

    clients = [asyncio.create_task(questions.ask("a", broken)) for _ in range(3)]
    assert ["broken"] * 3 == [str(error) for error in await asyncio.gather(*clients, return_exceptions=True)]
    assert "b" == await questions.ask("b", lambda: "b")
