"""The most memory that a process has had resident, in bytes: what every measurement of memory here reads.

Not `ru_maxrss`: on Linux a new process begins with that of the one which started it.
"""

import re
import sys
import threading
import time
from pathlib import Path

import psutil

LINUX = sys.platform.startswith("linux")


class Peak:
    """The highest resident memory of this process since the last `reset`, in bytes.

    Linux keeps that figure itself; elsewhere a thread looks every 2 ms.
    """

    def __init__(self):
        self.process, self.seen = psutil.Process(), 0
        self.reset()
        if not LINUX:
            threading.Thread(target=self._watch, daemon=True).start()

    def reset(self) -> None:
        self.seen = 0
        if LINUX:
            Path("/proc/self/clear_refs").write_text("5")  # man proc: resets the peak

    @property
    def bytes(self) -> int:
        if LINUX:
            return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
        return self.seen

    def _watch(self) -> None:
        while True:
            self.seen = max(self.seen, self.process.memory_info().rss)
            time.sleep(0.002)
