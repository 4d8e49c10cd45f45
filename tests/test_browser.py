"""Lessons 4 and 6 in a real JupyterLab and a real browser: the chat box answers, follows, is stopped, asked again."""

import contextlib
import re
import time

import nbformat
import pytest
from lab import JupyterLab

from qwen_helpers.chat_box import STOPPED
from qwen_helpers.language import _
from qwen_helpers.tiny import dialogues

STORY = next(d[1]["content"] for d in dialogues() if d[0]["content"] == "讲一个长故事。")


@contextlib.contextmanager
def lesson_in(browser, folder, name):
    """A JupyterLab of its own, since a second page would share the first one's workspace, and the lesson in it."""
    lab = JupyterLab(folder)
    slow_down(lab.folder / "notebooks" / f"{name}.ipynb")
    with lab:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(lab.url(name))
        page.wait_for_selector(".jp-Notebook h1")
        open_box(page)
        yield page
        page.close()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    with lesson_in(browser, tmp_path_factory.mktemp("lab"), "04_streaming") as page:
        yield page


@pytest.fixture(scope="module")
def thinking(browser, tmp_path_factory):
    with lesson_in(browser, tmp_path_factory.mktemp("lab"), "06_thinking_and_tools") as page:
        yield page


SLOW = """
class SlowEngine(type(chat.engine)):
    def stream(self, *messages, **generation):
        import time
        pieces = super().stream(*messages, **generation)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                return end.value
            time.sleep(0.02)
            yield piece

chat.engine.__class__ = SlowEngine
"""


def slow_down(lesson):
    """Let the chat box's model need 20 ms for a piece: else its answer is over before a busy machine presses Stop."""
    notebook = nbformat.read(lesson, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and "box = ChatBox(" in cell.source)
    cell.source = SLOW + cell.source
    if lesson.stem.startswith("06"):  # JupyterLab draws what is in view, and that is the last cell that has run
        del notebook.cells[notebook.cells.index(cell) + 1 :]
    nbformat.write(notebook, lesson)


def open_box(page, menu: str = "Run", entry_of_menu: str = "Run All Cells"):
    """Run the whole lesson, from the menu as a reader would, and scroll to the chat box."""
    page.click(f"text={menu} >> nth=0")
    page.click(f"text={entry_of_menu}")
    end = time.monotonic() + 300
    while not (page.locator("[data-status=idle]").count() and entry(page).count()):
        assert time.monotonic() < end, f"the lesson has run for five minutes and shows no chat box: {state(page)}"
        time.sleep(0.25)
    entry(page).scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.qwen-assistant') !== null")


def state(page) -> str:
    """What a person would look at: the kernel's state, the last cell that ran, errors and dialogues on the page."""
    numbers = page.locator(".jp-InputPrompt").all_inner_texts()
    errors = page.locator(
        "[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedText .ansi-red-fg, .jp-Dialog"
    )
    status = page.locator(".jp-Notebook-ExecutionIndicator").first.get_attribute("data-status")
    return f"kernel {status}; cells {' '.join(numbers)}; errors {errors.all_inner_texts()[-5:]}"


def entry(page):
    return page.locator(f"textarea[placeholder='{_('Ask something, then press Enter')}']")


def button(page, name):
    """The chat box's button: the last of that name, since lesson 4 builds a box by hand before."""
    return page.locator("button.jupyter-button", has_text=re.compile(f"^{name}$")).last


def answers(page) -> list[str]:
    return page.locator(".qwen-assistant").all_inner_texts()


def ask(page, question):
    entry(page).fill(question)
    entry(page).press("Enter")


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def growing(page) -> list[str]:
    """The lengths that the answer has while it is being written, as the page shows them."""
    seen = []
    until(lambda: page.locator(".qwen-live").count())
    while page.locator(".qwen-live").count():
        text = page.evaluate("() => document.querySelector('.qwen-live')?.innerText")
        if text and (not seen or text != seen[-1]):
            seen.append(text)
    return seen


def test_the_answer_grows_and_ends_as_markdown(page):
    button(page, "Clear").click()
    until(lambda: not answers(page))
    ask(page, "讲一个长故事。")
    seen = growing(page)
    lengths = [len(text) for text in seen]
    assert len(seen) >= 4 and lengths == sorted(lengths), "the answer must be seen growing"
    assert all(STORY.startswith(text.rstrip("▌")) for text in seen)
    until(lambda: answers(page) == [STORY])
    ask(page, "Give me a list of three tips.")
    until(lambda: page.locator(".qwen-assistant ol li strong").count() == 3)
    assert "tokens/s" in page.locator(".widget-html", has_text="tokens, first after").first.inner_text()


def test_stop_in_the_middle_and_a_second_question(page):
    button(page, "Clear").click()
    until(lambda: not answers(page))
    ask(page, "讲一个长故事。")
    until(lambda: page.locator(".qwen-live").count())
    button(page, "Stop").click()
    until(lambda: page.locator(".widget-html", has_text=STOPPED).count())
    (half,) = answers(page)
    assert 0 < len(half) < len(STORY) and STORY.startswith(half)
    ask(page, "你好吗？")
    until(lambda: answers(page) == ["我很好，谢谢。模型没有坏心情，只有长长的提示词。"])


def test_enter_of_an_input_method_does_not_send(page):
    button(page, "Clear").click()
    until(lambda: not answers(page))
    entry(page).fill("")
    entry(page).focus()
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "nihao", "selectionStart": 5, "selectionEnd": 5})
    for kind in ("rawKeyDown", "keyUp"):  # 229: a key that the input method has taken
        keyboard.send("Input.dispatchKeyEvent", {"type": kind, "key": "Process", "windowsVirtualKeyCode": 229})
    keyboard.send("Input.insertText", {"text": "你好！"})
    time.sleep(1)
    assert entry(page).input_value() == "你好！" and not answers(page), "the Enter that chooses a word must not send"
    entry(page).press("Enter")
    until(lambda: "迷你模型" in "".join(answers(page)))


CODE = "Write a loop in Python.\n\nfor i in range(3):\n    print(i)"


def test_pasted_code_keeps_its_lines(page):
    button(page, "Clear").click()
    until(lambda: not answers(page))
    entry(page).focus()
    page.keyboard.insert_text(CODE)  # as a paste
    time.sleep(1)
    assert entry(page).input_value() == CODE and not answers(page), "lines that are pasted must not send"
    entry(page).press("End")
    entry(page).press("Enter")
    until(lambda: page.locator(".qwen-user").all_inner_texts() == [CODE])
    until(lambda: page.locator(".qwen-assistant p").count() and entry(page).input_value() == "")


# In pixels, of the part of the conversation that is in view: from its top down to the top of the first bubble, from the
# bottom of the last one down to its bottom, negative if that lies outside. In one call, since bubbles are replaced.
ROOM = """bubbles => {
    const all = document.querySelectorAll(bubbles)
    if (!all.length) return null
    const view = all[0].closest('.widget-vbox').parentElement.getBoundingClientRect()
    const [first, last] = [all[0], all[all.length - 1]].map(bubble => bubble.getBoundingClientRect())
    return {above: first.top - view.top, below: view.bottom - last.bottom, inside: last.bottom - view.top}
}"""


def test_the_newest_bubble_is_in_view_after_ten_turns(page):
    """While the answer grows and when it has ended."""
    button(page, "Clear").click()
    until(lambda: not answers(page))
    for number in range(10):
        ask(page, "Give me a list of three tips.")
        until(lambda: page.locator(".qwen-live").count())
        while room := page.evaluate(ROOM, ".qwen-live"):
            assert room["below"] >= -1 and room["inside"] > 0, f"growing, turn {number + 1}"
            time.sleep(0.02)
        until(lambda n=number: page.locator(".qwen-assistant ol").count() == n + 1)
        until(lambda: not button(page, "Send").is_disabled())
        room = page.evaluate(ROOM, ".qwen-assistant")
        assert room["below"] >= -1 and room["inside"] > 0, f"ended, turn {number + 1}"
    assert page.evaluate(ROOM, ".qwen-user")["above"] < 0, "ten turns do not fit: the first question is above"


def test_an_error_is_one_sentence_in_the_box(page):
    before = answers(page)
    ask(page, "word " * 5000)
    until(lambda: page.locator(".widget-html", has_text="tokens long, but this model takes").count())
    ask(page, "Hello!")
    until(lambda: len(answers(page)) == len(before) + 1)


def test_a_link_to_a_trouble_opens_the_page_at_its_entry(page):
    page.locator(".jp-RenderedMarkdown a[href*='TROUBLES.md']", has_text="S4").first.click()
    entry = page.locator(".jp-MarkdownViewer [data-jupyter-id=S4]")  # JupyterLab renames the attribute
    page.wait_for_function("() => document.querySelector('.jp-MarkdownViewer .jp-RenderedMarkdown')?.scrollTop > 1000")
    place, seen = entry.bounding_box(), page.locator(".jp-MarkdownViewer").bounding_box()
    assert seen["y"] - 50 <= place["y"] <= seen["y"] + seen["height"], "the entry is not in view"


QUESTION, ANSWER = "Which is larger, 9.11 or 9.9?", "9.9 is larger than 9.11."


def test_thoughts_are_folded_above_the_answer(thinking):
    button(thinking, "Clear").click()
    until(lambda: not answers(thinking))
    ask(thinking, QUESTION)
    seen = growing(thinking)
    assert seen[0].startswith("Thinking: Both"), "thoughts are seen while there is nothing else"
    until(lambda: thinking.locator(".qwen-assistant p").all_inner_texts() == [ANSWER])
    folded = thinking.locator(".qwen-assistant .qwen-thoughts")
    assert folded.get_attribute("open") is None and "Both begin" not in answers(thinking)[0]
    folded.locator("summary").click()
    until(lambda: "Both begin with 9." in answers(thinking)[0])


def test_stop_in_the_thoughts_leaves_the_history_whole(thinking):
    button(thinking, "Clear").click()
    until(lambda: not answers(thinking))
    ask(thinking, "Hello!")
    until(lambda: thinking.locator(".qwen-assistant p", has_text="tiny thinking model").count())
    ask(thinking, QUESTION)
    until(lambda: thinking.locator(".qwen-live", has_text="Thinking:").count())
    button(thinking, "Stop").click()
    until(lambda: thinking.locator(".widget-html", has_text=STOPPED).count())
    ask(thinking, QUESTION)  # the stopped turn goes, the first one stays
    until(lambda: thinking.locator(".qwen-assistant p").all_inner_texts()[-1:] == [ANSWER])
    assert len(answers(thinking)) == 2 and len(thinking.locator(".qwen-user").all()) == 2
