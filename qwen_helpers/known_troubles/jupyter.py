"""Troubles with notebooks and their kernels."""

from qwen_helpers.known_troubles.trouble import Trouble

WHERE = "import sys; print(sys.executable)  # the Python of this kernel"
PACKAGES = (
    "torch", "transformers", "modelscope", "swift", "accelerate", "peft", "safetensors", "tokenizers", "qwen_helpers",
    "ipywidgets", "matplotlib", "openai", "psutil",
)  # fmt: skip

TROUBLES = (
    Trouble(
        "J1", "the package is installed but this kernel is another",
        ("NoSuchKernel: No such kernel named", *(f"No module named '{name}'\n" for name in PACKAGES)),
        "The notebook names a kernel that this computer does not have, or it runs in another Python than the one you "
        "installed into.",
        "See which one runs. Choose the course's kernel (Kernel > Change Kernel), or install into this one.",
        WHERE + "\n%pip install PACKAGE\n# a kernel of your own environment, typed in a terminal of it:\n"
        "# python -m ipykernel install --user --name qwen",
        1, threads=("jupyter/notebook#397", "jupyter/notebook#1558", "jupyter/jupyter#245"),
    ),
    Trouble(
        "J2", "pip installed and the import still fails", (),
        "An exclamation mark runs the first pip that the terminal would find, which may belong to another Python.",
        "Use the percent sign: it installs into the Python of this kernel.",
        WHERE + "\n%pip install PACKAGE",
        1, threads=("jupyter/notebook#397",),
    ),
    Trouble(
        "J3", "a warning that IProgress was not found",
        ("IProgress not found. Please update jupyter and ipywidgets",),
        "ipywidgets is missing in the kernel's environment. Only the progress bar looks different.",
        "Harmless. Install it and restart the kernel if you want the bar.",
        "%pip install ipywidgets",
        1, threads=("CosmiQ/solaris#392", "tqdm/tqdm#451"),
    ),
    Trouble(
        "J4", "input does not work when a program runs the notebook",
        ("raw_input was called, but this frontend does not support input requests",
         "getpass was called, but this frontend does not support input requests"),
        "nbconvert, nbval and papermill run a notebook without anybody at the keyboard.",
        "Write the questions into the cell.",
        'for question in ["Hello!", "What is a token?"]:\n    print(chat.ask(question))',
        3,
    ),
    Trouble(
        "J5", "an event loop is already running",
        ("asyncio.run() cannot be called from a running event loop",
         "Cannot run the event loop while another loop is running", "RuntimeError: This event loop is already running"),
        "Jupyter has an event loop of its own, and asyncio.run or uvicorn.run wants to start a second one.",
        "Write await in the cell; start a server as a process of its own.",
        "await main()  # in place of asyncio.run(main())",
        9,
    ),
    Trouble(
        "J6", "an import fails and the second try seems to work", (),
        "No error the second time: the half imported package is still in memory, and parts of it are missing.",
        "Restart the kernel after every import that failed.",
        "# Kernel > Restart Kernel, then run the cells again",
        6,
    ),
    Trouble(
        "J7", "a new version is installed and the old error stays", (),
        "The module was imported before; a new version on the disk does not change what is in memory.",
        "Restart the kernel, and look at the version that is loaded.",
        "import transformers; print(transformers.__version__, transformers.__file__)",
        1, threads=("QwenLM/Qwen3#434",), today="not raised here",
    ),
)  # fmt: skip
