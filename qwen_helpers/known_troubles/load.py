"""Troubles with loading a model from its folder."""

from qwen_helpers.known_troubles.trouble import Trouble

AUTO = 'AutoModelForCausalLM.from_pretrained("models/Qwen2.5-0.5B-Instruct")'

TROUBLES = (
    Trouble(
        "L1", "a Windows path loses its backslashes",
        ("(unicode error) 'unicodeescape' codec can't decode bytes", "has lost its backslashes",
         "invalid escape sequence '\\q'", "invalid escape sequence '\\Q'", "invalid escape sequence '\\m'",
         "invalid escape sequence '\\D'"),
        r"In a Python text \n is a new line, \t a tab and \U the beginning of a character; D:\new\tiny is no path.",
        "Put an r before the text, or use forward slashes.",
        'model_dir = r"D:\\new\\tiny"\nmodel_dir = "D:/new/tiny"',
        3, older=("invalid escape sequence \\q", "invalid escape sequence \\Q", "invalid escape sequence \\m"),
    ),
    Trouble(
        "L2", "the folder does not exist and is taken for an id",
        ("Repo id must be in the form 'repo_name' or 'namespace/repo_name': '*'", "Repo id must use alphanumeric chars",
         "Incorrect path_or_model_id: '", "is not a local folder and is not a valid model identifier",
         "There is no folder '*'"),
        "from_pretrained found no folder of that name, so it took the text for an id on Hugging Face. A notebook's "
        "relative paths begin in the notebook's folder.",
        "Check the folder first.",
        "from pathlib import Path\nprint(Path.cwd(), Path(model_dir).is_dir())",
        3, older=("HFValidationError: Repo id must",),
        threads=("Stable-X/StableNormal#20", "honeyandme/RAGQnASystem#21"),
    ),
    Trouble(
        "L3", "the model wants to run its own code",
        ("contains custom code which must be executed to correctly load",
         "contains custom code which must be executed to correctly load the model. You can inspect the repository",
         "Please pass the argument `trust_remote_code=True`", "Do you wish to run the custom code? [y/N]"),
        "Qwen1 (Qwen-7B-Chat) ships Python files. trust_remote_code=True runs them with your rights.",
        "Take Qwen2.5 or Qwen3, which need no such flag. For Qwen1, read its code first, in an environment of its own.",
        AUTO,
        3,
    ),
    Trouble(
        "L4", "the library does not know this kind of model or tokenizer",
        ("but Transformers does not recognize this architecture",
         "the most up-to-date code by installing Transformers from source with the command",
         "Tokenizer class TokenizersBackend does not exist"),
        "The model is newer than the library, or transformers 5 has saved it and an older program reads it.",
        "Upgrade the older side. Else name the tokenizer's class as it was called before.",
        "%pip install -U transformers\n"
        '# or in tokenizer_config.json: "tokenizer_class": "Qwen2Tokenizer",\n'
        '# and "additional_special_tokens" in place of "extra_special_tokens"',
        3, inside={"transformers": ("'list' object has no attribute 'keys'",)},
        threads=("vllm-project/vllm#35998", "huggingface/transformers#47553", "unslothai/unsloth#8444",
                 "jingyaogong/minimind#578"),
    ),
    Trouble(
        "L5", "rope_theta is lost and answers get worse", (),
        "No error. transformers 5 saves rope_parameters in place of rope_theta; older versions and PaddleNLP then "
        "count with 10000 in place of Qwen's 1000000.",
        "Hand other libraries the original folder, or write the number back.",
        'import json\nfrom pathlib import Path\nfile = Path(model_dir, "config.json")\n'
        'config = json.loads(file.read_text())\nconfig["rope_theta"] = config["rope_parameters"]["rope_theta"]\n'
        "file.write_text(json.dumps(config, indent=2))",
        6, since="transformers 5",
    ),
    Trouble(
        "L6", "the tokenizer has no chat template",
        ("Cannot use chat template functions because tokenizer.chat_template is not set",),
        "A base model of another family, or chat_template.jinja was not copied: it is a file of its own now.",
        "Take the Instruct model, or copy the file into the folder.",
        'import shutil; shutil.copy("ORIGINAL/chat_template.jinja", model_dir)',
        5, older=("No chat template is set for this tokenizer",
                  "tokenizer.chat_template is not set and no template argument"),
        threads=("unslothai/unsloth#2096", "modelscope/ms-swift#2831", "huggingface/transformers#33246"),
    ),
    Trouble(
        "L7", "from_pretrained does not take bf16 or fp16",
        ("ForCausalLM.__init__() got an unexpected keyword argument '", "`torch_dtype` is deprecated! Use `dtype`"),
        "bf16=True, fp16=True and load_in_4bit=True were arguments of Qwen1 or of older versions.",
        "Say the precision with dtype.",
        'AutoModelForCausalLM.from_pretrained(model_dir, dtype="auto")  # or dtype=torch.bfloat16',
        3, older=("__init__() got an unexpected keyword argument 'bf16'",
                  "__init__() got an unexpected keyword argument 'fp16'"),
    ),
    Trouble(
        "L8", "weights and tokenizer are of different models",
        ("You set `ignore_mismatched_sizes` to `False`, thus raising an error",
         "You set ignore_mismatched_sizes to False, thus raising an error", "IndexError: index out of range in self"),
        "Files of two models are mixed in one folder, so shapes differ, or a token's number exceeds the vocabulary.",
        "Download into an empty folder, and compare the two sizes.",
        "assert len(tokenizer) <= model.config.vocab_size",
        3, older=("size mismatch for model.embed_tokens.weight", "size mismatch for lm_head.weight"),
    ),
    Trouble(
        "L9", "QWenTokenizer has no IMAGE_ST",
        ("'QWenTokenizer' object has no attribute 'IMAGE_ST'",),
        "The tokenizer of Qwen1 does not work with transformers 4.34 and later.",
        "Take Qwen2.5 or Qwen3; Qwen1 needs transformers 4.32 in an environment of its own.",
        AUTO,
        3, threads=("modelscope/ms-swift#765", "QwenLM/Qwen-VL#387", "Yuliang-Liu/Monkey#69"),
        since="transformers 4.34", today="not raised here",
    ),
    Trouble(
        "L10", "the code of the model needs more packages",
        ("This modeling file requires the following packages that were not found in your environment",),
        "Qwen1's Python files import transformers_stream_generator, einops and tiktoken.",
        "Take Qwen2.5 or Qwen3. Installing the list leads to trouble I3 with transformers 5.",
        AUTO,
        3, threads=("hiyouga/LlamaFactory#2313", "intel/ipex-llm#9581", "QwenLM/Qwen#361"),
    ),
    Trouble(
        "L11", "ms-swift cannot guess the type of the model",
        ("Failed to automatically match `model_type`", "Failed to automatically match `template_type`",
         "Failed to automatically match `template`", "Multiple possible types found: ["),
        "ms-swift guesses from the folder's name, and master or my_model says nothing.",
        "Keep the model's own name, or say both types.",
        'TransformersEngine(model_dir, model_type="qwen2", template_type="qwen")',
        4,
    ),
)  # fmt: skip
