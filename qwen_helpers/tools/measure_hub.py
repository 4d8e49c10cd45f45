"""How fast the course's hub sends a large file to one client, next to nginx: `python -m qwen_helpers measure hub`."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.labs.hub import BAR_FROM
from qwen_helpers.labs.serve import free_port
from qwen_helpers.labs.speed import alternate

ID, FILE = "course/measure", "large.bin"
NGINX = """
daemon off; worker_processes 2; error_log stderr; pid {folder}/pid;
events {{}}
http {{
    access_log off; sendfile on; tcp_nopush on;
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
    uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    server {{ listen 127.0.0.1:{port}; root {model}; }}
}}
"""


def hub_beside_nginx(gigabytes: float = 1, rounds: int = 5) -> dict:
    """MB/s (1e6 bytes) of curl on one file of `gigabytes` (2**30 bytes): from our hub, and from nginx.

    Both send the same file from memory (the page cache) over loopback, in alternating rounds after one that is not
    counted; each server is a process of its own. `ratio` is the median over the rounds of the hub's rate divided by
    nginx's. Exits with one sentence if nginx or curl is missing or the disk is too full.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not nginx or not shutil.which("curl"):
        sys.exit("This measurement needs nginx and curl: on Debian and Ubuntu run `sudo apt install nginx curl`.")
    size = int(gigabytes * 2**30)
    if shutil.disk_usage(tempfile.gettempdir()).free < size + BAR_FROM:
        sys.exit(f"The file needs {size / 1e9:.1f} GB in {tempfile.gettempdir()}: make room or pass --gigabytes 0.1.")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copytree(TINY_CHAT, Path(folder, "model")))
        with (model / FILE).open("wb") as stream:
            for _ in range(0, size, 1 << 20):
                stream.write(os.urandom(1 << 20))
            stream.truncate(size)
        port = free_port("127.0.0.1")
        Path(folder, "nginx.conf").write_text(NGINX.format(folder=folder, model=model, port=port))
        Path(folder).chmod(0o755)  # nginx started by root reads the file as another user
        urls = {"nginx": f"http://127.0.0.1:{port}/{FILE}"}
        serve = [
            sys.executable,
            "-m",
            "qwen_helpers",
            "hub",
            f"{ID}={model}",
            "--port",
            str(hub_port := free_port("127.0.0.1")),
        ]
        urls["hub"] = f"http://127.0.0.1:{hub_port}/api/v1/models/{ID}/repo?FilePath={FILE}"
        with _running(nginx, "-c", f"{folder}/nginx.conf"), _running(*serve):
            runs = {name: lambda url=url: size / _seconds(url, size) / 1e6 for name, url in urls.items()}
            rates = alternate(runs, rounds)
    ratios = [ours / theirs for ours, theirs in zip(rates["hub"], rates["nginx"], strict=True)]
    result = {
        "gigabytes": gigabytes,
        "rounds": rounds,
        "hub_mb_per_s": statistics.median(rates["hub"]),
        "nginx_mb_per_s": statistics.median(rates["nginx"]),
        "ratio": statistics.median(ratios),
    }
    print(f"one client (curl) over loopback, {gigabytes} GiB, {rounds} rounds")
    print(f"our hub  {result['hub_mb_per_s']:8.0f} MB/s")
    print(f"nginx    {result['nginx_mb_per_s']:8.0f} MB/s")
    print(f"ratio    {result['ratio']:8.2f}   (rounds: {min(ratios):.2f} to {max(ratios):.2f})")
    return result


@contextmanager
def _running(*command):
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.terminate()  # nginx then ends its workers too
        child.wait()


def _seconds(url, size):
    """Seconds that curl takes, counted by curl from the start of its request; waits for a server that is starting."""
    form = "%{time_total} %{size_download} %{http_code}"
    for _ in range(200):
        command = ["curl", "-s", "--noproxy", "*", "-o", os.devnull, "-w", form, url]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            seconds, count, status = done.stdout.split()
            if (int(count), status) != (size, "200"):
                sys.exit(f"curl got {count} bytes and status {status} from {url}: the measurement does not count.")
            return float(seconds)
        time.sleep(0.1)
    return sys.exit(f"curl gets no answer from {url}: {done.stderr or 'the server did not start'}.")
