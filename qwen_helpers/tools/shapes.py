"""Models with the shape of a real Qwen and random weights: as large and as fast as the real one, no download.

What they write is noise, so they serve for measuring only.
"""

import json
import shutil
from pathlib import Path

from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.models import Model, find_model

SHAPES = {size.lower(): f"Qwen/Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B", "7B")}


def shape(name: str) -> Model:
    """The catalogue's `Model` for "0.5b" and so on. Raises ValueError for a name that is not in SHAPES."""
    if str(name).lower() not in SHAPES:
        raise ValueError(f"Unknown shape {name!r}: use one of {', '.join(SHAPES)}.")
    return find_model(SHAPES[str(name).lower()])


def config_of(model: Model):
    """transformers' Qwen2Config for a catalogue entry."""
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=model.vocabulary, hidden_size=model.hidden, num_hidden_layers=model.layers,
        num_attention_heads=model.heads, num_key_value_heads=model.kv_heads, intermediate_size=model.intermediate,
        max_position_embeddings=model.context, tie_word_embeddings=model.tied, rope_theta=1e6,
        bos_token_id=2026, pad_token_id=2026, eos_token_id=2028,
    )  # fmt: skip


def random_model(model: Model, device: str = "cpu"):
    """The model itself, in bfloat16 on `device`, always with the same random weights."""
    import torch
    from transformers import Qwen2ForCausalLM

    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return Qwen2ForCausalLM(config_of(model)).eval()
    finally:
        torch.set_default_dtype(before)


def save_random(model: Model, folder: Path) -> Path:
    """Save such a model to `folder`, with the tiny model's tokenizer and a made-up word for every other number."""
    from qwen_helpers.engines.transformers import no_progress_bar

    with no_progress_bar():
        random_model(model).save_pretrained(folder)
    for name in ("tokenizer_config.json", "vocab.json", "merges.txt", "args.json"):
        shutil.copy(TINY_CHAT / name, folder)
    tokenizer = json.loads((TINY_CHAT / "tokenizer.json").read_text(encoding="utf-8"))
    known = len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])
    tokenizer["model"]["vocab"] |= {f"Ġ{number}": number for number in range(known, model.vocabulary)}  # Ġ is a space
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return folder
