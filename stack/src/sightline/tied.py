"""Runs a command that ends when the process that started it ends.

    python -I -S tied.py PARENT_PID COMMAND [ARGUMENT…]

Replaces itself by the command, which keeps the process id. Linux only: elsewhere the command runs untied. Standard
library only and run by path, so that it costs some milliseconds.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent_pid, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:  # the parent ended before the tie was made
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
