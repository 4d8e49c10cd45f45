"""Troubles with downloading a model, and with files that did not arrive whole."""

from qwen_helpers.known_troubles.trouble import Trouble

AGAIN = """# write the name of your own model in place of Qwen2.5-0.5B-Instruct
from modelscope import snapshot_download
snapshot_download("Qwen/Qwen2.5-0.5B-Instruct", local_dir="models/Qwen2.5-0.5B-Instruct")"""

TROUBLES = (
    Trouble(
        "D1", "the download stands still or times out",
        ("Read timed out. (read timeout=", "HTTPSConnectionPool(host='*modelscope*Read timed out. (read timeout="),
        "A large file over a slow line. Old versions of modelscope began again from nothing.",
        "Run the same download again: modelscope 1.38 and later go on where they stopped. One file at a time helps.",
        AGAIN.removesuffix(")") + ", max_workers=1)",
        2, threads=("modelscope/modelscope#1518", "modelscope/modelscope#820", "modelscope/modelscope#1317",
                    "modelscope/modelscope#1267"),
        today="not raised here",
    ),
    Trouble(
        "D2", "a downloaded file fails its integrity check",
        ("integrity check failed, expected sha256 signature is", "FileSizeMismatch", "[E2020]", "Hash mismatch"),
        "What lies on the disk is not what the hub sent. A hash that begins with e3b0c442 is that of an empty file: "
        "the disk is full, or a proxy swallowed the file.",
        "Make room, delete the file and the folder ._____temp beside it, and download again.",
        'import shutil; print(shutil.disk_usage(".").free / 1e9, "GB free")\n' + AGAIN,
        2, older=("FileIntegrityError",),
        threads=("modelscope/modelscope#1365", "modelscope/modelscope#968", "modelscope/modelscope#758",
                 "zai-org/GLM-4#775"),
        today="changed",
    ),
    Trouble(
        "D3", "the model is not where you look for it",
        ("Repo id must be in the form 'repo_name' or 'namespace/repo_name': '*/Qwen/Qwen",
         "Repo id must be in the form 'repo_name' or 'namespace/repo_name': '*___",
         "Repo id must be in the form 'repo_name' or 'namespace/repo_name': '*/snapshots/"),
        "modelscope before 1.38 wrote dots as three underscores (Qwen2___5), later versions write "
        "models/Qwen--NAME/snapshots/master.",
        "Never type such a path: use what snapshot_download returns, or give local_dir.",
        'path = snapshot_download("Qwen/Qwen2.5-0.5B-Instruct", local_dir="models/Qwen2.5-0.5B-Instruct")',
        2, threads=("modelscope/modelscope#1153", "modelscope/modelscope#1235", "modelscope/modelscope#845",
                    "modelscope/modelscope#1029"),
        since="modelscope 1.38", today="changed",
    ),
    Trouble(
        "D4", "ModelScope is asked though the model is on the disk",
        ("[E1020] Connection failed", "Failed to resolve 'modelscope.cn'", "Failed to resolve 'www.modelscope.cn'",
         "[E1022]", "CacheNotFound: ["),
        "An id makes modelscope and ms-swift ask the server for the list of files first, whatever the cache holds.",
        "Give the folder instead of the id, or say that only local files count.",
        'snapshot_download("Qwen/Qwen2.5-0.5B-Instruct", local_files_only=True)\n'
        'TransformersEngine("models/Qwen2.5-0.5B-Instruct")',
        2, older=("HTTPSConnectionPool(host='www.modelscope.cn'", "HTTPSConnectionPool(host='modelscope.cn'"),
        threads=("modelscope/modelscope#924",),
    ),
    Trouble(
        "D5", "Hugging Face cannot be reached",
        ("We couldn't connect to 'https://huggingface.co' to load", "is a model's id and not a folder",
         "see how to run the library in offline mode at 'https://huggingface.co",
         "Cannot reach https://huggingface.co", "couldn't find them in the cached files"),
        "transformers takes an id for a model of Hugging Face, and tries for 46 seconds.",
        "Download from ModelScope and load the folder. HF_HUB_OFFLINE=1 makes the error come at once.",
        AGAIN + '\nAutoModelForCausalLM.from_pretrained("models/Qwen2.5-0.5B-Instruct")',
        2, older=("HTTPSConnectionPool(host='huggingface.co'",
                  "We couldn't connect to 'https://hf-mirror.com' to load", "LocalEntryNotFoundError"),
        threads=("QwenLM/Qwen#871", "LinkSoul-AI/Chinese-Llama-2-7b#33"),
    ),
    Trouble(
        "D6", "HF_ENDPOINT or HF_HUB_OFFLINE changes nothing", (),
        "huggingface_hub reads these variables once, when it is imported.",
        "Set them in the first cell, before any import, and restart the kernel.",
        'import os\nos.environ["HF_HUB_OFFLINE"] = "1"  # before the imports',
        2,
    ),
    Trouble(
        "D7", "a git-lfs pointer or a web page lies in place of a file",
        ("Error while deserializing header: header too large", "is only a git-lfs pointer",
         "is not safetensors (a saved error page?)", "is not whole JSON (cut off, or a saved error page?)"),
        "git clone without git-lfs leaves a text of about 130 bytes for each large file; a proxy leaves an error page.",
        "Look at the size and the first bytes, then fetch the real files.",
        'from pathlib import Path\nprint(Path("models/MODEL/model.safetensors").read_bytes()[:60])\n'
        "# download the folder with snapshot_download; or install git-lfs, then: git -C models/MODEL lfs pull",
        2, older=("Error while deserializing header: HeaderTooLarge", "HeaderTooLarge", "invalid load key, 'v'."),
        inside={"transformers": ("JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
                                 "Exception: expected value at line 1 column 1"),
                "tokenizers": ("expected value at line 1 column 1",)},
        threads=("huggingface/transformers#27923", "deepseek-ai/DeepSeek-V3#557", "microsoft/OmniParser#34"),
        today="changed",
    ),
    Trouble(
        "D8", "a weights file is cut off",
        ("incomplete metadata, file not fully covered", "Error while deserializing header: header too small",
         "is cut off in its first bytes (", "bytes but should have *: delete it",
         "is empty: delete it and run the same"),
        "The download stopped early, and the file is shorter than its header says.",
        "Delete the file and download again; complete files are kept.",
        AGAIN,
        2, older=("MetadataIncompleteBuffer", "HeaderTooSmall", "InvalidHeaderLength"),
    ),
    Trouble(
        "D9", "weights are missing or still incomplete",
        ("Error no file named model.safetensors", "Error no file named pytorch_model.bin", "is only half downloaded",
         "holds no weights, neither model.safetensors",
         "holds no config.json: give the folder", "names no weights: delete it",
         "is missing from *, though *.index.json names it",
         "No such file or directory: *-of-*.safetensors"),
        "The folder holds config.json but not all weights: a download that was stopped, or a copy without them.",
        "Run the same download again; it fetches what is missing.",
        AGAIN + '\nfrom qwen_helpers import doctor; doctor("models/Qwen2.5-0.5B-Instruct")',
        2,
    ),
    Trouble(
        "D10", "every prompt becomes an empty list",
        ("would silently build an empty one", "tokens and no chat template: download the folder again"),
        "No error. tokenizer.json is missing, and transformers 5 builds an empty tokenizer without a word; the answers "
        "have nothing to do with the question.",
        "Look at the tokenizer's size after loading, and download what is missing.",
        "assert len(tokenizer) > 1000\n" + AGAIN,
        2, older=("qwen.tiktoken",), threads=("QwenLM/Qwen#361",), since="transformers 5",
    ),
    Trouble(
        "D11", "the disk is full",
        ("[Errno 28] No space left on device", "[WinError 112]", "OSError: [Errno 28]", "No space left on device"),
        "Models go to the system drive unless told otherwise, and three libraries keep a copy each.",
        "See what is there, delete what you no longer need, and download to another drive.",
        'import shutil; print(shutil.disk_usage(".").free / 1e9, "GB free")\n'
        'import sys\n!"{sys.executable}" -m qwen_helpers.caches\n'
        'snapshot_download("Qwen/Qwen2.5-0.5B-Instruct", local_dir="D:/models/Qwen2.5-0.5B-Instruct")',
        2, threads=("modelscope/ms-swift#3551", "modelscope/modelscope#879", "zai-org/ChatGLM2-6B#284"),
        today="not raised here",
    ),
    Trouble(
        "D12", "Windows cannot make symbolic links",
        ("huggingface_hub` cache-system uses symlinks by default",
         "huggingface_hub cache-system uses symlinks by default"),
        "Hugging Face's cache links files; Windows allows that in Developer Mode only.",
        "Harmless: files are copied and take more room. Developer Mode ends it, and so does a variable.",
        'import os\nos.environ["HF_HUB_DISABLE_SYMLINKS_WARNING"] = "1"  # before the imports',
        2, older=("[WinError 1314]",),
        threads=("huggingface/huggingface_hub#1062", "huggingface/huggingface_hub#2179",
                 "huggingface/huggingface_hub#3636"),
        today="not raised here",
    ),
    Trouble(
        "D13", "a proxy or a certificate stops the download",
        ("CERTIFICATE_VERIFY_FAILED", "ProxyError('Cannot connect to proxy", "ProxyError('Unable to connect to proxy",
         "Tunnel connection failed"),
        "A company's or VPN's proxy stands between you and the hub, or HTTPS_PROXY names one that no longer runs.",
        "Unset or correct the proxy; give the company's certificate. Do not switch verification off.",
        'import os\nfor name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):\n'
        "    os.environ.pop(name, None)\n"
        'os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = "company.pem"  # if there is one',
        2, threads=("huggingface/transformers#17611", "huggingface/huggingface_hub#1020"), today="not raised here",
    ),
)  # fmt: skip
