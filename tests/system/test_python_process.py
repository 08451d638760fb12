"""A Python process that answers one question after another."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from certagent.system.python_process import ProcessGoneError, PythonProcess

ANSWERING = "tests.fakes.answering"


@pytest.fixture
async def process() -> AsyncIterator[PythonProcess]:
    """One that stays for as long as the test."""
    opened = PythonProcess(ANSWERING, kept_for=60, longest=10)
    yield opened
    await opened.close()


async def _is_gone(pid: int) -> bool:
    for _ in range(500):
        if not os.path.exists(f"/proc/{pid}"):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_it_answers_each_with_its_own(process: PythonProcess) -> None:
    """Many at once, large ones, and an empty one, from one process."""
    questions = [b"", b"x" * 3_000_000, *(b"%d" % number for number in range(50))]
    assert await asyncio.gather(*map(process.ask, questions)) == questions
    assert await process.ask(b"pid") == await process.ask(b"pid")


async def test_what_it_prints_is_no_answer(process: PythonProcess) -> None:
    """Neither by Python nor past it."""
    assert await process.ask(b"print") == b"print"
    assert await process.ask(b"next") == b"next"


@pytest.mark.parametrize("status", [0, 1])
async def test_an_end_is_told_and_the_next_question_has_another(process: PythonProcess, status: int) -> None:
    """However it ends."""
    before = await process.ask(b"pid")
    with pytest.raises(ProcessGoneError):
        await process.ask(b"exit %d" % status)
    assert await process.ask(b"pid") != before


@pytest.mark.slow
async def test_one_that_takes_too_long_is_ended() -> None:
    """Its answer would come as another's."""
    process = PythonProcess(ANSWERING, kept_for=60, longest=1.0)
    pid = int(await process.ask(b"pid"))
    with pytest.raises(ProcessGoneError):
        await process.ask(b"sleep 30")
    assert await _is_gone(pid)
    assert await process.ask(b"next") == b"next"
    await process.close()


async def test_one_that_is_given_up_is_ended(process: PythonProcess) -> None:
    """The next question gets its own answer."""
    pid = int(await process.ask(b"pid"))
    asked = asyncio.create_task(process.ask(b"sleep 30"), name="asked")
    await asyncio.sleep(0.1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await _is_gone(pid)
    assert await process.ask(b"next") == b"next"


@pytest.mark.slow
async def test_it_leaves_by_itself_and_comes_again() -> None:
    """After its time; also where that is while it is asked."""
    process = PythonProcess(ANSWERING, kept_for=0.05, longest=10)
    pid = int(await process.ask(b"pid"))
    assert await _is_gone(pid)
    for _ in range(5):
        assert await process.ask(b"again") == b"again"
        await asyncio.sleep(0.05)
    await process.close()


async def test_it_may_be_started_before_it_is_asked(process: PythonProcess) -> None:
    """And is the one that then answers."""
    await process.prepare()
    await asyncio.sleep(0.5)
    began_at = time.perf_counter()
    await process.ask(b"now")
    assert time.perf_counter() - began_at < 5


async def test_closing_leaves_nothing(process: PythonProcess) -> None:
    """Neither a process nor a question without an answer."""
    pid = int(await process.ask(b"pid"))
    asked = asyncio.create_task(process.ask(b"sleep 0.3"), name="asked")
    await asyncio.sleep(0.05)
    await process.close()
    assert await asked == b"sleep 0.3"
    assert not os.path.exists(f"/proc/{pid}")
