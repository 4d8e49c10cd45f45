"""I: what goes wrong between pip and an import. `fresh` is a Python of its own, in which packages can be missing."""

from importlib.metadata import requires, version

from qwen_helpers import kernel_warnings
from qwen_helpers.labs.other_python import fresh
from raised.the import HELLO

LOAD = "from qwen_helpers import TINY_CHAT\nfrom transformers import AutoModelForCausalLM as Auto\n"


def raises_I1(the):
    """An empty package with the name and the version of OpenStack's file store, on a path of its own."""
    wrong = the.package("wrong/swift", '__version__ = "2.38.3"\n')
    fresh("from swift import TransformersEngine", PYTHONPATH=str(wrong))


def cures_I1(the):
    fresh("import swift; assert swift.__version__.startswith('4.'), swift.__version__")


def raises_I2(the):
    from swift.llm import inference_stream  # noqa: F401


def cures_I2(the):
    from swift import InferRequest, RequestConfig, TransformersEngine

    assert TransformersEngine and InferRequest and RequestConfig
    assert version("ms-swift").startswith("4.")


def raises_I3(the):
    import transformers_stream_generator  # noqa: F401


def cures_I3(the):
    from transformers import TextIteratorStreamer, TextStreamer

    assert (TextStreamer.__name__, TextIteratorStreamer.__name__) == ("TextStreamer", "TextIteratorStreamer")


def shows_I5(the):
    """Without a version pip makes peace in silence: last year's transformers, because PaddleNLP wants it so."""
    assert the.pip("paddlenlp==3.0.0b4", "transformers") == [
        "Would install paddlenlp-3.0.0b4 tokenizers-0.21.4 transformers-4.55.4"
    ]


def cures_I5(the):
    """Look afterwards."""
    from packaging.requirements import Requirement

    wishes = map(Requirement, requires("transformers"))
    (wanted,) = [wish for wish in wishes if wish.name == "tokenizers" and not wish.marker]
    assert version("transformers").startswith("5.") and version("tokenizers") in wanted.specifier


def gone_I7(the):
    """A charset_normalizer that is broken was the cause; today the import succeeds with one."""
    fake = the.package("fake/charset_normalizer", "raise AttributeError('a broken installation')\n")
    fresh("from huggingface_hub import create_repo; assert create_repo", PYTHONPATH=str(fake))


def raises_I8(the):
    fresh("from modelscope import AutoModelForCausalLM", hide=["transformers", "torch"])


def cures_I8(the):
    """The downloader works without them."""
    fresh("from modelscope import snapshot_download; assert snapshot_download", hide=["transformers", "torch"])


def raises_I9(the):
    fresh(LOAD + "Auto.from_pretrained(TINY_CHAT, device_map='cpu')", hide=["accelerate"])


def cures_I9(the):
    assert the.answer(the.load(device_map="cpu", dtype="auto")) == HELLO


def raises_I10(the):
    fresh("from transformers import AutoModelForCausalLM as A; A.from_pretrained('x')", hide=["torch"])


def cures_I10(the):
    import torch
    from packaging.version import Version

    assert Version(torch.__version__) >= Version("2.5")


def raises_I14(the):
    (the.disk / "transformers.py").write_text("from transformers import AutoTokenizer\n")
    fresh("import transformers", folder=the.disk)


def cures_I14(the):
    (the.disk / "transformers.py").rename(the.disk / "my_first_try.py")
    fresh("import transformers; assert transformers.__version__.startswith('5.')", folder=the.disk)


def raises_I15(the):
    the.load(attn_implementation="flash_attention_2")


def cures_I15(the):
    assert the.load().config._attn_implementation == "sdpa"


def shows_I17(the):
    """A misspelt name."""
    return the.pip("transfomers")[-1]


def cures_I17(the):
    assert the.pip("transformers") == ["Would install tokenizers-0.23.3 transformers-5.19.0"]


def shows_I21(the):
    said = the.pip("paddlenlp==3.0.0b4", "transformers==5.19.0")
    assert said[0] == (
        "ERROR: Cannot install paddlenlp==3.0.0b4 and transformers==5.19.0 because these package versions have "
        "conflicting dependencies."
    )
    return said[-1]


def cures_I21(the):
    """Each of the two alone."""
    assert the.pip("paddlenlp==3.0.0b4") == ["Would install paddlenlp-3.0.0b4 tokenizers-0.21.4"]


def hybrid():
    """A model with linear attention and random numbers."""
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    small = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4, "head_dim": 8}
    return Qwen3_5ForCausalLM(Qwen3_5TextConfig(**small))


def warnings_of(the):
    import torch

    with the.log("transformers") as log:
        hybrid()(torch.tensor([[1, 2, 3]]))
    return log.getvalue().splitlines()


def shows_I22(the):
    """Four warnings at the first answer; `import qwen_helpers` drops them, so it is told not to."""
    kernel_warnings.off()
    try:
        return warnings_of(the)[-1]
    finally:
        kernel_warnings.on()


def cures_I22(the):
    """Without a GPU there is nothing to do, and so the course says nothing."""
    assert warnings_of(the) == []
