"""P: PaddleNLP, which lives in an environment of its own. `the.paddle` runs code in lesson 7's kernel (the.py)."""

from raised.the import HELLO

SAYS_HELLO = f"assert tokenizer.batch_decode(output[0], skip_special_tokens=True)[0] == {HELLO!r}"


def raises_P3(the):
    """float16 on a processor; bfloat16 fails at the next operator."""
    the.paddle("""
half = AutoModelForCausalLM.from_pretrained(folder, dtype="float16", convert_from_torch=True)
half.generate(**prompt, max_new_tokens=2)
""")


def cures_P3(the):
    """float32, in which the kernel's model was loaded."""
    the.paddle('output = model.generate(**prompt, max_new_tokens=40, decode_strategy="greedy_search")')
    the.paddle(SAYS_HELLO)


def raises_P4(the):
    """The ids without their attention mask. A length and its square in the text are the sign."""
    the.paddle('model.generate(prompt["input_ids"], max_new_tokens=2)')


def cures_P4(the):
    the.paddle("assert model.generate(**prompt, max_new_tokens=2)[0].shape == [1, 2]")


def raises_P5(the):
    """Every file of ModelScope and Hugging Face is marked as PyTorch's."""
    the.paddle('AutoModelForCausalLM.from_pretrained(original, dtype="float32")', original=the.copy("original"))


def cures_P5(the):
    """The conversion writes a second copy of all weights into the folder."""
    the.paddle("""
before = {file.name for file in Path(original).iterdir()}
AutoModelForCausalLM.from_pretrained(original, dtype="float32", convert_from_torch=True)
assert {file.name for file in Path(original).iterdir()} - before == {"model_state.pdparams"}
""", original=the.disk / "original")  # fmt: skip


def shows_P6(the):
    """A line of the log that frightens."""
    the.paddle("""
import logging
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logger.logger.addHandler(handler)
logger.set_level("WARNING")
converted = AutoModelForCausalLM.from_pretrained(original, dtype="float32", convert_from_torch=True)
logger.set_level("ERROR")
logger.logger.removeHandler(handler)
_ = Path(original, "log.txt").write_text(lines[-1])
""", original=the.copy("original"))  # fmt: skip
    return (the.disk / "original" / "log.txt").read_text()


def cures_P6(the):
    """The last layer shares its weights with the first, so nothing is missing."""
    the.paddle("assert bool((converted.lm_head.weight == converted.qwen2.embed_tokens.weight).all())")


def raises_P7(the):
    """generate returns a pair, ids and scores."""
    the.paddle("tokenizer.batch_decode(output)")


def shows_P7(the):
    """And no prompt: who cuts it off cuts the answer."""
    the.paddle('assert tokenizer.decode(output[0][0][prompt["input_ids"].shape[1]:]) == ""')


def raises_P7_2(the):
    """transformers' name for tensors."""
    the.paddle('tokenizer("Hello!", return_tensors="pt")')


def cures_P7(the):
    the.paddle(SAYS_HELLO)
    the.paddle('assert tokenizer("Hello!", return_tensors="pd")["input_ids"].shape[0] == 1')


def shows_P8(the):
    """No version of tokenizers suits both."""
    return the.pip("paddlenlp==3.0.0b4", "transformers==5.19.0")[0]


def cures_P8(the):
    """Two environments."""
    assert the.pip("paddlenlp==3.0.0b4") == ["Would install paddlenlp-3.0.0b4 tokenizers-0.21.4"]
    assert the.pip("transformers==5.19.0") == ["Would install tokenizers-0.23.3 transformers-5.19.0"]


def raises_P10(the):
    """The folder was saved by transformers 5."""
    folder = the.copy("original")
    the.edit(folder / "tokenizer_config.json", tokenizer_class="TokenizersBackend")
    the.paddle("AutoTokenizer.from_pretrained(original)", original=folder)


def cures_P10(the):
    folder = the.disk / "original"
    the.edit(folder / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer")
    the.paddle("assert len(AutoTokenizer.from_pretrained(original, use_fast=True)) == 2048", original=folder)


def raises_P11(the):
    """An id: PaddleNLP looks for it on Baidu's servers, and the text blames a folder."""
    the.paddle('AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B")')


def cures_P11(the):
    the.paddle("""
loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", convert_from_torch=True)
assert loaded.config.model_type == "qwen2"
""")


TIMED = """
import time
def seconds_of(model):
    start = time.perf_counter()
    ids, _ = model.generate(**prompt, max_new_tokens=8, decode_strategy="greedy_search")
    return time.perf_counter() - start, ids.shape[1]
"""


def shows_P12(the):
    """The same question four times, and four times: one run tells nothing."""
    the.paddle(TIMED)
    the.paddle("""
new = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", convert_from_torch=True)
assert len({seconds_of(new)[0] for _ in range(4)}) > 1
""")


def cures_P12(the):
    """After a warm-up, by the tokens that were really written."""
    the.paddle(TIMED)
    the.paddle("""
seconds_of(model)
rates = [tokens / seconds for seconds, tokens in (seconds_of(model) for _ in range(3))]
assert min(rates) > 0
""")


def raises_P13(the):
    """The fast operators of 2024 are not in the build for processors."""
    the.paddle("import paddlenlp.experimental.transformers")


def cures_P13(the):
    """The plain model answers."""
    the.paddle("output = model.generate(**prompt, max_new_tokens=40)")
    the.paddle(SAYS_HELLO)


def raises_P14(the):
    """In this environment."""
    import paddlenlp  # noqa: F401


def cures_P14(the):
    """In the other one."""
    the.paddle("import paddlenlp; assert paddlenlp.__version__ == '3.0.0b4'")
