"""Make the pictures of README and lessons: `python tests/pictures.py`, with Chromium and `pip install playwright`.

Each is a screenshot of the real thing: JupyterLab as course.py starts it, on a lesson as it is committed.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "images"
# Chromium looks for updates and news at every start; a machine without a network has none of that.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--disable-quic"]


class JupyterLab:
    """`python course.py --no-browser` as a context: the address, with its token, of a running JupyterLab."""

    def __enter__(self) -> str:
        command = [sys.executable, "course.py", "--no-browser"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        for line in self.process.stdout:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/lab\S*\?token=(\w+)", line):
                return f"{found[1]}/lab/tree/{{}}?reset&token={found[2]}"  # reset: no tabs of an earlier visit
        raise RuntimeError("JupyterLab did not start: run python course.py --no-browser and look.")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)


def chromium():
    path = shutil.which("chromium") or shutil.which("google-chrome")
    return {"executable_path": path, "args": QUIET} if path else {"args": QUIET}


def lesson(page, address: str, name: str, heading: str, image: str) -> None:
    """Open a lesson, scroll a heading to the top of the page and take the picture."""
    page.goto(address.format(f"notebooks/{name}.ipynb"))
    page.wait_for_selector(".jp-Notebook h1", timeout=60_000)
    target = page.locator(".jp-Notebook h2", has_text=heading).first
    for _ in range(60):  # JupyterLab draws cells only when they come into view
        if target.count() and target.is_visible():
            break
        page.mouse.move(800, 500)
        page.mouse.wheel(0, 500)
        time.sleep(0.2)
    target.evaluate("element => element.scrollIntoView({block: 'start'})")
    time.sleep(2)
    page.screenshot(path=IMAGES / image)
    print(f"images/{image}: {os.path.getsize(IMAGES / image) // 1000} kB")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with JupyterLab() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium())
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        lesson(page, address, "03_basic_chat", "3. The prompt that the model really reads", "lesson3.png")
        browser.close()
