"""J: kernels, notebooks, and what Python keeps of an import."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from second_kernel import SecondKernel

from qwen_helpers.labs.other_python import fresh
from raised.the import HELLO


def kernel(name):
    from jupyter_client import KernelManager

    return KernelManager(kernel_name=name).kernel_spec


def raises_J1(the):
    kernel("qwen")


def cures_J1(the):
    assert kernel("python3").display_name.startswith("Python 3")


def shows_J2(the):
    """The first `pip` on the search path may belong to another Python."""
    other = the.disk / ("pip.exe" if os.name == "nt" else "pip")
    other.touch(mode=0o755)
    os.environ["PATH"] = os.pathsep.join([str(the.disk), os.environ["PATH"]])
    assert Path(shutil.which("pip")) == other and not str(other).startswith(sys.prefix)


def cures_J2(the):
    """`python -m pip` belongs to that Python, and so does %pip."""
    said = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True).stdout
    assert Path(sys.prefix).name in said


def raises_J3(the):
    fresh("from tqdm.notebook import tqdm\nlist(tqdm(range(2)))", hide=["ipywidgets"])


def cures_J3(the):
    fresh("from tqdm import tqdm\nassert list(tqdm(range(2))) == [0, 1]", hide=["ipywidgets"])


def raises_J4(the):
    """A kernel without anybody at the keyboard."""
    nobody = SecondKernel("python3")
    try:
        nobody.run("input()")
    finally:
        nobody.close()


def cures_J4(the):
    """The questions stand in the cell."""
    questions = iter(["Hello!"])
    assert the.answer(messages=[{"role": "user", "content": next(questions)}]) == HELLO


def in_a_notebook(cell):
    """A notebook has an event loop, which runs already when a cell begins."""
    return asyncio.run(cell())


def raises_J5(the):
    async def question():
        return the.answer()

    async def cell():
        coroutine = question()
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    in_a_notebook(cell)


def cures_J5(the):
    async def question():
        return the.answer()

    async def cell():
        return await question()

    assert in_a_notebook(cell) == HELLO


def shop(the):
    """A package of two files; the second line of its __init__.py fails."""
    path = the.package("shop", "from shop import stock\nimport a_package_that_is_missing\n")
    (path / "shop" / "stock.py").write_text("apples = 3\n")
    sys.path.insert(0, str(path))
    return patch.dict(sys.modules)


def raises_J6(the):
    with shop(the):
        from shop.stock import apples  # noqa: F401


def shows_J6(the):
    """The second try seems to work: Python keeps the part that succeeded, and forgets the package around it."""
    with shop(the):
        try:
            from shop.stock import apples
        except ModuleNotFoundError:
            from shop.stock import apples
        assert apples == 3 and "shop" not in sys.modules


def raises_J6_2(the):
    """A fresh Python tells the truth."""
    fresh("from shop.stock import apples", folder=the.disk)


def cures_J6(the):
    """The cause mended, and a fresh Python."""
    the.package("shop", "from shop import stock\n")
    fresh("import shop; from shop.stock import apples; assert apples == 3 and shop.stock", folder=the.disk)


def shows_J7(the):
    """What was imported stays, whatever happens on the disk."""
    file = the.disk / "price.py"
    sys.path.insert(0, str(the.disk))
    with patch.dict(sys.modules):
        file.write_text("euro = 1\n")
        import price

        assert price.euro == 1
        file.write_text("euro = 2.5  # the new version\n")
        import price

        assert price.euro == 1


def cures_J7(the):
    fresh("import price; assert price.euro == 2.5", folder=the.disk)  # as after Kernel > Restart
