"""Which Qwen models there are: `CATALOGUE` holds each model's dimensions, from which all sizes are computed.

Knows nothing of torch, transformers, the disk or the network: `folders.py` finds models on the disk.
"""

import difflib
import re
from dataclasses import dataclass

# Bits per weight. In 8 and 4 bits one float32 scale belongs to each block of 128 weights, as `engines/onnx.py` makes
# them.
BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0, "int8": 8 + 32 / 128, "int4": 4 + 32 / 128}
OTHER_FILES = 16_000_000  # bytes beside the weights, nearly all tokenizer: Qwen3-0.6B 15.9 MB, Qwen2.5-0.5B 11.5 MB


def bits(dtype) -> float:
    """Bits per weight of a dtype, given as "bfloat16" or torch.bfloat16. Raises ValueError for an unknown one."""
    name = str(dtype).removeprefix("torch.")
    if name not in BITS:
        raise ValueError(f"Unknown dtype {name!r}: use one of {', '.join(BITS)}.")
    return BITS[name]


def work_bits(dtype) -> float:
    """Bits of the numbers that are computed with: where only the weights have fewer, it is bfloat16."""
    return max(16.0, bits(dtype))


@dataclass(frozen=True)
class Model:
    """One model of the Qwen2.5 or Qwen3 family; the numbers are those of its config.json."""

    id: str  # as ModelScope and Hugging Face write it: "Qwen/Qwen2.5-0.5B-Instruct"
    family: str  # "Qwen2.5" or "Qwen3"
    kind: str  # "base" continues text, "instruct" answers
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int  # rows of the embedding; the tokenizer uses a few hundred fewer
    tied: bool  # True: the output layer (lm_head) is the embedding itself, not a second matrix
    context: int  # tokens: max_position_embeddings
    yarn_context: int | None  # tokens with the YaRN setting that the model card describes, None if it has none
    licence: str
    lm_head_in_files: bool  # True: the files hold the tied lm_head a second time; in memory it is there once
    cache_layers: int | None = None  # those whose KV cache grows; None: all. Qwen3.5 has other layers between them
    state_numbers: int = 0  # numbers that the others keep, however long the text is, in float32
    counted_parameters: int | None = None  # of a folder's model, in its files; None: computed as below

    @property
    def body_parameters(self):
        """Parameters without embedding and lm_head: "Non-Embedding" on the model cards.

        Per layer, with q = heads * head_dim and kv = kv_heads * head_dim (transformers' modeling_qwen2.py, _qwen3.py):
        attention hidden * (2q + 2kv), plus the bias q + 2kv in Qwen2.5, or q_norm and k_norm, 2 * head_dim, in Qwen3;
        MLP 3 * hidden * intermediate; two norms, 2 * hidden. After the last layer one more norm.
        """
        if self.counted_parameters is not None:
            return self.counted_parameters - self.vocabulary * self.hidden * (1 if self.tied else 2)
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * q + 2 * kv) + (2 * self.head_dim if self.family == "Qwen3" else q + 2 * kv)
        return self.layers * (attention + 3 * self.hidden * self.intermediate + 2 * self.hidden) + self.hidden

    @property
    def parameters(self):
        """All parameters: body, embedding (vocabulary * hidden) and, if not tied, an lm_head of the same size."""
        return self.body_parameters + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def weight_bytes(self, dtype="bfloat16"):
        """Bytes of the weights in memory: parameters times bits per weight."""
        return round(self.parameters * bits(dtype) / 8)

    def kv_bytes_per_token(self, dtype="bfloat16"):
        """Bytes that each token adds to the KV cache: a key and a value (2) per layer that has one, and KV head."""
        layers = self.layers if self.cache_layers is None else self.cache_layers
        return round(2 * layers * self.kv_heads * self.head_dim * work_bits(dtype) / 8)

    @property
    def download_bytes(self):
        """Bytes to download: weights in bfloat16 and about 16 MB of other files. Within 1 % of the published files."""
        twice = 2 * self.vocabulary * self.hidden if self.lm_head_in_files else 0
        return self.weight_bytes("bfloat16") + twice + OTHER_FILES


# From each config.json. The cards of Qwen2.5-14B and 32B print 14.7 and 32.5 billion; their files hold 14.77 and 32.76.
_SIZES = (
    # family, size, layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary, tied, licence
    ("Qwen2.5", "0.5B", 24, 896, 14, 2, 64, 4864, 151936, True, "Apache-2.0"),
    ("Qwen2.5", "1.5B", 28, 1536, 12, 2, 128, 8960, 151936, True, "Apache-2.0"),
    ("Qwen2.5", "3B", 36, 2048, 16, 2, 128, 11008, 151936, True, "Qwen Research"),  # not for commercial use
    ("Qwen2.5", "7B", 28, 3584, 28, 4, 128, 18944, 152064, False, "Apache-2.0"),
    ("Qwen2.5", "14B", 48, 5120, 40, 8, 128, 13824, 152064, False, "Apache-2.0"),
    ("Qwen2.5", "32B", 64, 5120, 40, 8, 128, 27648, 152064, False, "Apache-2.0"),
    ("Qwen2.5", "72B", 80, 8192, 64, 8, 128, 29568, 152064, False, "Qwen"),
    ("Qwen3", "0.6B", 28, 1024, 16, 8, 128, 3072, 151936, True, "Apache-2.0"),
    ("Qwen3", "1.7B", 28, 2048, 16, 8, 128, 6144, 151936, True, "Apache-2.0"),
    ("Qwen3", "4B", 36, 2560, 32, 8, 128, 9728, 151936, True, "Apache-2.0"),
    ("Qwen3", "8B", 36, 4096, 32, 8, 128, 12288, 151936, False, "Apache-2.0"),
    ("Qwen3", "14B", 40, 5120, 40, 8, 128, 17408, 151936, False, "Apache-2.0"),
    ("Qwen3", "32B", 64, 5120, 64, 8, 128, 25600, 151936, False, "Apache-2.0"),
)


def _base_and_instruct(family, size, *dimensions, licence):
    name, long = f"Qwen/{family}-{size}", size not in ("0.5B", "0.6B", "1.5B", "1.7B", "3B")
    yarn = 131072 if long else None  # the cards of the larger instruct models describe YaRN, those of base models don't
    if family == "Qwen2.5":
        base_context = 32768 if size in ("0.5B", "3B") else 131072
        yield Model(name, family, "base", *dimensions, base_context, None, licence, False)
        yield Model(f"{name}-Instruct", family, "instruct", *dimensions, 32768, yarn, licence, False)
    else:
        if size != "32B":  # Qwen3-32B-Base was never published
            yield Model(f"{name}-Base", family, "base", *dimensions, 32768, None, licence, False)
        yield Model(name, family, "instruct", *dimensions, 40960, yarn, licence, size in ("0.6B", "1.7B"))


CATALOGUE = tuple(model for *row, licence in _SIZES for model in _base_and_instruct(*row, licence=licence))


def find_model(id):
    """The `Model` with this id. Raises ValueError, with a suggestion, for an id that is not in `CATALOGUE`."""
    for model in CATALOGUE:
        if model.id == id:
            return model
    raise ValueError(f"{id!r} is not in the course's catalogue of Qwen models{suggestion(id)}")


def suggestion(text, *words):
    """The end of a sentence about a name that is not known: what it may have meant, of `CATALOGUE` and `words`."""
    names = {name.lower(): name for name in (*words, *(model.id for model in CATALOGUE))}
    typed = str(text).lower()  # models before Qwen2 were called -Chat, and Qwen3's chat models have no suffix
    typed = re.sub("-chat|-instruct", "" if "qwen3" in typed else "-instruct", typed)
    same = [name for name in names if versions(name) == versions(typed) or not versions(typed)]
    close = difflib.get_close_matches(typed, same, n=1)
    return f": did you mean {names[close[0]]!r}?" if close else "; qwen_helpers.models.CATALOGUE lists them."


def versions(name) -> list[str]:
    """The version in a model's name: ["3.5"] of "Qwen/Qwen3.5-4B". A newer model is no mistyped older one."""
    return re.findall(r"qwen(\d+(?:\.\d+)?)-", str(name).lower())
