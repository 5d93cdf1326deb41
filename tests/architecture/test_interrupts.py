"""What a test starts answers an interrupt, also where the suite runs in the background of a shell, which ignores them."""

from __future__ import annotations

import signal
import subprocess
import sys


def test_a_process_of_a_test_is_ended_by_sigint() -> None:
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, timeout=50, check=False)
    assert done.returncode == -signal.SIGINT
