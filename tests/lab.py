"""A real JupyterLab on a copy of the lessons, and the browser that opens it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from course import LAB_SETTINGS

ROOT = Path(__file__).resolve().parent.parent
# Chromium looks for updates and news at every start; a machine without a network has none of that.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--disable-quic"]

# JupyterLab draws a cell only when it comes into view; a test looks for what is anywhere in the lesson.
WHOLE = {"windowingMode": "none"}

PLACES = [  # where installers put Chrome and Edge on macOS and Windows, which is not on PATH
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
]


def chromium() -> str | None:
    """The path of Chromium, Chrome or Edge, None if there is none."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return next((path for path in found + PLACES if path and Path(path).exists()), None)


class JupyterLab:
    """As a context: JupyterLab on a copy of notebooks, images and models in `folder`, so that no lesson is changed.

    `url(NAME)` is the address of a lesson.
    """

    def __init__(self, folder: Path, settings: dict = LAB_SETTINGS):
        self.folder, self.settings = folder, settings
        ignore = shutil.ignore_patterns(".ipynb_checkpoints", "models", "__pycache__")
        for name in ("notebooks", "images", "qwen_helpers"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        for name in ("TROUBLES.md", "TROUBLES.zh-CN.md"):
            shutil.copy(ROOT / name, folder)

    def __enter__(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            self.port = server.getsockname()[1]
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--IdentityProvider.token="]
        command += [f"--ServerApp.root_dir={self.folder}", f"--ServerApp.port={self.port}"]
        for plugin, settings in {**self.settings, "@jupyterlab/notebook-extension:tracker": WHOLE}.items():
            file = self.folder / "settings" / f"{plugin.replace(':', '/')}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings), encoding="utf-8")
        env = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings")}
        self.log = (self.folder / "lab.log").open("w")
        self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=self.log, stderr=subprocess.STDOUT)
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
