"""Troubles with installing: wrong packages, old packages, packages that do not fit together."""

from qwen_helpers.known_troubles.trouble import Trouble

TROUBLES = (
    Trouble(
        "I2", "ms-swift has no module llm any more",
        ("No module named 'swift.llm'",
         "cannot import name 'get_auto_gptq_quant_linear' from 'peft.utils'",
         "cannot import name 'PtEngine' from 'swift'"),
        "The functions of ms-swift 2 (inference_stream, get_template) became PtEngine in 3, TransformersEngine in 4. "
        "The wrong package swift (I1) gives the same text.",
        "Use the names of ms-swift 4; old versions also need the peft and transformers of their time.",
        "from swift import InferRequest, RequestConfig, TransformersEngine",
        4, older=("cannot import name '*' from 'swift.llm'", "cannot import name '*' from 'swift.llm.utils'"),
        threads=("modelscope/ms-swift#2896", "modelscope/ms-swift#2683", "modelscope/ms-swift#7392"),
        since="ms-swift 4",
    ),
    Trouble(
        "I1", "the package swift is not ms-swift",
        ("cannot import name '*' from 'swift' (", "cannot import name 'TransformersEngine' from 'swift'",
         "cannot import name '*' from 'swift'\n",
         "No module named 'swift.llm'"),
        "`pip install swift` installs OpenStack's file store. It has the same import name as ms-swift.",
        "Remove it, then install ms-swift again, because both write into the folder swift.",
        "%pip uninstall -y swift\n%pip install --force-reinstall --no-deps ms-swift\n"
        "# this adds what ms-swift needs, if that is missing:\n%pip install ms-swift\n# restart the kernel, then:\n"
        "import swift; print(swift.__version__)  # 4.x is ms-swift, 2.3x is OpenStack",
        1, threads=("modelscope/ms-swift#5981",),
    ),
    Trouble(
        "I3", "transformers_stream_generator cannot be imported",
        ("cannot import name 'DisjunctiveConstraint' from 'transformers'",),
        "The package is no longer maintained and imports classes that transformers has removed.",
        "Leave it out: transformers streams by itself.",
        "from transformers import TextStreamer\nmodel.generate(**inputs, streamer=TextStreamer(tokenizer))",
        4, older=("cannot import name 'BeamSearchScorer' from 'transformers'",
                  "cannot import name 'BeamSearchScorer'", "cannot import name 'DisjunctiveConstraint'"),
        threads=("LowinLi/transformers-stream-generator#15", "hiyouga/LlamaFactory#2313"), since="transformers 4.57",
    ),
    Trouble(
        "I4", "transformers is too old for the model",
        ("KeyError: 'qwen2'\n", "KeyError: 'qwen3'\n", "KeyError: 'qwen2_moe'\n", "KeyError: 'qwen3_moe'\n",
         "Tokenizer class Qwen2Tokenizer does not exist or is not currently imported"),
        "Qwen2 and Qwen2.5 need transformers 4.37 or newer, Qwen3 needs 4.51. The kernel often runs another version "
        "than the terminal.",
        "Upgrade in the kernel that you run, then restart it.",
        "%pip install -U transformers\n# restart the kernel, then:\nimport sys, transformers\n"
        "print(transformers.__version__, sys.executable)",
        1, threads=("QwenLM/Qwen3#247", "QwenLM/Qwen3#434", "QwenLM/Qwen3#30", "QwenLM/Qwen3-Coder#151"),
        until="transformers 4.37", today="old only",
    ),
    Trouble(
        "I5", "the versions you have are not the versions you pinned", (),
        "A later `pip install` settles all versions anew: ms-swift brings another transformers, PaddleNLP an older "
        "tokenizers.",
        "Install everything in one command, with a file of pins, and look at what you have.",
        "%pip install -c constraints.txt transformers ms-swift\nfrom importlib.metadata import version\n"
        "print(version('transformers'), version('tokenizers'))",
        1, threads=("QwenLM/Qwen3#434",),
    ),
    Trouble(
        "I6", "deepspeed cannot be built on Windows",
        ("Unable to pre-compile async_io", "cannot open input file 'aio.lib'"),
        "pip found no ready package of deepspeed for your Python and tries to compile its source.",
        "Leave it out: only training on several GPUs needs it. If you must have it, take a ready package.",
        "%pip install --only-binary=:all: deepspeed",
        1, threads=("deepspeedai/DeepSpeed#1769", "deepspeedai/DeepSpeed#3211", "deepspeedai/DeepSpeed#3145"),
        today="not raised here",
    ),
    Trouble(
        "I7", "huggingface_hub seems to lack create_repo",
        ("cannot import name 'create_repo' from 'huggingface_hub'",
         "cannot import name 'get_full_repo_name' from 'huggingface_hub'",
         "partially initialized module 'charset_normalizer' has no attribute"),
        "huggingface_hub before 1.0 imports its parts late and hides the real error: a broken charset_normalizer, an "
        "old tqdm, or a file of your own called inspect.py.",
        "Ask for the real error, then reinstall what it names. Installing chardet, the usual advice, is not needed.",
        "import huggingface_hub.hf_api  # in a kernel that was restarted\n"
        "%pip install --force-reinstall charset-normalizer requests tqdm",
        1, threads=("huggingface/transformers#15062", "huggingface/transformers#31728",
                    "huggingface/huggingface_hub#2387"),
        until="huggingface_hub 1.0", today="old only",
    ),
    Trouble(
        "I8", "modelscope alone cannot load a model",
        ("cannot import name 'AutoModelForCausalLM' from 'modelscope'",
         "cannot import name 'AutoTokenizer' from 'modelscope'", "cannot import name 'AutoModel' from 'modelscope'"),
        "`pip install modelscope` brings neither transformers nor torch, and modelscope's AutoModel is theirs.",
        "Install them, and import the classes from transformers.",
        "%pip install transformers torch accelerate\nfrom transformers import AutoModelForCausalLM, AutoTokenizer",
        1, inside={"modelscope": ("IndexError: list index out of range",)},
        threads=("modelscope/modelscope#931", "modelscope/modelscope#1313"),
    ),
    Trouble(
        "I9", "device_map needs accelerate",
        ("requires `accelerate`. You can install it with `pip install accelerate`",),
        "accelerate is missing in the environment of this kernel, or too old. Even device_map='cpu' needs it.",
        "Install it and restart the kernel, or leave device_map out.",
        "%pip install -U accelerate",
        1, older=("Using `low_cpu_mem_usage=True` or a `device_map` requires Accelerate", "requires Accelerate: `pip"),
        threads=("QwenLM/Qwen3#173", "googlecolab/colabtools#4136"), today="changed",
    ),
    Trouble(
        "I10", "transformers finds no PyTorch",
        ("requires the PyTorch library but it was not found in your environment",
         "Disabling PyTorch because PyTorch", "None of PyTorch, TensorFlow >= 2.0, or Flax have been found",
         "PyTorch was not found. Models won't be available"),
        "This kernel has no torch, or one that is too old: transformers 5 wants torch 2.5 and Python 3.10 or newer.",
        "Look which Python runs, then install torch there.",
        "import sys; print(sys.executable, sys.version)\n%pip install -U torch",
        1, threads=("huggingface/transformers#28282",),
    ),
)  # fmt: skip
