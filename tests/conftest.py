"""Model folders for tests: real Qwen2 and Qwen3 architectures with random weights, a few hundred kilobytes each."""

import json
import os
import random
import shutil
import tempfile

import pytest
from lab import QUIET, chromium

from qwen_helpers import diagnosis, folders
from qwen_helpers.engines import paddle
from qwen_helpers.folders import TINY_CHAT, TINY_THINKING, course_root
from qwen_helpers.labs.hub import Hub

pytest.register_assert_rewrite("engine_checks", "raised")


def pytest_sessionstart(session):
    """Lesson 2 must never download a real model in a test: every kernel and script finds a hub on this computer."""
    session.hub = Hub({"Qwen/Qwen2.5-0.5B-Instruct": TINY_CHAT}).start()
    session.cache = tempfile.TemporaryDirectory(prefix="qwen-test-")  # the client keeps its locks there
    os.environ["MODELSCOPE_CACHE"] = os.environ["MODELSCOPE_HOME"] = session.cache.name
    os.environ["MODELSCOPE_ENDPOINT"] = session.hub.url
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    os.environ.pop("MODELSCOPE_API_TOKEN", None)
    os.environ["QWEN_LANG"] = "en"  # the tests and the lessons' stored outputs read English, whoever runs them
    os.environ.pop("QWEN_CLASS", None)  # else the tests' exercises would be told to a class


def pytest_sessionfinish(session):
    session.hub.close()
    session.cache.cleanup()
    if hasattr(session.config, "workerinput"):  # another worker may still need them
        return
    for folder in (course_root() / "models" / "paddle").glob("*"):  # of models that were made for a test
        if str((folder / "tokenizer.json").resolve()).startswith(os.path.realpath(tempfile.gettempdir())):
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def browser():
    if chromium() is None:
        reason = "The browser test was not run: there is no Chromium here (Debian: sudo apt install chromium)."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        yield browser
        browser.close()


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def save_random_model(folder, family, shard_size="50GB", **changes):
    """Save a random-weight model with a BPE tokenizer trained on the spot; the same bytes each time.

    `family` is "qwen2", "qwen3", "qwen3_moe", "qwen3_5" or "qwen3_5_moe".
    `changes` go into the configuration. The last two are as published: with a vision tower, the language model's shape
    under `text_config`, and three layers with linear attention before each with full attention.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = random.Random(0)
    text = ["".join(words.choices("abcdefghijklmnopqrstuvwxyz", k=words.randint(2, 9))) for _ in range(2000)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["你好，世界。", *text], trainer)

    shape = {
        "vocab_size": 1200, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 512, "tie_word_embeddings": True,
        "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 0, **({} if family == "qwen2" else {"head_dim": 16}),
    }  # fmt: skip
    if "moe" in family:
        shape |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    if family.startswith("qwen3_5"):
        shape |= {"shared_expert_intermediate_size": 40} if "moe" in family else {}
        text = {
            **shape, "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_conv_kernel_dim": 4,
            "rope_parameters": {  # a quarter of 16 numbers is turned, in pairs: 2, and not the default's 11 + 11 + 10
                "rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.25, "mrope_section": [1, 1, 0]
            },
        }  # fmt: skip
        vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
        shape = {"text_config": text, "vision_config": vision, "tie_word_embeddings": True}
    names = {
        "qwen2": ("Qwen2", "CausalLM"),
        "qwen3": ("Qwen3", "CausalLM"),
        "qwen3_moe": ("Qwen3Moe", "CausalLM"),
        "qwen3_5": ("Qwen3_5", "ConditionalGeneration"),
        "qwen3_5_moe": ("Qwen3_5Moe", "ConditionalGeneration"),
    }
    name, head = names[family]
    config = getattr(transformers, f"{name}Config")(**shape, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}For{head}")(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=shard_size)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    ).save_pretrained(folder)
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt, as the published folders have them
    if family == "qwen3_5":  # for pictures, which nothing here may ask for
        processors = {"image": "Qwen2VLImageProcessorFast", "video": "Qwen3VLVideoProcessor"}
        for kind, name in processors.items():
            file = f"{'video_' * (kind == 'video')}preprocessor_config.json"
            content = {"processor_class": "Qwen3VLProcessor", f"{kind}_processor_type": name, "patch_size": 16}
            (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def qwen2_folder(tmp_path_factory):
    """A random-weight Qwen2 folder in bfloat16. Shared by all tests: do not change it, take `model_copy` for that."""
    return save_random_model(tmp_path_factory.mktemp("random") / "qwen2", "qwen2")


@pytest.fixture(scope="session")
def qwen3_folder(tmp_path_factory):
    """A random-weight Qwen3 folder in bfloat16. Shared by all tests: do not change it."""
    return save_random_model(tmp_path_factory.mktemp("random") / "qwen3", "qwen3")


@pytest.fixture(scope="session")
def qwen3_5_folder(tmp_path_factory):
    """A random-weight Qwen3.5 folder in bfloat16, with pictures and all. Shared by all tests: do not change it."""
    return save_random_model(tmp_path_factory.mktemp("random") / "qwen3_5", "qwen3_5")


@pytest.fixture(scope="session")
def qwen3_moe_folder(tmp_path_factory):
    """A random-weight Qwen3 folder with experts in bfloat16. Shared by all tests: do not change it."""
    return save_random_model(tmp_path_factory.mktemp("random") / "qwen3_moe", "qwen3_moe")


@pytest.fixture(scope="session")
def qwen3_5_moe_folder(tmp_path_factory):
    """A random-weight Qwen3.5 folder with experts, with pictures and all. Shared by all tests: do not change it."""
    return save_random_model(tmp_path_factory.mktemp("random") / "qwen3_5_moe", "qwen3_5_moe")


ENDS = {
    # How the chat template ends the prompt. As in Qwen3.5-0.8B: thoughts only with enable_thinking=True.
    "off by default": "{% if enable_thinking is defined and enable_thinking is true %}{{ '<think>\\n' }}{% else %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}",
    # As in the Qwen3 of April 2025: the model writes both marks.
    "opened by the model": "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}",
}


@pytest.fixture(scope="session", params=ENDS)
def thinking_folder(request, tmp_path_factory):
    """Tiny thinking with the chat template of another model that thinks."""
    folder = shutil.copytree(TINY_THINKING, tmp_path_factory.mktemp("thinking") / "model")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    start, mark, _ = config["chat_template"].partition("<think>\\n' -}}\n    {%- if enable_thinking")
    assert mark
    config["chat_template"] = start + "' -}}" + ENDS[request.param] + "{%- endif -%}"
    file.write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def sharded_folder(tmp_path_factory):
    """The Qwen2 folder in two files and an index, as the published models from 3B on are."""
    return save_random_model(tmp_path_factory.mktemp("random") / "sharded", "qwen2", shard_size="80KB")


ROTATED = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}  # as in Qwen2.5; 10000 is the default


@pytest.fixture(scope="session")
def rotated_folder(tmp_path_factory):
    """A Qwen2 folder as transformers 5 saves it, with Qwen2.5's rotary base."""
    return save_random_model(tmp_path_factory.mktemp("random") / "rotated", "qwen2", **ROTATED)


@pytest.fixture(scope="session")
def rotated_sharded_folder(tmp_path_factory):
    """The same in several files."""
    return save_random_model(tmp_path_factory.mktemp("random") / "both", "qwen2", shard_size="80KB", **ROTATED)


@pytest.fixture
def model_copy(qwen2_folder, tmp_path):
    """A copy of `qwen2_folder` that a test may damage."""
    return shutil.copytree(qwen2_folder, tmp_path / "model")


@pytest.fixture
def sharded_copy(sharded_folder, tmp_path):
    """A copy of `sharded_folder` that a test may damage."""
    return shutil.copytree(sharded_folder, tmp_path / "sharded")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty current folder, repository root, home and ModelScope cache, and no QWEN_MODEL. Returns the folder."""
    here = tmp_path / "here"
    (here / "home").mkdir(parents=True)
    for module in (folders, diagnosis, paddle):
        monkeypatch.setattr(module, "course_root", lambda: here / "repository")
    (here / "repository").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("QWEN_MODEL", raising=False)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(here / "cache"))
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.setenv("USERPROFILE", str(here / "home"))
    return here
