"""The same messages through several libraries, each in a Python of its own, compared token for token.

`run_engine` starts `python -m qwen_helpers.labs.side_by_side` in .venv or .venv-paddle, as the library wants, so that
each run has its own memory to measure. All compute in float32: in bfloat16 two correct programs may round differently.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from qwen_helpers.columns import left, right
from qwen_helpers.folders import course_root, find_folder
from qwen_helpers.labs.speed import Peak
from qwen_helpers.language import _

HOMES = {"transformers": (".venv", "torch"), "ms-swift": (".venv", "torch"), "paddlenlp": (".venv-paddle", "paddle")}


@dataclass(frozen=True)
class Run:
    """What one library made of the messages. `logits` has the shape [answer tokens, vocabulary], float32."""

    engine: str
    prompt: list[int]
    answer: list[int]
    logits: np.ndarray
    tokens_per_s: float
    peak_bytes: int  # of the whole process: Python, libraries, weights, cache


def run_engine(engine: str, model_dir, messages: list[dict], max_new_tokens: int = 200, like: Run | None = None) -> Run:
    """Greedy answer to `messages`, and the logits from which each of its tokens was chosen.

    With `like`, an earlier run, the logits are those for that run's tokens, so that they can be compared even if the
    answers part. Raises RuntimeError, with the library's own words, if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "engine": engine, "model_dir": str(find_folder(model_dir)), "messages": messages,
            "max_new_tokens": max_new_tokens, "ids": like.prompt + like.answer if like else None, "folder": folder,
        }  # fmt: skip
        command = [python_for(engine), "-X", "utf8", "-m", "qwen_helpers.labs.side_by_side"]
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, encoding="utf-8", cwd=course_root()
        )
        if done.returncode:
            raise RuntimeError(
                _("{engine} stopped with: {text}").format(engine=engine, text=done.stderr.strip()[-1000:])
            )
        answer = json.loads((Path(folder) / "answer.json").read_text())
        return Run(engine=engine, logits=np.load(Path(folder) / "logits.npy"), **answer)


def python_for(engine: str) -> str:
    """The Python of the environment in which `engine` is installed. Raises RuntimeError, with what to do."""
    if engine not in HOMES:
        raise ValueError(
            _("There is no engine {engine!r}: choose transformers, ms-swift or paddlenlp.").format(engine=engine)
        )
    home, package = HOMES[engine]
    if find_spec(package):
        return sys.executable
    for python in (course_root() / home / "bin" / "python", course_root() / home / "Scripts" / "python.exe"):
        if python.exists():
            return str(python)
    needs = _("{engine} needs the environment {home}: type `python course.py` in a terminal to make it.")
    raise RuntimeError(needs.format(engine=engine, home=home))


def comparison_table(reference: Run, *others: Run) -> str:
    """One row for each run; ids and logits are compared with the first one's."""
    wide = (13, 7, 7, 17, 25)
    heads = ("", _("prompt"), _("answer"), _("first difference"), _("largest logit difference"))
    rows = [" ".join(map(left, heads, wide)) + right(_("tokens/s"), 8) + "  " + right(_("peak memory"), 11)]
    for run in (reference, *others):
        part = first_difference(reference.answer, run.answer)
        same = [f"{len(run.prompt)}", f"{len(run.answer)}", "", ""]
        if run is not reference:
            gap = np.abs(run.logits - reference.logits).max()
            same = [_("equal") if equal else _("DIFFERS") for equal in (run.prompt == reference.prompt, part is None)]
            same += [_("none") if part is None else _("at position {part}").format(part=part), f"{gap:.1e}"]
        cells = " ".join(map(left, (run.engine, *same), wide))
        rows.append(cells + f"{run.tokens_per_s:8.1f}  {run.peak_bytes / 1e9:8.2f} GB")
    return "\n".join(rows)


def first_difference(one: list[int], other: list[int]) -> int | None:
    """The position of the first token that differs, None if the lists are equal."""
    if one == other:
        return None
    return next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def torch_side(request: dict):
    """(prompt ids, a function that writes the answer's ids, a function from ids to logits) for transformers."""
    import torch

    from qwen_helpers.engines.transformers import TransformersEngine

    engine = TransformersEngine(request["model_dir"], dtype="float32", device="cpu")
    inputs = engine.encode(request["messages"], {})

    def answer():
        ids = engine.model.generate(**inputs, max_new_tokens=request["max_new_tokens"], do_sample=False)
        return ids[0, inputs["input_ids"].shape[1] :].tolist()

    return inputs["input_ids"][0].tolist(), answer, forward(engine.model, torch.tensor, torch.no_grad)


def swift_side(request: dict):
    """The same for ms-swift, whose tokens come from its own `infer`."""
    import torch
    from swift import InferRequest, RequestConfig

    from qwen_helpers.engines.swift import SwiftEngine

    engine = SwiftEngine(request["model_dir"], device="cpu", dtype="float32")
    config = RequestConfig(max_tokens=request["max_new_tokens"], temperature=0, return_details=True)

    def answer():
        return engine.engine.infer([InferRequest(messages=request["messages"])], config)[0].choices[0].token_ids

    return engine.encode(request["messages"], {}), answer, forward(engine.model, torch.tensor, torch.no_grad)


def paddle_side(request: dict):
    """The same for PaddleNLP."""
    import paddle

    from qwen_helpers.engines.paddle import PaddleEngine

    engine = PaddleEngine(request["model_dir"])
    inputs = engine.encode(request["messages"])

    def answer():
        settings = {"max_new_tokens": request["max_new_tokens"], "decode_strategy": "greedy_search"}
        return engine.model.generate(**inputs, **settings)[0][0].tolist()

    return inputs["input_ids"][0].tolist(), answer, forward(engine.model, paddle.to_tensor, paddle.no_grad)


SIDES = {"transformers": torch_side, "ms-swift": swift_side, "paddlenlp": paddle_side}


def forward(model, tensor, no_grad):
    """A function from ids to the model's logits for them, shape [tokens, vocabulary]; the same call in both worlds."""

    def logits(ids: list[int]) -> np.ndarray:
        with no_grad():
            output = model(input_ids=tensor([ids]))
        if isinstance(output, tuple):  # PaddleNLP
            output = output[0]
        elif hasattr(output, "logits"):  # transformers
            output = output.logits
        return output[0].numpy()

    return logits


def main() -> None:
    request, peak = json.load(sys.stdin), Peak()
    prompt, answer, logits = SIDES[request["engine"]](request)
    answer()  # a warm-up: the first call of anything is slower
    start = time.perf_counter()
    tokens = answer()
    seconds = time.perf_counter() - start
    peak_bytes = peak.bytes  # before the logits below, which no chat would keep
    ids = request["ids"] or prompt + tokens
    chosen_from = logits(ids)[len(prompt) - 1 : -1]  # the logits at a place decide on the token after it
    folder = Path(request["folder"])
    np.save(folder / "logits.npy", chosen_from.astype("float32"))
    result = {"prompt": prompt, "answer": tokens, "tokens_per_s": len(tokens) / seconds, "peak_bytes": peak_bytes}
    (folder / "answer.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
