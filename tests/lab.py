"""A real JupyterLab on a copy of the lessons, and the browser that opens it."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Chromium looks for updates and news at every start; a machine without a network has none of that.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--disable-quic"]


def chromium() -> str | None:
    """Chromium's or Chrome's path, None if there is neither."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class JupyterLab:
    """As a context: JupyterLab on a copy of notebooks, images and models in `folder`, so that no lesson is changed.

    `url(NAME)` is the address of a lesson.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        ignore = shutil.ignore_patterns(".ipynb_checkpoints", "models", "__pycache__")
        for name in ("notebooks", "images", "qwen_helpers"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)

    def __enter__(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            self.port = server.getsockname()[1]
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--IdentityProvider.token="]
        command += [f"--ServerApp.root_dir={self.folder}", f"--ServerApp.port={self.port}"]
        self.log = (self.folder / "lab.log").open("w")
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=self.log, stderr=subprocess.STDOUT)
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api", timeout=5).close()
                return self
            except urllib.error.URLError:
                time.sleep(0.5)
        self.__exit__()
        raise RuntimeError(f"JupyterLab did not start:\n{(self.folder / 'lab.log').read_text()}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/notebooks/{name}.ipynb?reset"
