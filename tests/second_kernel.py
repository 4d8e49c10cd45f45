"""A kernel beside the tests' own Python, for what can be raised only there."""

import atexit
import subprocess
import sys

from jupyter_client import KernelManager

from qwen_helpers.labs.other_python import arrived


class SecondKernel:
    """A kernel beside the notebook's own, by its name in `jupyter kernelspec list`. Raises NoSuchKernel."""

    def __init__(self, name: str):
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(stderr=subprocess.DEVNULL)
        atexit.register(self.close)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> None:
        """Run `code` there and print what it prints. Raises the error with which it stopped."""
        reply = self.client.execute_interactive(code, allow_stdin=False, output_hook=show, timeout=120)["content"]
        if reply["status"] == "error":
            raise arrived(reply["ename"], reply["evalue"].rstrip(), "\n".join(reply["traceback"]))

    def close(self) -> None:
        """End the kernel. A second call does nothing."""
        if self.manager.has_kernel:
            self.client.stop_channels()
            self.manager.shutdown_kernel(now=True)


def show(message: dict) -> None:
    if message["msg_type"] == "stream":
        print(message["content"]["text"], end="", file=getattr(sys, message["content"]["name"]))
    elif message["msg_type"] == "execute_result":
        print(message["content"]["data"]["text/plain"])
