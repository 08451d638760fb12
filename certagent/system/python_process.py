"""A Python process of our own that answers one question after another: what it has to import leaves with it."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

_BEGIN = (
    "import gc, importlib, sys; gc.disable(); sys.path[:] = sys.argv[2:];"
    " module = importlib.import_module(sys.argv[1]); gc.freeze(); gc.enable(); module.main()"
)
_LENGTH = 4  # bytes, before each message, the most significant first
_LARGEST_MESSAGE = 16 * 1024 * 1024
_ENDS_WITHIN = 5.0  # seconds after the end of its input


class ProcessGoneError(Exception):
    """It ended, or did not answer in time. What was asked may have been done."""


class PythonProcess:
    """A module whose `main()` calls `answer_all`, in a process that the first question starts. It ends `kept_for`
    seconds after the latest answer, and when this process ends, however that does.

    One question at a time; others wait. One that is given up, or not answered within `longest` seconds, ends the
    process: its answer would be taken for another's.
    """

    def __init__(self, module: str, kept_for: float, longest: float) -> None:
        self._module = module
        self._kept_for = kept_for
        self._longest = longest
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._rests: asyncio.TimerHandle | None = None

    async def prepare(self) -> None:
        """Start it, for a question that is about to come. Raises OSError."""
        async with self._turn:
            await self._running()
            self._rest()

    async def ask(self, question: bytes) -> bytes:
        """The answer. Raises `ProcessGoneError`, and OSError when the process cannot be started."""
        async with self._turn:
            process = await self._running()
            try:
                async with asyncio.timeout(self._longest):
                    answer = await _exchange(process, question)
            except (EOFError, ConnectionError, TimeoutError) as error:
                await _kill(process)
                raise ProcessGoneError(f"the process of {self._module} ended: {process.returncode}") from error
            except BaseException:
                await _kill(process)
                raise
            self._rest()
            return answer

    async def close(self) -> None:
        """End it, once it has answered."""
        async with self._turn:
            self._stay()
            if self._process is not None:
                await _end(self._process, _ENDS_WITHIN)

    async def _running(self) -> Process:
        self._stay()
        if self._process is not None and _input_of(self._process).is_closing():
            await _end(self._process, _ENDS_WITHIN)
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-IS", "-X", "no_debug_ranges", "-c", _BEGIN, self._module, *sys.path),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"LANG": "C.UTF-8"},
                limit=_LARGEST_MESSAGE,
                start_new_session=True,
            )
        return self._process

    def _stay(self) -> None:
        if self._rests is not None:
            self._rests.cancel()

    def _rest(self) -> None:
        if self._process is not None:
            self._rests = asyncio.get_running_loop().call_later(self._kept_for, _input_of(self._process).close)


async def _exchange(process: Process, question: bytes) -> bytes:
    questions, answers = _input_of(process), process.stdout
    if answers is None:
        raise EOFError
    questions.write(len(question).to_bytes(_LENGTH) + question)
    await questions.drain()
    return await answers.readexactly(int.from_bytes(await answers.readexactly(_LENGTH)))


async def _end(process: Process, within: float) -> None:
    """It ends with its input, or is killed."""
    _input_of(process).close()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await process.wait()
    finally:
        await _kill(process)


async def _kill(process: Process) -> None:
    """At once. (Before Python 3.11.3, no timeout can be relied on in a task that is being cancelled.)"""
    _input_of(process).close()
    if process.returncode is None:
        process.kill()
    await process.wait()


def _input_of(process: Process) -> asyncio.StreamWriter:
    if process.stdin is None:
        raise TypeError("it was started without a pipe")
    return process.stdin


def answer_all(answer: Callable[[bytes], bytes]) -> None:
    """In that process: answer one question after another until there are no more. What anybody prints is no answer."""
    with open(os.dup(0), "rb") as questions, open(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        while length := questions.read(_LENGTH):
            told = answer(_read(questions, int.from_bytes(length)))
            answers.write(len(told).to_bytes(_LENGTH) + told)
            answers.flush()


def _read(questions: BinaryIO, length: int) -> bytes:
    question = questions.read(length)
    if len(question) < length:
        raise EOFError
    return question
