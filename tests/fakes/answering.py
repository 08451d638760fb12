"""A program that `PythonProcess` runs: it answers with what it was asked, unless it is told to do something else."""

import os
import sys
import time

from certagent.system.python_process import answer_all


def main() -> None:
    """Until there are no more questions."""
    answer_all(_answer)


def _answer(question: bytes) -> bytes:
    match question.split():
        case [b"sleep", seconds]:
            time.sleep(float(seconds))
        case [b"exit", status]:
            os._exit(int(status))
        case [b"print"]:
            print("no answer")
            os.write(1, b"no answer either\n")
        case [b"modules"]:
            return " ".join(sys.modules).encode()
        case [b"pid"]:
            return str(os.getpid()).encode()
    return question
