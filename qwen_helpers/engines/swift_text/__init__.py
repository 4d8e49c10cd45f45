"""A plugin for ms-swift: the type `qwen_text`, the language model of a folder that also reads pictures.

ms-swift's own type for Qwen3.5 loads the vision tower, too, and needs packages for pictures. This one loads what
transformers' AutoModelForCausalLM does, with the tokenizer alone. Import it, or hand its file to a command of
ms-swift's as `--external_plugins`. It has a folder of its own because ms-swift puts that on Python's path.
"""

from swift.model import ModelLoader, ModelMeta, register_model
from transformers import AutoTokenizer


class TextLoader(ModelLoader):
    """ms-swift's loader, which would take the processor for pictures where the folder has one."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.auto_tokenizer_cls = AutoTokenizer


register_model(ModelMeta("qwen_text", [], TextLoader, template="qwen3", model_arch="llama"), exist_ok=True)
