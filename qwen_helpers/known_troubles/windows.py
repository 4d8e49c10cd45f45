"""Troubles that only Windows has, or that it has more often."""

from qwen_helpers.known_troubles.trouble import Trouble

TROUBLES = (
    Trouble(
        "W1", "the page file of Windows is too small",
        ("(os error 1455)", "[WinError 1455]", "The paging file is too small for this operation"),
        "Windows must be able to promise memory for the whole file of weights, even if the memory is never used.",
        "Let Windows manage the page file, on a drive with room (System > Advanced > Performance > Virtual memory); "
        "close programs.",
        'from qwen_helpers import preflight\npreflight("Qwen/Qwen2.5-0.5B-Instruct")',
        2, older=("OSError: 页面文件太小",),
        threads=("Comfy-Org/ComfyUI#6606", "Comfy-Org/ComfyUI#8065", "pytorch/pytorch#59904"),
        today="not raised here",
    ),
    Trouble(
        "W2", "two copies of OpenMP in one program",
        ("OMP: Error #15: Initializing libiomp5", "libiomp5md.dll already initialized"),
        "conda's numpy and pip's torch bring a copy each.",
        "Make a new environment with pip only. KMP_DUPLICATE_LIB_OK=TRUE hides the error and may give wrong results.",
        "python -m venv .venv\n.venv\\Scripts\\python -m pip install torch transformers",
        1, threads=("modelscope/ms-agent#175",), today="not raised here",
    ),
    Trouble(
        "W3", "characters cannot be written in the code page of the system",
        ("UnicodeEncodeError: 'gbk' codec can't encode", "UnicodeDecodeError: 'gbk' codec can't decode",
         "UnicodeEncodeError: 'charmap' codec can't encode", "UnicodeEncodeError: 'cp936' codec can't encode",
         "UnicodeDecodeError: 'cp936' codec can't decode"),
        "Windows in Chinese writes files and redirected output as GBK, which has no emoji; model files are UTF-8.",
        "Say UTF-8, for the file or for the whole of Python.",
        'open("answers.txt", "w", encoding="utf-8")\nimport sys; sys.stdout.reconfigure(encoding="utf-8")\n'
        "# or set the variable PYTHONUTF8=1 before Python starts",
        4, threads=("knownsec/aipyapp#47", "Ar9av/obsidian-wiki#219"),
    ),
    Trouble(
        "W4", "vLLM and flash-attn have no build for Windows",
        ("No matching distribution found for vllm", "No matching distribution found for flash-attn",
         "No matching distribution found for flash_attn", "No module named 'vllm'",
         "Could not find a version that satisfies the requirement vllm",
         "Could not find a version that satisfies the requirement flash-attn"),
        "PyPI has packages of vllm and flash-attn for Linux only.",
        "Use WSL2, or an engine that Windows has: transformers, llama.cpp, Ollama.",
        "wsl --install  # in a terminal of Windows; then install inside it",
        7, threads=("Dao-AILab/flash-attention#1469",),
    ),
    Trouble(
        "W5", "a path is too long for Windows",
        ("HINT: This error might have occurred since this system does not have Windows Long Path support enabled",
         "[WinError 206]"),
        "Paths of more than 260 characters need a setting that is off by default.",
        "Move the course to a short folder such as C:\\qwen, or switch long paths on (PowerShell, as administrator).",
        r"New-ItemProperty HKLM:\SYSTEM\CurrentControlSet\Control\FileSystem LongPathsEnabled -Value 1 -Force",
        1, today="not raised here",
    ),
    Trouble(
        "W6", "a library of torch cannot be loaded",
        ("[WinError 126]", "[WinError 127]", "[WinError 1114]", "DLL load failed while importing"),
        "A file of Windows is missing (the Visual C++ runtime), or DLLs of two packages disagree: torch beside Paddle, "
        "conda beside pip.",
        "Install Microsoft's Visual C++ Redistributable (x64), and keep torch and Paddle in two environments.",
        "winget install Microsoft.VCRedist.2015+.x64",
        1, today="not raised here",
    ),
)  # fmt: skip
