"""Troubles with fine-tuning and adapters, and with converted models."""

from qwen_helpers.known_troubles.trouble import Trouble

TROUBLES = (
    Trouble(
        "T1", "ms-swift does not know an argument of training",
        ("SftArguments.__init__() got an unexpected keyword argument", "ValueError: remaining_argv: ["),
        "The argument belongs to an older ms-swift (sft_type became train_type and then tuner_type) or is misspelt.",
        "Ask the installed version for its names.",
        "from dataclasses import fields\nfrom swift import SftArguments\n"
        "print([field.name for field in fields(SftArguments)])",
        8,
    ),
    Trouble(
        "T2", "the training data cannot be read",
        ("An error occurred while generating the dataset", "DatasetGenerationError"),
        "A line of the .jsonl file is not whole JSON, often the last one after a copy that stopped.",
        "Find the line.",
        'import json\nfor number, line in enumerate(open("train.jsonl", encoding="utf-8"), 1):\n'
        "    print(number); json.loads(line)  # the last number is the line that fails",
        8,
    ),
    Trouble(
        "T3", "the folder is no adapter",
        ("Can't find 'adapter_config.json' at '",),
        "peft loads what a training wrote (checkpoint-90, with adapter_config.json), not a whole model.",
        "Give the checkpoint's folder, and load the model first.",
        "from peft import PeftModel\nmodel = PeftModel.from_pretrained(model, 'output/checkpoint-90')",
        8,
    ),
    Trouble(
        "T4", "LoRA does not find the layers it should train",
        ("not found in the base model. Please check the target modules and try again",),
        "c_attn and w1 were the names of Qwen1's layers. From Qwen1.5 on they are q_proj, k_proj, v_proj, o_proj, "
        "gate_proj, up_proj and down_proj.",
        "Name today's layers, or all linear ones.",
        'LoraConfig(target_modules="all-linear")',
        8,
    ),
    Trouble(
        "T5", "the adapter belongs to another model",
        ("size mismatch for base_model.model",),
        "The adapter's matrices have the sizes of the model that it was trained on.",
        "Load the model that the adapter names.",
        'import json\nprint(json.load(open("output/checkpoint-90/adapter_config.json"))["base_model_name_or_path"])',
        8,
    ),
    Trouble(
        "T6", "the folder was not converted for onnxruntime-genai",
        ("Error opening *genai_config.json", "so it is no converted model:"),
        "onnxruntime-genai reads a converted folder, with genai_config.json and model.onnx, not the original one.",
        "Convert it as lesson 7 shows, and give the new folder.",
        "from pathlib import Path\nprint(sorted(path.name for path in Path(model_dir).iterdir()))",
        7, inside={"onnxruntime_genai": ("genai_config.json",)},
    ),
    Trouble(
        "T7", "onnxruntime-genai is not installed",
        ("No module named 'onnxruntime_genai'", "No module named 'onnx_ir'"),
        "It has no packages for Python 3.10, or the kernel is another.",
        "Use Python 3.11 or 3.12; every other engine of lesson 7 works without it.",
        "import sys; print(sys.version)\n%pip install onnxruntime-genai onnx-ir",
        7,
    ),
)  # fmt: skip
