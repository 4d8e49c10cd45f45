"""Make the pictures of README and lessons: `python tests/pictures.py`, with Chromium and fonts-noto-cjk installed.

Each is a screenshot of the real thing: JupyterLab on a lesson as it is committed, or a class that asks.
"""

import os
import tempfile
import threading
import time
from pathlib import Path

import httpx
from lab import QUIET, ROOT, JupyterLab, chromium
from playwright.sync_api import sync_playwright
from test_browser import answers, ask, open_box, until

from course import LAB_IN_CHINESE, LAB_SETTINGS
from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.labs.class_load import class_plan, run_class
from qwen_helpers.labs.serve import Server

IMAGES = ROOT / "images"


def lesson(page, lab, name: str, heading: str, image: str) -> None:
    """Open a lesson, scroll a heading to the top of the page and take the picture."""
    page.goto(lab.url(name))
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


def chat_box(page, lab, name: str, menu: tuple[str, str], image: str) -> None:
    """The chat box of lesson 4 after two questions."""
    page.goto(lab.url(name))
    page.wait_for_selector(".jp-Notebook h1")
    open_box(page, *menu)
    ask(page, "写一个 Python 函数。")
    until(lambda: len(answers(page)) == 2)
    time.sleep(1)
    page.locator(".jp-OutputArea-output", has=page.locator(".qwen-assistant")).first.screenshot(path=IMAGES / image)
    print(f"images/{image}: {os.path.getsize(IMAGES / image) // 1000} kB")


def teachers_page(page, image: str) -> None:
    """The teacher's page while six students ask, two answers at a time."""
    names = ["Lin", "Ming", "李雷", "韩梅梅", "Ana", "Tom"]
    tried = ["3.1 1", "3.1 01", "3.1 1 3.2 001", "3.1 00", "3.1 01 3.2 1", ""]
    with Server(TINY_CHAT, names, places=2) as server:
        for key, told in zip(server.keys.values(), tried, strict=True):
            for exercise, tries in zip(told.split()[::2], told.split()[1::2], strict=True):
                for passed in tries:
                    httpx.post(
                        server.url.replace("/v1", "/class/check"),
                        json={"exercise": exercise, "passed": passed == "1"},
                        headers={"Authorization": f"Bearer {key}"},
                        trust_env=False,
                    )
        page.goto(server.teacher_url)
        page.fill("#key", server.teacher_key)
        page.click("#ask button")
        plan = class_plan(len(names), 60, 0.05)
        people = threading.Thread(target=run_class, args=(server.url, list(server.keys.values()), server.model, plan))
        people.start()
        page.wait_for_timeout(4000)
        page.screenshot(path=IMAGES / image, full_page=True)
        people.join()
    print(f"images/{image}: {os.path.getsize(IMAGES / image) // 1000} kB")


EDITIONS = {  # language: the lessons' folder, what follows a picture's name, settings, heading, menu
    "en": ("", "", LAB_SETTINGS, "3. The prompt that the model really reads", ("Run", "Run All Cells")),
    "zh": ("zh/", ".zh", LAB_SETTINGS | LAB_IN_CHINESE, "3. 模型真正读到的提示词", ("运行", "运行所有单元格")),
}

if __name__ == "__main__":
    for language, (folder, ending, settings, heading, menu) in EDITIONS.items():
        os.environ["QWEN_LANG"] = language
        with (
            tempfile.TemporaryDirectory() as place,
            JupyterLab(Path(place), settings) as lab,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(60_000)
            lesson(page, lab, f"{folder}03_basic_chat", heading, f"lesson3{ending}.png")
            chat_box(page, lab, f"{folder}04_streaming", menu, f"chat_box{ending}.png")
            teachers_page(browser.new_page(viewport={"width": 1000, "height": 700}), f"teacher_page{ending}.png")
            browser.close()
