"""D: what goes wrong on the way from a hub to a whole folder. The course's own hub stands in for ModelScope."""

import hashlib
import os
import shutil
from unittest.mock import patch

from qwen_helpers import TINY_CHAT
from qwen_helpers.diagnosis import folder_findings
from qwen_helpers.folder_check import check_folder
from qwen_helpers.labs.other_python import fresh
from raised.the import HELLO, QWEN

TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt")


def download(the, **settings):
    from modelscope import snapshot_download

    return snapshot_download(QWEN, cache_dir=str(the.disk / "cache"), **settings)


def shows_D2(the):
    """A line of the log: the client's own check, on a file in which no byte arrived."""
    from modelscope.hub.utils.utils import file_integrity_validation

    empty = the.disk / "empty.bin"
    empty.touch()
    with the.log("modelscope") as log:
        file_integrity_validation(str(empty), "00")
    assert hashlib.sha256(b"").hexdigest() in log.getvalue()
    return log.getvalue()


def cures_D2(the):
    from modelscope.hub.utils.utils import file_integrity_validation

    assert shutil.disk_usage(the.disk).free > 1e9  # room for a new download
    whole = shutil.copy(TINY_CHAT / "config.json", the.disk / "empty.bin")
    with the.log("modelscope") as log:
        file_integrity_validation(str(whole), hashlib.sha256(whole.read_bytes()).hexdigest())
    assert log.getvalue() == ""


def raises_D3(the):
    the.load(f"{the.disk.as_posix()}/cache/Qwen/Qwen2.5-0.5B-Instruct")


def cures_D3(the):
    """What snapshot_download returns is right in every version."""
    with the.hub() as hub:
        there = download(the, endpoint=hub.url)
    assert os.path.samefile(there, the.disk / "cache/models/Qwen--Qwen2.5-0.5B-Instruct/snapshots/master")
    assert the.load(there).config.model_type == "qwen2"


def raises_D4(the):
    """The model is complete in the cache, and its hub is closed."""
    with the.hub() as hub:
        download(the, endpoint=hub.url)
    with patch("modelscope_hub._legacy_api.REPO_TREE_PAGE_RETRY_MAX_DELAY_SECONDS", 0):  # else 7 s between four tries
        download(the, endpoint=hub.url)


def cures_D4(the):
    there = download(the, endpoint="http://127.0.0.1:9", local_files_only=True)
    assert len(the.load_tokenizer(there)) == 2048


def raises_D5(the):
    """An id where a folder should stand. Offline it fails at once, else after 46 s of tries."""
    from huggingface_hub import constants

    with patch.object(constants, "HF_HUB_OFFLINE", True):
        the.load_tokenizer(QWEN)


def cures_D5(the):
    with the.hub() as hub:
        there = download(the, endpoint=hub.url)
    assert len(the.load_tokenizer(there)) == 2048


MIRROR = "https://hf-mirror.com"


def shows_D6(the):
    """The variable is read once, when the library is imported."""
    from huggingface_hub import constants

    os.environ["HF_ENDPOINT"] = MIRROR
    assert constants.ENDPOINT == "https://huggingface.co"


def cures_D6(the):
    fresh(f"from huggingface_hub import constants; assert constants.ENDPOINT == {MIRROR!r}", HF_ENDPOINT=MIRROR)


def raises_D7(the):
    """The first eight bytes of a weights file are read as the length of its header."""
    folder = the.copy("pointer")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:01\nsize 988097824\n"
    (folder / "model.safetensors").write_text(pointer)
    the.load(folder)


def raises_D7_2(the):
    """The tokenizer's file can be an error page that was saved under its name."""
    (the.disk / "pointer" / "tokenizer.json").write_text("<html>404</html>")
    the.load_tokenizer(the.disk / "pointer")


def cures_D7(the):
    """Look at the first bytes, then fetch the real file."""
    folder = the.disk / "pointer"
    assert (folder / "model.safetensors").read_bytes()[:34] == b"version https://git-lfs.github.com"
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copy(TINY_CHAT / name, folder)
    assert the.load(folder).num_parameters() == 1821632 and len(the.load_tokenizer(folder)) == 2048


def raises_D8(the):
    folder = the.copy("cut_off")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1_000_000])
    the.load(folder)


def cures_D8(the):
    file = the.disk / "cut_off" / "model.safetensors"
    assert folder_findings(file.parent) == [
        f"D8: {file} has 1,000,000 bytes but should have 3,648,576: delete it and run the same download again."
    ]
    shutil.copy(TINY_CHAT / file.name, file)
    assert folder_findings(file.parent) == [] and the.answer(the.load(file.parent, dtype="auto")) == HELLO


def raises_D9(the):
    folder = the.copy("half_way")
    (folder / "model.safetensors").rename(folder / "model.safetensors.incomplete")
    the.load(folder)


def cures_D9(the):
    folder = the.disk / "half_way"
    (half,) = folder.glob("*.incomplete")
    half.rename(folder / "model.safetensors")
    assert the.load(folder).config.model_type == "qwen2"


def without_tokenizer(the):
    folder = the.copy("no_tokenizer")
    for name in TOKENIZER:
        (folder / name).unlink()
    return folder


def shows_D10(the):
    """transformers 5 builds an empty tokenizer out of nothing: the special tokens only, which stand in another file."""
    folder = without_tokenizer(the)
    empty = the.load_tokenizer(folder)
    assert (len(empty), empty("Who are you? What is a token?")["input_ids"]) == (22, [])
    assert the.answer(messages=[{"role": "user", "content": "What is a token?"}], tokenizer=empty) == ""
    assert folder_findings(folder) == [
        f"D10: {folder} holds no tokenizer (tokenizer.json, or vocab.json and merges.txt), and transformers 5 would "
        "silently build an empty one: run the same download again, it continues where it stopped."
    ]


def raises_D10(the):
    """What the course's own helpers say of that folder."""
    check_folder(the.disk / "no_tokenizer")


def cures_D10(the):
    folder = the.disk / "no_tokenizer"
    for name in TOKENIZER:
        shutil.copy(TINY_CHAT / name, folder)
    assert len(the.load_tokenizer(folder)) > 1000 and folder_findings(folder) == []


def raises_D13(the):
    """A proxy is set and does not answer: nothing listens on port 9."""
    import requests

    requests.get("http://localhost:8000", proxies={"http": "http://127.0.0.1:9"}, timeout=5)


def cures_D13(the):
    """NO_PROXY names the places that are reached directly."""
    import requests

    os.environ["HTTP_PROXY"], os.environ["NO_PROXY"] = "http://127.0.0.1:9", "127.0.0.1,modelscope.cn"
    with the.hub() as hub:
        assert requests.get(hub.url, timeout=5).status_code < 500
