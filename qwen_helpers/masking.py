"""Your user name, this computer's name and home folders, taken out of a text that you want to show somebody."""

import contextlib
import getpass
import os
import re
import socket
import sys
from pathlib import Path


def mask(text):
    """`text` with the home folder as ~, and user and host name as <user> and <host> where they stand as whole words.

    Names of one or two letters are left alone outside the home path: as words they would hit too much else.
    """
    home = os.path.expanduser("~")
    for folder in {home, os.path.realpath(home)} - {Path(home).anchor}:  # not "/", or every slash would become ~
        whole = r"(?<![\w.~-])" + re.escape(folder).replace(r"\\", r"[\\/]") + r"(?![\w.-])"
        text = re.sub(whole, "~", text, flags=re.IGNORECASE if sys.platform == "win32" else 0)
    others = r"""(?i)([\\/](?:home|users)[\\/])([^\\/\n'":;,]+(?=[\\/])|[^\\/\s'":;,]+)"""  # homes of other people
    text = re.sub(others, r"\1<user>", text)
    host = socket.gethostname()
    names = {host: "<host>", host.split(".")[0]: "<host>", Path(home).name: "<user>"}
    with contextlib.suppress(OSError, KeyError, ImportError):  # in some containers the user has a number but no name
        names[getpass.getuser()] = "<user>"
    for name in sorted(names, key=len, reverse=True):
        if len(name) >= 3 or (len(name) == 2 and not name.isascii()):  # many Chinese names have two characters
            text = re.sub(rf"(?i)(?<![^\W_])(?<!<){re.escape(name)}(?![^\W_])", names[name], text)
    return text
