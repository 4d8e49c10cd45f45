"""A hub with faults, for tests only: the shipped hub, and between it and the client what goes wrong on real lines."""

import math
import socket
import threading
from dataclasses import dataclass

from qwen_helpers.labs.hub import Answers, Hub


@dataclass
class Fault:
    """`kind` is "cut" (after `value` bytes), "flip" (the byte at `value`), "status" or "size" (listed `value` more)."""

    kind: str
    value: int
    where: str = "big.bin"  # the path of a file, or "listing"
    times: float = math.inf


class FaultyAnswers(Answers):
    def fault(self, kind, where):
        """The fault that is due now, counted as used; or None."""
        with self.hub.lock:
            for fault in self.hub.faults:
                if (fault.kind, fault.where) == (kind, where) and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def listing(self, model, _):
        if fault := self.fault("status", "listing"):
            return self.refuse(fault.value, "a fault of the test", "")
        return super().listing(model, _)

    def json(self, value, what, *rest):
        for entry in value["Data"]["Files"] if what == "listing" and "Data" in value else []:
            if fault := self.fault("size", entry["Path"]):
                entry["Size"] += fault.value
        return super().json(value, what, *rest)

    def file(self, model, path):
        if fault := self.fault("status", path):
            return self.refuse(fault.value, "a fault of the test", "")
        return super().file(model, path)

    def body(self, request, stream, end):
        if fault := self.fault("cut", request.what):
            super().body(request, stream, min(end, request.start + fault.value))
            self.connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionError("cut by the test")
        if fault := self.fault("flip", request.what):
            stream.seek(request.start)
            data = bytearray(stream.read(end - request.start))
            if request.start <= fault.value < end:
                data[fault.value - request.start] ^= 1
            request.sent = self.wfile.write(data)
            return None
        return super().body(request, stream, end)


class FaultyHub(Hub):
    """`faults` may be changed at any time, `rate` (bytes per second, None for as fast as it goes) too."""

    answers = FaultyAnswers

    def __init__(self, folders, **options):
        self.faults, self.lock = [], threading.Lock()
        super().__init__(folders, **options)

    def starts(self, path="big.bin"):
        """Where in the file each request for it began."""
        return [request.start for request in self.requests if request.what == path]
