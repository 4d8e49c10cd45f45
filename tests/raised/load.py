"""L: what goes wrong between a folder and a loaded model."""

import json
import shutil
from pathlib import Path
from unittest.mock import patch

from qwen_helpers import TINY_CHAT
from qwen_helpers.diagnosis import folder_findings
from raised.the import HELLO


def raises_L1(the):
    r"""In a Python text \n is a line break, silently, and \U begins the number of a character."""
    assert "D:\new\tiny".splitlines() == ["D:", "ew\tiny"]
    compile(r'"D:\Updates\models"', "my_cell", "eval")


def cures_L1(the):
    assert len(r"D:\new\tiny") == 11 and Path("D:/new/tiny").as_posix() == "D:/new/tiny"


def raises_L2(the):
    the.load(r"D:\qwen\Qwen-7B-Chat")


def cures_L2(the):
    """Ask whether it is a folder before you load."""
    assert not Path(r"D:\qwen\Qwen-7B-Chat").is_dir() and TINY_CHAT.is_dir()


def own_code(the):
    """A folder as of the first Qwen, which brought Python files."""
    folder = the.copy("own_code")
    auto = {"AutoConfig": "configuration_qwen.QWenConfig", "AutoModelForCausalLM": "modeling_qwen.QWenModel"}
    the.edit(folder / "config.json", model_type="qwen", auto_map=auto)
    return folder


def raises_L3(the):
    the.load(own_code(the), trust_remote_code=False)


def cures_L3(the):
    """Qwen2 and later bring none."""
    assert "auto_map" not in json.loads((TINY_CHAT / "config.json").read_text(encoding="utf-8"))


def raises_L4(the):
    folder = the.copy("newer")
    the.edit(folder / "config.json", model_type="qwen99")
    the.load(folder)


def cures_L4(the):
    from transformers import CONFIG_MAPPING

    assert [name in CONFIG_MAPPING for name in ("qwen2", "qwen3", "qwen99")] == [True, True, False]


def theta(folder):
    """(rope_theta as versions before 5 wrote it, as version 5 does)."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return settings.get("rope_theta"), settings.get("rope_parameters")


def shows_L5(the):
    """transformers 5 saves rope_theta under another name. Who knows only the old one computes with 10,000."""
    saved, new = the.disk / "saved", {"rope_theta": 1000000.0, "rope_type": "default"}
    the.model.save_pretrained(saved)
    the.tokenizer.save_pretrained(saved)
    assert (theta(TINY_CHAT), theta(saved)) == ((1000000.0, new), (None, new))
    lost, default = the.copy("lost"), {"rope_type": "default", "rope_theta": 10000.0}
    the.edit(lost / "config.json", rope_theta=10000.0, rope_parameters=default)
    text = the.answer(the.load(lost, dtype="auto"))
    assert text == 'I am only the tiny model of this course and "Tell me "Tell me a billion.'
    assert folder_findings(saved) == [
        "L5: config.json says rope_theta in transformers 5's way only (1e+06); older versions and PaddleNLP would take "
        '10000 and answer worse: write "rope_theta": 1e+06 into it.'
    ]


def cures_L5(the):
    """The old name beside the new one."""
    saved = the.disk / "saved"
    the.edit(saved / "config.json", rope_theta=theta(saved)[1]["rope_theta"])
    assert theta(saved)[0] == 1000000.0 and folder_findings(saved) == []
    assert the.answer(the.load(saved, dtype="auto")) == HELLO


def raises_L6(the):
    folder = the.copy("no_template")
    the.edit(folder / "tokenizer_config.json", chat_template=None)
    the.load_tokenizer(folder).apply_chat_template(the.messages)


def cures_L6(the):
    """transformers 5 keeps the template in a file of its own."""
    folder = the.disk / "no_template"
    (folder / "chat_template.jinja").write_text(the.tokenizer.chat_template, encoding="utf-8")
    assert "Hello!" in the.load_tokenizer(folder).apply_chat_template(the.messages, tokenize=False)


def raises_L7(the):
    the.load(bf16=True)


def cures_L7(the):
    assert str(the.load(dtype="bfloat16").dtype) == "torch.bfloat16"


def raises_L8(the):
    folder = the.copy("mixed")
    the.edit(folder / "config.json", intermediate_size=512)
    the.load(folder)


def bigger(the):
    tokenizer = the.load_tokenizer()
    tokenizer.add_tokens(["<new>"])
    return tokenizer


def raises_L8_2(the):
    """The other half of the same mistake: a tokenizer that is larger than the model."""
    the.model.generate(**bigger(the)("<new>", return_tensors="pt"), max_new_tokens=1)


def cures_L8(the):
    folder = the.disk / "mixed"
    shutil.copy(TINY_CHAT / "config.json", folder)
    assert the.load(folder).config.intermediate_size == 448
    assert len(the.tokenizer) <= the.model.config.vocab_size < len(bigger(the))


def raises_L10(the):
    """Such code imports packages of 2023: a stub of it, with a name that nobody has."""
    folder = own_code(the)
    (folder / "configuration_qwen.py").write_text(
        "from transformers import PretrainedConfig\nclass QWenConfig(PretrainedConfig):\n    model_type = 'qwen'\n"
    )
    (folder / "modeling_qwen.py").write_text("import einops_of_2023\nclass QWenModel: pass\n")
    with patch("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(the.disk / "modules")):
        the.load(folder, trust_remote_code=True)


def cures_L10(the):
    """A model that is part of transformers."""
    assert the.load().config.model_type == "qwen2"


def raises_L11(the):
    from swift import TransformersEngine

    folder = the.copy("my_model")
    (folder / "args.json").unlink()
    TransformersEngine(str(folder))


def cures_L11(the):
    from swift import TransformersEngine

    folder = the.disk / "my_model"
    engine = TransformersEngine(str(folder), model_type="qwen2", template_type="qwen2_5")
    assert engine.template_type == "qwen2_5"
