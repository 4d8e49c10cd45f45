"""What pytest leaves out, in which order, company and language tests run, and what it calls the cells of lesson 11.

Two workers (pytest-xdist) share the tests. A lesson's cells stay together, since they need one kernel, and so does a
file of tests, which shares a server or a model; each test of test_lessons.py, which executes a whole lesson, stands
alone. What takes longest comes first, so that no worker is left waiting at the end.

Lesson 8 needs onnxruntime-genai, which has no wheels for Python 3.10. A report on a cell of lesson 11 names the
entry whose heading the cell stands under, so that a text which a new version has changed fails as "Cell 42, entry D7".
"""

import os
import re
import sys

import pytest

OLD = sys.version_info < (3, 11)
LESSON_8 = "08_speed_and_memory.ipynb"
collect_ignore = [f"notebooks/{LESSON_8}", f"notebooks/zh/{LESSON_8}"] if OLD else []


def pytest_report_header(config):
    return "Lesson 8 is left out: onnxruntime-genai has no wheels for Python 3.10." if OLD else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrLesson(LoadScopeScheduling):
        def _split_scope(self, nodeid):  # the way that pytest-xdist documents; its loadgroup fails with pytest 9.2
            file = nodeid.partition("::")[0]
            return nodeid if file.endswith("test_lessons.py") else file

    return ByFileOrLesson(config, log)


def pytest_collection_modifyitems(items):
    first = ("test_lessons.py", "test_room.py", "07_", "08_", "09_", "06_", "test_course.py")
    places = {item.path: [item.path.name.startswith(name) for name in (*first, "")].index(True) for item in items}
    items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """A lesson's kernel is started after this, and inherits the language of its folder."""
    os.environ["QWEN_LANG"] = "zh" if item.path.parent.name == "zh" else "en"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if item.path.name == "11_troubleshooting.ipynb" and entry_of(item):
        report.user_properties.append(("entry", entry_of(item)))
    return report


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # a worker's reports keep the ids by which pytest-xdist counts them
        config.pluginmanager.register(NamesOfEntries())


class NamesOfEntries:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        report.nodeid += "".join(f", entry {value}" for name, value in report.user_properties if name == "entry")


def entry_of(item):
    """The id of the entry in the heading above a cell; empty if there is none."""
    entry = ""
    for other in item.parent.nb.cells:
        if other is item.cell:
            break
        for line in other.source.splitlines() if other.cell_type == "markdown" else []:
            if found := re.match(r"#{2,3} (?:([A-Z]\d+) )?", line):
                entry = found[1] or ""
    return entry
