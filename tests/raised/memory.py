"""G: memory, devices, and numbers that are too large for their type."""

import logging

import pytest

from qwen_helpers import TINY_CHAT, preflight
from qwen_helpers.diagnosis import model_findings
from raised.the import HELLO


def raises_G1(the):
    import torch

    if torch.version.cuda:
        pytest.skip("This torch is built for CUDA.")
    torch.zeros(1).cuda()


def cures_G1(the):
    import torch

    assert torch.zeros(1).to("cpu").device.type == "cpu"


def offloaded(the):
    """The tiny model with its layers on the disk: what device_map="auto" does when a card is too small."""
    places = dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"), "cpu")
    logging.getLogger("accelerate").setLevel("ERROR")  # its one line about parameters "on the meta device" says it
    return the.load(device_map={**places, "model.layers": "disk"}, offload_folder=str(the.disk / "offload"))


def devices(model):
    return sorted({parameter.device.type for parameter in model.parameters()})


def shows_G2(the):
    """The right answer, slowly. `meta` means that the numbers are not in memory."""
    slow = offloaded(the)
    assert the.answer(slow) == the.answer() and devices(slow) == ["cpu", "meta"]
    assert model_findings(slow) == [
        "G2: 78% of the weights were moved out to memory or disk and are fetched for every token: take a smaller "
        'model, 4 bits, or dtype="auto".'
    ]


def cures_G2(the):
    whole = the.load(dtype="auto")
    assert devices(whole) == ["cpu"] and model_findings(whole) == []


def gone_G4(the):
    assert the.answer(the.load(dtype="float16")) == HELLO


def large_numbers(the, **settings):
    """A model with larger numbers than the tiny model's, in bfloat16; then loaded as asked."""
    folder = the.disk / "large_numbers"
    louder = the.load(dtype="auto")
    louder.model.norm.weight.data *= 60000
    louder.save_pretrained(folder)
    return the.load(folder, **settings)


def shows_G5(the):
    """float16 ends at 65504. Where all scores are NaN the first token wins, and Qwen's first token is `!`."""
    half = large_numbers(the, dtype="float16")
    assert the.answer(half, max_new_tokens=12) == "!" * 12
    assert half(**the.prompt).logits.isnan().any()
    assert model_findings(half) == [
        "G5: the model computes in float16, which ends at 65504: take bfloat16 if the answer is !!!!.",
        "G5: there are weights that are inf or NaN, so every answer is spoilt: download the model again.",
    ]


def raises_G5(the):
    """Drawn by lot, the same fault is an error."""
    the.answer(large_numbers(the, dtype="float16"), do_sample=True)


def cures_G5(the):
    """The same weights in the precision of the files."""
    whole = large_numbers(the, dtype="auto")
    assert not whole(**the.prompt).logits.isnan().any() and the.answer(whole) == HELLO


def raises_G8(the):
    import torch

    torch.empty(10**15)


def cures_G8(the):
    assert "It fits." in str(preflight(TINY_CHAT))


def raises_G9(the):
    """Without a card device_map="auto" has nothing to spread."""
    the.load(device_map="auto").hf_device_map  # noqa: B018


def cures_G9(the):
    assert str(getattr(the.model, "hf_device_map", the.model.device)) == "cpu"


def raises_G11(the):
    offloaded(the).to("cpu")


def cures_G11(the):
    """A model that fits, whole."""
    assert the.load().to("cpu").device.type == "cpu"
