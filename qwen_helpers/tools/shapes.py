"""Models with the shape of a real Qwen and random weights: as large and as fast as the real one, no download.

What they write is noise, so they serve for measuring only.
"""

import json
import shutil
from pathlib import Path

from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.models import Model, find_model

SHAPES = {size.lower(): f"Qwen/Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B", "7B")}
SHAPES |= {f"qwen3.5-{size.lower()}": f"Qwen/Qwen3.5-{size}" for size in ("0.8B", "2B", "4B")}


def shape(name: str) -> Model:
    """The catalogue's `Model` for "0.5b", "qwen3.5-0.8b" and so on. Raises ValueError for one that is not in SHAPES."""
    if str(name).lower() not in SHAPES:
        raise ValueError(f"Unknown shape {name!r}: use one of {', '.join(SHAPES)}.")
    return find_model(SHAPES[str(name).lower()])


def config_of(model: Model):
    """transformers' Qwen2Config for a catalogue entry of Qwen2.5, Qwen3_5Config for one of Qwen3.5."""
    from transformers import Qwen2Config, Qwen3_5Config

    text = {
        "vocab_size": model.vocabulary, "hidden_size": model.hidden, "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads, "num_key_value_heads": model.kv_heads,
        "intermediate_size": model.intermediate, "max_position_embeddings": model.context,
        "tie_word_embeddings": model.tied, "bos_token_id": 2026, "pad_token_id": 2026, "eos_token_id": 2028,
    }  # fmt: skip
    if model.linear is None:
        return Qwen2Config(**text, rope_theta=1e6)
    linear, vision = model.linear, model.vision
    text |= {
        "head_dim": model.head_dim, "linear_num_key_heads": linear.key_heads,
        "linear_num_value_heads": linear.value_heads, "linear_key_head_dim": linear.key_dim,
        "linear_value_head_dim": linear.value_dim, "linear_conv_kernel_dim": linear.conv_kernel,
    }  # fmt: skip
    tower = {"depth": vision.depth, "hidden_size": vision.hidden, "intermediate_size": vision.intermediate}
    tower["out_hidden_size"] = model.hidden
    return Qwen3_5Config(text_config=text, vision_config=tower, tie_word_embeddings=model.tied)


def random_model(model: Model, device: str = "cpu"):
    """The model itself, in bfloat16 on `device`, always with the same random weights; Qwen3.5 with its vision tower."""
    import torch
    from transformers import Qwen2ForCausalLM, Qwen3_5ForConditionalGeneration

    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            kind = Qwen3_5ForConditionalGeneration if model.vision else Qwen2ForCausalLM
            return kind(config_of(model)).eval()
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
