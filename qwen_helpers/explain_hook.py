"""A line under each traceback of a notebook: what `explain()` knows about the error. Outside IPython it does nothing.

IPython shows a traceback with the shell's method `_showtraceback`, which it leaves to its frontends to replace. The
line is added to what that method gets, so the traceback stays as it is, and one output of the cell holds both.
"""

import sys


def on() -> None:
    """Begin to add the line. `import qwen_helpers` does it in a notebook."""
    shell = _shell()
    if shell is None or hasattr(shell._showtraceback, "shown_by"):
        return
    show = shell._showtraceback

    def with_line(etype, evalue, stb):
        if isinstance(stb, list) and isinstance(evalue, Exception):  # not Ctrl-C, which the reader wanted
            stb = [*stb, line(evalue, shell.user_ns)]
        show(etype, evalue, stb)

    with_line.shown_by = show
    shell._showtraceback = with_line


def off() -> None:
    """End it. `explain()` itself still works."""
    shell = _shell()
    if shell is not None and hasattr(shell._showtraceback, "shown_by"):
        shell._showtraceback = shell._showtraceback.shown_by


def line(error: BaseException, names: dict) -> str:
    """The line for an error; `names` are the notebook's. If it cannot be made, it says so, and the traceback stays."""
    try:
        from qwen_helpers.troubles import explain

        call = "explain()" if names.get("explain") is explain else "from qwen_helpers import explain; explain()"
        found = explain(error)
        if found.troubles:
            return f"\n{found.troubles[0].id}: {found.troubles[0].symptom}. The cure: {call}"
        if found.about.own:
            return "\nThis sentence is the course's own: it says what is wrong and what to do."
        return f"\nThe course's catalogue does not know this error. What to do: {call}"
    except Exception as failure:
        return f"\nexplain() has failed on this error ({type(failure).__name__}: {failure})."


def _shell():
    """IPython's shell, if this Python runs in one. IPython is never imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None
