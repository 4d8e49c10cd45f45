"""The teacher's pack: everything for a class in a room without internet, in one folder.

`python course.py teach OUT` makes it. `students/` is what the class gets: the course with exercises but no solutions,
a folder of wheels (packages as pip installs them) and model folders. `solutions/` is the course as it is.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

import jinja2
import nbformat

from qwen_helpers.folders import TINY_BASE, TINY_CHAT, TINY_THINKING, course_root, model_folder
from qwen_helpers.labs.hub import id_and_folder
from qwen_helpers.language import N_, _, reader_language

MARK = "teachers-pack.json"  # without it a folder is not ours, and is left alone
FILES = ("course.py", "pyproject.toml", "lock.txt", "lock-paddle.txt", "constraints.txt", "constraints-paddle.txt")
FILES += ("environment.yml", "conftest.py")
FILES += ("TROUBLES.md", "TROUBLES.zh-CN.md", "LICENSE", "images", "qwen_helpers", "notebooks")
# These speak of solutions and tests; students get a README of their own.
MORE = ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "tests")
READMES = {"en": "README.md", "zh": "README.zh-CN.md"}
PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"
PADDLE_KERNEL = "qwen-paddle"  # lesson 7's
SETS = (("lab,test", "constraints.txt"), ("paddle", "constraints-paddle.txt"))  # as course.py installs them
FOLDED = {  # what a lesson says of its solutions, and a student's copy in place of it
    "The solution is folded below each exercise: click the three dots.": "Your teacher has the solutions.",
    "答案折叠在每道练习下面：点三个点打开。": "答案在老师那里。",
}
HALF_DAYS = ((N_("morning"), 9 * 60, 12 * 60 + 30), (N_("afternoon"), 13 * 60 + 30, 17 * 60))  # minutes since midnight
BREAK = 10  # minutes after each lesson


class PackError(ValueError):
    """The pack cannot be made. The message is one sentence that says why and what to do."""


def write_pack(out, wheels=True, paddle=True, say=print):
    """Make the teacher's pack in the folder `out`, new or in place of an older pack. Returns its path.

    With `wheels` pip collects every package of the course for this system and this Python, lesson 7's with `paddle`.
    Until all is there the folder is called `out`.unfinished. Raises PackError, ModelFolderError or OSError.
    """
    root, out, model = course_root(), Path(out).resolve(), model_folder()
    new, old = (out.with_name(out.name + ending) for ending in (".unfinished", ".old"))
    refuse(root, out, new, old)
    delete(new)
    new.mkdir(parents=True)
    facts = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "system": sysconfig.get_platform()}
    (new / MARK).write_text(json.dumps(facts), encoding="utf-8")
    students = new / "students"
    students.mkdir()

    say(_("The course, with and without its solutions"))
    copy_course(root, students / "course")
    copy_course(root, new / "solutions", *MORE)
    lessons = {language: {} for language in READMES}
    for path in sorted((students / "course" / "notebooks").rglob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        nbformat.write(student_notebook(notebook), path)
        if paddle or notebook.metadata.kernelspec.name != PADDLE_KERNEL:
            name = path.relative_to(students / "course").as_posix()
            lessons["zh" if path.parent.name == "zh" else "en"][name] = notebook

    tiny = {"tiny-chat": TINY_CHAT, "tiny-base": TINY_BASE, "tiny-thinking": TINY_THINKING}
    names = [name for name, folder in tiny.items() if folder == model]
    chosen = names[0] if names else id_and_folder(str(model))[0].split("/")[1]
    models = {**tiny, chosen: model}
    for name, folder in models.items():
        say(_("The model {name}, {size} MB").format(name=name, size=megabytes(folder)))
        shutil.copytree(folder, students / "models" / name, ignore=shutil.ignore_patterns(".*", "*.incomplete"))
    if wheels:
        collect_wheels(root, students / "wheels", SETS if paddle else SETS[:1], say)

    facts.update(wheels=wheels, paddle=paddle, megabytes=megabytes(students / "wheels"))
    facts.update(model=chosen, tiny=chosen in tiny, models=[f"`{name}`" for name in models])
    facts.update(plan=time_plan(lessons[reader_language()]), pause=BREAK)
    write_page("teach_page", facts, new / "README.md", reader_language())
    for language, readme in READMES.items():
        facts.update(lessons=lesson_table(lessons[language]))
        write_page("teach_student", facts, students / "course" / readme, language)
    shutil.make_archive(str(students / "course"), "zip", students, "course")
    delete(old)
    if out.exists():
        os.replace(out, old)
    os.replace(new, out)
    delete(old)
    return out


def delete(pack):
    """Delete a pack if it is there, its mark last: what a stop in the middle leaves is still known as ours."""
    if pack.exists():
        for path in sorted(pack.iterdir(), key=lambda path: path.name == MARK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        pack.rmdir()


def refuse(root, *folders):
    """Raise PackError if the course in `root` holds no solutions, or if one of `folders` is not ours to replace."""
    if not (root / "tests").is_dir():
        raise PackError(_("This is a students' copy, without solutions: make the pack in the course itself."))
    for folder in folders:
        if root == folder or root in folder.parents:
            inside = _("{folder} lies in the course, which the pack copies: choose a folder outside of it.")
            raise PackError(inside.format(folder=folder))
        if folder.exists() and not (folder / MARK).is_file() and (folder.is_file() or any(folder.iterdir())):
            other = _("{folder} is there and is no teacher's pack: choose another folder, or rename that one.")
            raise PackError(other.format(folder=folder))


def copy_course(root, target, *more):
    """Copy what belongs to the course from `root` to the new folder `target`; no downloads, no notebooks of yours."""
    rubbish = shutil.ignore_patterns("__pycache__", ".*")
    for name in (*FILES, *more):
        if name == "notebooks":
            for folder in (name, f"{name}/zh"):
                for file in (root / folder).glob("[0-9][0-9]_*.*"):
                    (target / folder).mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, target / folder)
        elif (root / name).is_dir():
            shutil.copytree(root / name, target / name, ignore=rubbish)
        else:
            target.mkdir(exist_ok=True)
            shutil.copy(root / name, target)


def student_notebook(notebook):
    """A copy of a lesson without the cells tagged `solution` and without outputs."""
    from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

    solutions = TagRemovePreprocessor(remove_cell_tags={"solution"}, enabled=True)
    for preprocessor in (solutions, ClearOutputPreprocessor(enabled=True)):
        notebook = preprocessor(notebook, {})[0]
    for cell in notebook.cells:
        for folded, taken in FOLDED.items():
            cell.source = cell.source.replace(folded, taken)
    return notebook


def write_page(template, facts, file, language):
    """Write the page `file`: the Jinja template of that name beside this module, in this language, filled."""
    name = f"{template}{'.zh' if language == 'zh' else ''}.md"
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    page = jinja2.Template(text, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    file.write_text(page.render(facts).strip() + "\n", encoding="utf-8")


def collect_wheels(root, folder, sets, say=print):
    """Let pip collect (and build, where a package has no wheel) what course.py installs, for this system and Python.

    `sets`: pairs of pyproject.toml's extras and the constraints file. Raises PackError if pip fails.
    """
    pytorch = "torch==" + version("torch")  # +cpu: the CPU build, which pip finds on some indexes only
    with tempfile.TemporaryDirectory(prefix="qwen-pack-") as project:  # building leaves files behind
        for name in ("pyproject.toml", "LICENSE", *(constraints for extras, constraints in sets)):
            shutil.copy(root / name, project)
        command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--wheel-dir", str(folder)]
        if "+cpu" in pytorch:
            say(_("PyTorch's CPU build, {pytorch}").format(pytorch=pytorch))
            cpu = [*command, "--no-deps", pytorch]
            # Where pip's own places have no CPU build, course.py has it from PyTorch's index, too.
            if subprocess.run(cpu).returncode and subprocess.run([*cpu, "--index-url", PYTORCH_CPU]).returncode:
                say(_("The CPU build is not to be had; collecting the default one, 3 GB."))
        for extras, constraints in sets:
            say(_("Packages: {extras}").format(extras=extras))
            find = ["--find-links", str(folder)]
            # setuptools builds the course's own package on each computer; uv, from the first set, installs both
            installers = ["pip", "setuptools"] + ["uv"] * (constraints == SETS[0][1])
            wanted = [*find, "-c", constraints, *installers, f".[{extras}]"]
            if subprocess.run([*command, *wanted], cwd=project).returncode:
                cure = _("run again, or leave lesson 7 out with --no-paddle") if extras == "paddle" else _("run again")
                raise PackError(
                    _("pip could not collect the packages: its last lines say why. Then {cure}.").format(cure=cure)
                )
    for own in folder.glob("qwen_helpers-*.whl"):
        own.unlink()


def megabytes(folder):
    """Megabytes (10^6 bytes) of a folder's files, as text; 0 if it is not there."""
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:,.0f}"


def title_and_minutes(notebook):
    """(title, minutes of reading and running) as the first cell of a lesson gives them."""
    head = notebook.cells[0].source
    return re.match(r"# (.+)", head)[1], int(re.search(r"\*\*(?:Time:|时间)\*\*\D*?(\d+) (?:minutes|分钟)", head)[1])


def lesson_table(lessons):
    """The rows "number, lesson, minutes" of the students' README, from {file: notebook}."""
    rows = []
    for name, notebook in lessons.items():
        title, minutes = title_and_minutes(notebook)
        number, title = re.fullmatch(r"(?:Lesson |第 )(\d+)(?:: | 课：)(.+)", title).groups()
        rows.append(f"| {number} | [{title}]({name}) | {minutes} |")
    return "\n".join(rows)


def time_plan(lessons):
    """A table with clock times, from {file name: notebook}. A lesson begins in the half-day in which it can end."""
    half_days = iter([(day, *half) for day in range(1, 30) for half in HALF_DAYS])
    rows, now, end = [], 0, 0
    for notebook in lessons.values():
        title, reading = title_and_minutes(notebook)
        length = 2 * reading  # as much again for the exercises: a rule and no measurement
        if now + length > end:
            day, name, now, end = next(half_days)
            rows.append(_("| **Day {day}, {name}** | | |").format(day=day, name=_(name)))
        span = _("{begin} to {end}")
        exercises = span.format(begin=clock(now + reading), end=clock(now + length))
        rows.append(f"| {title} | {span.format(begin=clock(now), end=clock(now + reading))} | {exercises} |")
        now += length + BREAK
    return "\n".join([_("| lesson | read and run | exercises |"), "|---|---|---|", *rows])


def clock(minutes):
    """Minutes since midnight as 09:05."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python course.py teach", description=_("Make the teacher's pack."))
    parser.add_argument("out", metavar="OUT", help=_("the folder to make, outside of the course's"))
    parser.add_argument("--no-wheels", action="store_true", help=_("leave the packages out"))
    parser.add_argument("--no-paddle", action="store_true", help=_("leave lesson 7's packages out"))
    options = parser.parse_args(arguments)
    try:
        out = write_pack(options.out, not options.no_wheels, not options.no_paddle)
    except OSError as error:
        failed = _("The pack cannot be written ({error}): make room or choose another folder, then run again.")
        sys.exit(failed.format(error=error))
    ready = _("Ready: {out}, {size} MB. How to use it in the room: {page}")
    print(ready.format(out=out, size=megabytes(out), page=out / "README.md"))
