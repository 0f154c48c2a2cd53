"""Child processes that end with this one, however it ends."""

import os
import signal
import subprocess
import sys

_STOP_TIMEOUT = 10.0  # s for a process to end by itself


class Interruption:
    """Turns SIGINT and SIGTERM into KeyboardInterrupt, but not while a child process is being started or ended."""

    def __init__(self):
        self._deferred = self._pending = False

    def on_signal(self, *_):
        """The handler of both signals."""
        if not self._deferred:
            raise KeyboardInterrupt
        self._pending = True

    def defer(self):
        """Keep a signal until `allow`."""
        self._deferred = True

    def allow(self):
        """Raise KeyboardInterrupt now if a signal has come since `defer`, and from now on when one comes."""
        self._deferred = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt


class ChildProcess:
    """A module of this package as a child process that doesn't outlive the block, together with its own children."""

    def __init__(self, interruption: Interruption, module: str, *arguments: str, **streams):
        """Prepare to start `python -m module arguments...`; `streams` as for `subprocess.Popen`."""
        self._interruption = interruption
        self._command = [sys.executable, "-m", module, *arguments]
        self._streams = streams

    def __enter__(self) -> subprocess.Popen:
        self._interruption.defer()
        # In a session of its own, so that Ctrl-C in the terminal reaches only this process, which ends the others.
        self._process = subprocess.Popen(self._command, start_new_session=True, **self._streams)
        try:
            self._interruption.allow()
        except KeyboardInterrupt:
            self.__exit__()
            raise
        return self._process

    def __exit__(self, *_):
        self._interruption.defer()
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                try:
                    self._process.wait(_STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    continue
        if self._process.stdout:
            self._process.stdout.close()
        self._interruption.allow()
