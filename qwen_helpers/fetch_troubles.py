"""What goes wrong in a download: how to know it, why it happens, what to do. `fetch.py` makes sentences of it."""

import re
from dataclasses import dataclass

from qwen_helpers.folder_check import AGAIN


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong in a download."""

    id: str
    pattern: str  # found in "TypeOfError: message"; the first entry of DOWNLOAD_TROUBLES that matches counts
    cause: str
    cure: str


# Each entry's first words were seen with modelscope 1.40.2 on Linux; those of Windows and macOS are untested.
DOWNLOAD_TROUBLES = (
    Trouble(
        "disk-full", r"Errno 28|No space left|WinError 112|not enough space|only .* free there",
        "the disk is full", f"make room, or give a local_dir on another drive, then {AGAIN}",
    ),
    Trouble(
        "not-writable", r"Errno (13|30)\b|PermissionError|Read-only file system|WinError 5\b",
        "the folder cannot be written", "give a local_dir inside a folder of your own",
    ),
    Trouble(
        "escaping-path", r"leads out of the folder",
        "the hub lists a file that would be written outside the folder, by mistake or to do harm",
        "do not use this hub, and nothing of it was written",
    ),
    Trouble(
        "proxy", r"ProxyError|Cannot connect to proxy|Tunnel connection failed",
        "the proxy in HTTP_PROXY or HTTPS_PROXY refuses",
        "correct or unset it, or for a hub in your room put its address into NO_PROXY",
    ),
    Trouble(
        "secure-connection", r"SSLError|CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER",
        "the secure connection fails: a clock that is wrong, a filter in between, or a hub in the room asked by https",
        "check the clock, and write MODELSCOPE_ENDPOINT with http:// if the hub is the course's",
    ),
    Trouble(
        "bad-address", r"MissingSchema|InvalidSchema|InvalidURL|InvalidProxyURL",
        "the hub's address is not one", "write it as http://127.0.0.1:8765 or https://modelscope.cn",
    ),
    Trouble(
        "no-name", r"NameResolution|getaddrinfo|Name or service not known|nodename nor servname",
        "the hub's name is not known here, so this computer is offline or the name is mistyped",
        "check the connection and MODELSCOPE_ENDPOINT, or use the folder if the model is already here",
    ),
    Trouble(
        "refused", r"Connection refused|Errno (61|111)\b|WinError 10061",
        "nothing listens at the hub's address: it was stopped, or the address or port is another",
        f"start it again or correct MODELSCOPE_ENDPOINT, then {AGAIN}",
    ),
    Trouble(
        "wrong-bytes", r"Hash mismatch",
        "what arrives is not what the hub lists, each time anew: a bad line or filter, or a file changed on the hub",
        "try another line or hub; the wrong file was deleted, so nothing needs cleaning up",
    ),
    Trouble(
        "wrong-size", r"FileSizeMismatch|Server announced \d+ bytes|instead of the \d+ that the hub lists",
        "the hub's list and its file do not agree on the size", "start the hub again, or take the model from another",
    ),
    Trouble(
        "log-in", r"AuthenticationError|\[401\]|401 Client Error",
        "the hub wants to know who you are, or your token has run out",
        "check the id, and unset MODELSCOPE_API_TOKEN: the models of this course need none",
    ),
    Trouble(
        "forbidden", r"PermissionDenied|\[403\]|403 Client Error",
        "the hub does not give this model or file to you",
        "ask for access on the model's page, or choose another model",
    ),
    Trouble(
        "not-found", r"NotExistError|\[404\]|404 Client Error",
        "the hub has no model or file of that name",
        "correct the id, which is Owner/Name as on the model's page, or ask the teacher what the room's hub serves",
    ),
    Trouble(
        "too-many", r"RateLimitError|\[429\]|429 Client Error",
        "the hub has had too many requests from this address", f"wait some minutes, then {AGAIN}",
    ),
    Trouble(
        "hub-fault", r"ServerError|\[5\d\d\]|5\d\d Server Error",
        "the hub itself has a fault", f"wait a minute, then {AGAIN}",
    ),
    Trouble(
        "no-hub", r"JSONDecodeError|lists no files|not a list of files",
        "what answers is not a hub for models, perhaps the log-in page of a network",
        "log in to the network with your browser, and check MODELSCOPE_ENDPOINT",
    ),
    Trouble(
        "slow", r"Timeout|timed out|TooSlow",
        "no answer came in time: the line is very slow, or something on the way swallows the request",
        f"check the connection and MODELSCOPE_ENDPOINT, then {AGAIN}",
    ),
    Trouble(
        "cut", r"NetworkError|ConnectionError|ConnectionReset|IncompleteBody|IncompleteRead|RemoteDisconnected",
        "the connection broke off, again and again", f"check the line, then {AGAIN}",
    ),
    Trouble(
        "log-level", r"invalid literal for int\(\) with base 10: '(DEBUG|INFO|WARNING|ERROR)'",
        "MODELSCOPE_LOG_LEVEL holds a word, which modelscope cannot read", "set it to a number, such as 40 for errors",
    ),
)  # fmt: skip
UNKNOWN = Trouble("unknown", "", "the course does not know this error", f"{AGAIN}, and if it stays, show it to someone")


def trouble_of(error):
    """The entry of DOWNLOAD_TROUBLES for an exception, or UNKNOWN."""
    text = f"{type(error).__name__}: {error}"
    return next((trouble for trouble in DOWNLOAD_TROUBLES if re.search(trouble.pattern, text)), UNKNOWN)
