"""Troubles with PaddleNLP (lesson 6)."""

from qwen_helpers.known_troubles.trouble import Trouble

INSTALL = 'pip install paddlepaddle==3.3.1 paddlenlp==3.0.0b4 "aistudio-sdk==0.2.6" "pyarrow<26"'
FRESH = "%" + INSTALL

TROUBLES = (
    Trouble(
        "P1", "a fresh PaddleNLP cannot import download",
        ("cannot import name 'download' from 'aistudio_sdk.hub'",),
        "PaddleNLP asks for any aistudio-sdk, and version 0.3 has removed the function. pip check finds no fault.",
        "Pin it. Trouble P2 comes next, so pin both.",
        FRESH,
        6, threads=("PaddlePaddle/PaddleNLP#10781", "PaddlePaddle/PaddleNLP#11133", "PaddlePaddle/PaddleNLP#10809",
                    "PaddlePaddle/Paddle#77305"),
        since="aistudio-sdk 0.3",
    ),
    Trouble(
        "P2", "pyarrow wants NumPy 2 and PaddleNLP wants NumPy 1",
        ("pyarrow requires NumPy 2.0 or newer",),
        "pyarrow 26 needs NumPy 2, and PaddleNLP holds NumPy at 1.26.4.",
        "Keep an older pyarrow, then restart the kernel.",
        FRESH,
        6, threads=("apache/arrow#50769",), since="pyarrow 26",
    ),
    Trouble(
        "P3", "Paddle has no float16 or bfloat16 on the CPU",
        ("The kernel with key (CPU, *, float16) of kernel", "The kernel with key (CPU, *, bfloat16) of kernel",
         "kernel_key.backend() == Backend::CPU",
         "Selected wrong DataType `float16`", "Selected wrong DataType `bfloat16`"),
        'The tutorials load with dtype="float16", which Paddle computes on a GPU only.',
        "Load in float32 on a CPU.",
        'AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32", convert_from_torch=True)',
        6, threads=("PaddlePaddle/PaddleNLP#8685", "PaddlePaddle/PaddleNLP#8686"),
    ),
    Trouble(
        "P4", "generate without an attention mask fails in a reshape",
        ("The 'shape' in ReshapeOp is invalid", "[Hint: Expected capacity == in_size, but received"),
        "Paddle's Qwen2 makes a wrong mask when generate gets input_ids alone.",
        "Pass everything that the tokenizer returned.",
        "model.generate(**inputs, max_new_tokens=64)",
        6,
    ),
    Trouble(
        "P5", "PaddleNLP does not take safetensors of PyTorch",
        ("does not contain the valid metadata",),
        'Files from ModelScope and Hugging Face are marked "pt"; PaddleNLP wants its own mark unless told to convert.',
        "Ask for the conversion; it needs no torch.",
        'AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32", convert_from_torch=True)',
        6,
    ),
    Trouble(
        "P6", "lm_head is said to be newly initialized",
        ("newly initialized: ['lm_head.weight']",),
        "Small Qwen models use the embedding as lm_head; PaddleNLP warns first and shares it afterwards.",
        "Ignore it. The conversion leaves a second copy of the weights, model_state.pdparams, in the folder.",
        "from pathlib import Path\nprint(list(Path(model_dir).glob('*.pdparams')))",
        6, older=("are newly initialized because the shapes did not match", "newly initialized: [\"lm_head.weight\"]"),
    ),
    Trouble(
        "P7", "generate of PaddleNLP returns a pair",
        ("pt is not a valid TensorType", "argument 'ids': 'list' object cannot be interpreted as an integer"),
        "PaddleNLP returns (ids, scores), and the ids do not hold the prompt. Its tokenizer wants return_tensors='pd'.",
        "Take the first of the pair, and cut nothing off.",
        'inputs = tokenizer(text, return_tensors="pd")\nids, scores = model.generate(**inputs, max_new_tokens=64)\n'
        "print(tokenizer.batch_decode(ids, skip_special_tokens=True)[0])",
        6, inside={"paddlenlp": ("TypeError: int() argument must be *, not 'list'",)},
    ),
    Trouble(
        "P8", "PaddleNLP and transformers 5 want different tokenizers",
        ("Cannot install *paddlenlp* because these package versions have conflicting dependencies",
         "paddlenlp * depends on tokenizers<", "paddlenlp * requires tokenizers<",
         "paddlenlp * requires huggingface-hub<"),
        "PaddleNLP holds tokenizers below 0.22, transformers 5 needs 0.23: no environment can have both.",
        "Make two environments with a kernel each; `python course.py` does.",
        f"python -m venv .venv-paddle\n.venv-paddle/bin/python -m {INSTALL}\n"
        "# Windows: .venv-paddle\\Scripts\\python in place of .venv-paddle/bin/python",
        6, threads=("PaddlePaddle/Paddle#77305",),
    ),
    Trouble(
        "P9", "torch and Paddle clash in one program",
        ("cudnn_adv_train64_8.dll", "[WinError 127] *cudnn", "cudnn_cnn_infer64_8.dll"),
        "Both bring their own CUDA libraries, of different versions.",
        "Keep them in two environments, and never import both in one kernel.",
        "python -m venv .venv-paddle",
        6, threads=("PaddlePaddle/Paddle#66947", "PaddlePaddle/Paddle#74894", "PaddlePaddle/Paddle#67944",
                    "PaddlePaddle/PaddleOCR#604"),
        today="not raised here",
    ),
    Trouble(
        "P10", "PaddleNLP cannot read a tokenizer saved by transformers 5",
        ("class TokenizersBackend does not exist",),
        "tokenizer_config.json then names the class TokenizersBackend, which older programs do not have (see L4).",
        "Use the original files, or name the class as it was called before.",
        '# in tokenizer_config.json\n"tokenizer_class": "Qwen2Tokenizer"',
        6, since="transformers 5",
        inside={"paddlenlp": ("ValueError: Tokenizer class TokenizersBackend does not exist",)},
    ),
    Trouble(
        "P11", "PaddleNLP looks for the model on its server",
        ("If you were trying to load it from 'BOS', make sure you don't have a local directory with the same name",),
        "PaddleNLP took the text for an id and has no connection; the text blames a folder that does not exist.",
        "Give a folder that is there.",
        "from pathlib import Path\nassert Path(model_dir).is_dir()\n"
        'AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32", convert_from_torch=True)',
        6,
    ),
    Trouble(
        "P12", "a small model seems as slow as a large one", (),
        "No error. Python's own work for each token counts more than the model, the first call warms up, and answers "
        "of different length were compared.",
        "Warm up, decode greedily, and divide by the tokens that were really written.",
        "import time\nmodel.generate(**inputs, max_new_tokens=8)  # warm up\nstart = time.perf_counter()\n"
        'ids, _ = model.generate(**inputs, max_new_tokens=128, decode_strategy="greedy_search")\n'
        "print(ids.shape[1] / (time.perf_counter() - start), 'tokens/s')",
        6,
    ),
    Trouble(
        "P13", "the fast tools of PaddleNLP are not there",
        ("cannot import name 'fused_moe' from 'paddle.incubate.nn.functional'", "No module named 'paddlenlp_ops'",
         "The kernel `weight_only_linear` is not registered", "No module named 'llm'\n", "csrc/setup_cuda.py",
         "TypeError: In transformed code:", "bool(Tensor) is not supported in static graph mode"),
        "csrc/setup_cuda.py and predict/predictor.py are files of a PaddleNLP checkout; their operators must be built "
        "for an NVIDIA GPU. The package's own to_static fails on a comparison of shapes.",
        "Use the static graph of lesson 6, or a checkout of the tag that the tutorial names, on a GPU.",
        "git clone https://github.com/PaddlePaddle/PaddleNLP\ngit -C PaddleNLP tag  # then git switch --detach THE-TAG",
        6, older=("csrc/setup_cuda.py': [Errno 2]", "predict/predictor.py': [Errno 2]"),
    ),
    Trouble(
        "P14", "PaddleNLP is not in this environment",
        ("No module named 'paddlenlp'", "No module named 'paddle'\n", "No package metadata was found for paddlenlp"),
        "It lives in an environment of its own, .venv-paddle, with the kernel Python (qwen-paddle).",
        "Choose that kernel (Kernel > Change Kernel); if it is missing, `python course.py` makes it.",
        "import sys; print(sys.executable)  # must lie in .venv-paddle",
        6,
    ),
)  # fmt: skip
