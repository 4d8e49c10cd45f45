"""T: fine-tuning and converting."""

import json
import os
import sys
from dataclasses import fields

import pytest

from qwen_helpers import TINY_CHAT
from qwen_helpers.labs.other_python import fresh
from raised.the import HELLO


def raises_T1(the):
    """ms-swift 3's name."""
    from swift import SftArguments

    SftArguments(model=str(TINY_CHAT), train_type="lora")


def cures_T1(the):
    from swift import SftArguments

    assert "tuner_type" in [field.name for field in fields(SftArguments)]


def load_data(the, text):
    from datasets import disable_progress_bars
    from swift import load_dataset

    disable_progress_bars()
    os.environ["MODELSCOPE_CACHE"] = str(the.disk / "swift")
    file = the.disk / "data.jsonl"
    file.write_text(text, encoding="utf-8")
    return load_dataset(str(file))


def raises_T2(the):
    """A line of JSON that was cut off. The cause stands in the log."""
    with the.log("datasets") as log:
        try:
            load_data(the, '{"messages": [{"role": "user", "content": "Who')
        finally:
            assert "JSON parse error: Missing a closing quotation mark in string. in row 0" in log.getvalue()


def cures_T2(the):
    dialogue = {"messages": [*the.messages, {"role": "assistant", "content": "Good morning!"}]}
    assert len(load_data(the, json.dumps(dialogue) + "\n")[0]) == 1


def adapter(the):
    """An adapter of the tiny model."""
    from peft import LoraConfig, get_peft_model

    lora = get_peft_model(the.load(), LoraConfig(target_modules=["q_proj"]))
    lora.save_pretrained(the.disk / "adapter")
    return the.disk / "adapter"


def with_adapter(model, folder):
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder)


def raises_T3(the):
    """The folder is a whole model."""
    with_adapter(the.load(), the.copy("no_adapter"))


def cures_T3(the):
    folder = adapter(the)
    assert (folder / "adapter_config.json").is_file() and with_adapter(the.load(), folder)


def raises_T4(the):
    """c_attn is the first Qwen's."""
    from peft import LoraConfig, get_peft_model

    get_peft_model(the.load(), LoraConfig(target_modules=["c_attn"]))


def cures_T4(the):
    from peft import LoraConfig, get_peft_model

    names = [name for name, _ in the.model.model.layers[0].self_attn.named_children()]
    assert names == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert get_peft_model(the.load(), LoraConfig(target_modules=names))


def raises_T5(the):
    """An adapter of the tiny model on a model of another size."""
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.from_pretrained(TINY_CHAT)
    settings.hidden_size, settings.num_hidden_layers = 96, 1
    with_adapter(AutoModelForCausalLM.from_config(settings), adapter(the))


def cures_T5(the):
    """The model that adapter_config.json names."""
    folder = adapter(the)
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert the.answer(with_adapter(the.load(settings["base_model_name_or_path"]), folder)) == HELLO


def raises_T6(the):
    og = pytest.importorskip("onnxruntime_genai")
    og.Model(str(TINY_CHAT))


def cures_T6(the):
    """test_onnx.py converts, and runs the result."""
    from qwen_helpers.engines.onnx import convert

    assert convert


def raises_T7(the):
    fresh("import onnxruntime_genai", hide=["onnxruntime_genai"])


def cures_T7(the):
    """Another Python: 3.11 or newer."""
    if sys.version_info >= (3, 11):
        fresh("import onnxruntime_genai")
