"""A program that answers line by line: restarted when it dies or hangs, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from fusion_eval.java.lines import LineProcess, ToolError

ECHO = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"


def _tool(code: str, *arguments: str, **seconds: float) -> LineProcess:
    command = [sys.executable, "-S", "-c", textwrap.dedent(code), *arguments]
    return LineProcess(command, greeting="hello", **{"start_seconds": 10.0, "answer_seconds": 10.0} | seconds)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _ends(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _is_alive(pid)


@pytest.fixture
def echo():
    tool = _tool(ECHO)
    yield tool
    tool.close()


def test_every_line_is_answered_in_order(echo):
    assert echo.ask([f"line {number}" for number in range(5)]) == [f"LINE {number}" for number in range(5)]
    assert echo.ask([]) == []


def test_more_than_the_pipes_hold(echo):
    lines = ["x" * 5000 + str(number) for number in range(500)]
    assert echo.ask(lines) == [line.upper() for line in lines]
    assert echo.ask(["é" * 2_000_000]) == ["É" * 2_000_000]


def test_the_program_stays_between_questions(echo):
    echo.ask(["a"])
    pid = echo.pid
    echo.ask(["b"])
    assert echo.pid == pid


def test_a_line_end_in_a_question_is_refused(echo):
    with pytest.raises(ValueError, match="line end"):
        echo.ask(["a\nb"])


def test_progress_is_told(echo):
    told = []
    echo.ask(["a", "b", "c"], told.append)
    assert told == [1, 2, 3]


def test_a_program_killed_between_questions_is_started_again(echo):
    echo.ask(["a"])
    os.kill(echo.pid, signal.SIGKILL)
    assert echo.ask(["b"]) == ["B"]


def test_a_program_killed_in_the_middle_answers_the_rest_after_a_restart(echo):
    lines = [f"{number} {'x' * 1000}" for number in range(2000)]  # more than the pipe holds after 700 answers
    killed = []

    def kill_once(answered: int) -> None:
        if answered == 700 and not killed:
            killed.append(echo.pid)
            os.kill(echo.pid, signal.SIGKILL)

    assert echo.ask(lines, kill_once) == [line.upper() for line in lines]
    assert killed
    assert echo.pid != killed[0]
    assert _ends(killed[0])


def test_a_program_that_dies_at_one_line_is_tried_twice_and_the_line_is_named():
    tool = _tool(
        """
        import sys
        for line in sys.stdin:
            if "poison" in line:
                print("it hurts", file=sys.stderr)
                sys.exit(7)
            print("fine", flush=True)
        """
    )
    with pytest.raises(ToolError, match=r"ended with code 7 \(it hurts\)") as caught:
        tool.ask(["good", "poison", "good"])
    assert caught.value.index == 1
    assert tool.pid is None
    assert tool.ask(["good"]) == ["fine"]
    tool.close()


def test_a_program_that_hangs_is_killed_and_the_line_is_named():
    tool = _tool(
        """
        import sys, time
        for line in sys.stdin:
            if "slow" in line: time.sleep(1000)
            print("fine", flush=True)
        """,
        answer_seconds=0.5,
    )
    with pytest.raises(ToolError, match=r"no answer in 0\.5 s") as caught:
        tool.ask(["good", "slow"])
    assert caught.value.index == 1
    assert tool.ask(["good"]) == ["fine"]
    tool.close()


def test_a_program_that_does_not_start_says_why():
    tool = _tool("import sys; sys.exit('no memory')")
    with pytest.raises(ToolError, match=r"did not start: it ended with code 1 \(no memory\)") as caught:
        tool.ask(["a"])
    assert caught.value.index is None
    with pytest.raises(ToolError, match="could not be started"):
        LineProcess(["/nowhere/java"], "hello").ask(["a"])


def test_much_output_on_the_error_stream_does_no_harm():
    tool = _tool("import sys\nfor line in sys.stdin: print('noise' * 50000, file=sys.stderr); print(1, flush=True)")
    assert tool.ask(["a"] * 20) == ["1"] * 20
    tool.close()


def test_closing_and_collecting_end_the_program(echo):
    echo.ask(["a"])
    first = echo.pid
    echo.close()
    assert _ends(first)
    other = _tool(ECHO)
    other.ask(["a"])
    second = other.pid
    del other
    assert _ends(second)


def test_an_idle_program_is_ended_and_comes_back():
    tool = _tool(ECHO, idle_seconds=0.2)
    tool.ask(["a"])
    pid = tool.pid
    assert _ends(pid)
    assert tool.ask(["b"]) == ["B"]
    tool.close()


def test_an_exception_while_waiting_ends_the_program(echo):
    echo.ask(["a"])
    pid = echo.pid

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        echo.ask(["a", "b"], interrupt)
    assert _ends(pid)
    assert echo.ask(["c"]) == ["C"]


def test_threads_share_a_program(echo):
    found = {}

    def ask(name: str) -> None:
        found[name] = echo.ask([f"{name}{number}" for number in range(200)])

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [f"{name}{number}".upper() for number in range(200)] for name in "abc"}


PARENT = """
import os, signal, sys
from fusion_eval.java.lines import LineProcess
tool = LineProcess([sys.executable, "-S", "-c", sys.argv[1]], greeting="hello")
tool.ask(["a"])
print(tool.pid, flush=True)
how = sys.argv[2]
if how == "exception": raise RuntimeError("unexpected")
if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
if how == "terminate": os.kill(os.getpid(), signal.SIGTERM)
if how == "interrupt": os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("how", ["exit", "exception", "terminate", "interrupt", "kill"])
def test_nothing_is_left_however_python_ends(how):
    run = subprocess.run([sys.executable, "-c", PARENT, ECHO, how], capture_output=True, timeout=60)
    assert _ends(int(run.stdout))


def test_a_forked_child_has_its_own_program(echo):
    echo.ask(["a"])
    pid = echo.pid
    child = os.fork()
    if child == 0:
        right = echo.ask(["b"]) == ["B"] and echo.pid != pid
        echo.close()
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert echo.ask(["c"]) == ["C"]
    assert echo.pid == pid
