"""Processes that begin with what this one has imported."""

import os
import sys
import traceback


def started(work, log=None):
    """Do some work in a new process, which leads a group of its own; its number.

    Args:
        work: what it does; its exit code is 0, or 1 after an error.
        log: the file for its messages; None: they go where those of this process go.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        if log:
            with log.open("w") as stream:
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(process):
    """Wait for a process: its exit code, negative after a signal."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)
