"""Which Qwen models there are: `CATALOGUE` holds each model's dimensions, from which all sizes are computed.

Knows nothing of torch, transformers, the disk or the network: `folders.py` finds models on the disk.
"""

import difflib
import re
from dataclasses import dataclass

from qwen_helpers.language import _

# Bits per weight. In 8 and 4 bits one float32 scale belongs to each block of 128 weights, as `engines/onnx.py` makes
# them.
BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0, "int8": 8 + 32 / 128, "int4": 4 + 32 / 128}
BITS |= {"q8_0": 8 + 16 / 32, "q4_0": 4 + 16 / 32}  # llama.cpp's: 32 weights share a scale of 16 bits
OTHER_FILES = 16_000_000  # bytes beside the weights, nearly all tokenizer: Qwen3-0.6B 15.9 MB, Qwen2.5-0.5B 11.5 MB


def bits(dtype) -> float:
    """Bits per weight of a dtype, given as "bfloat16" or torch.bfloat16. Raises ValueError for an unknown one."""
    name = str(dtype).removeprefix("torch.")
    if name not in BITS:
        raise ValueError(_("Unknown dtype {name!r}: use one of {names}.").format(name=name, names=_(", ").join(BITS)))
    return BITS[name]


def work_bits(dtype) -> float:
    """Bits of the numbers that are computed with: where only the weights have fewer, it is bfloat16."""
    return max(16.0, bits(dtype))


@dataclass(frozen=True)
class LinearLayers:
    """The layers of Qwen3.5 and later that have linear attention (Gated DeltaNet), three of four; the others are full.

    Numbers of config.json, where their names begin with `linear_`; read with transformers' modeling_qwen3_5.py.
    """

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int = 128  # of one head
    value_dim: int = 128
    conv_kernel: int = 4

    @property
    def values(self):
        return self.value_heads * self.value_dim

    @property
    def columns(self):
        """Of queries, keys and values together, through which the convolution goes."""
        return 2 * self.key_heads * self.key_dim + self.values

    @property
    def state_numbers(self):
        """What all of them keep in place of a KV cache, in float32, however long the text is.

        A matrix per value head, and the convolution's last columns (counted in float32 too: a few hundredths of it).
        """
        return self.layers * (self.values * self.key_dim + self.conv_kernel * self.columns)

    def layer_parameters(self, hidden):
        """Of one layer: in_proj_qkv, _z, _b and _a, out_proj, conv1d; dt_bias and A_log per head, a norm."""
        matrices = hidden * (self.columns + self.values + 2 * self.value_heads) + self.values * hidden
        return matrices + self.conv_kernel * self.columns + 2 * self.value_heads + self.value_dim


@dataclass(frozen=True)
class VisionTower:
    """What turns a picture into columns that the language model reads: `vision_config` in config.json."""

    depth: int
    hidden: int
    intermediate: int

    def parameters(self, out):
        """For a language model with `out` columns (transformers' modeling_qwen3_5.py).

        A matrix for patches of 3 x 2 x 16 x 16 numbers; 2304 positions; blocks of q, k and v, their output, an MLP of
        two matrices and two norms; a merger that joins four patches. All but the positions have biases.
        """
        h, i = self.hidden, self.intermediate
        block = (3 * h * h + 3 * h) + (h * h + h) + (2 * h * i + i + h) + 4 * h
        merger = 2 * h + (4 * h * 4 * h + 4 * h) + (4 * h * out + out)
        return (3 * 2 * 16 * 16 * h + h) + 2304 * h + self.depth * block + merger


@dataclass(frozen=True)
class Model:
    """One Qwen model from 2.5 on; the numbers are those of its config.json."""

    id: str  # as ModelScope and Hugging Face write it: "Qwen/Qwen2.5-0.5B-Instruct"
    family: str  # "Qwen2.5", "Qwen3", "Qwen3.5" and so on
    kind: str  # "base" continues text, "instruct" answers
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int  # columns of the MLP; with experts, of each of them
    vocabulary: int  # rows of the embedding; the tokenizer uses a few hundred fewer
    tied: bool  # True: the output layer (lm_head) is the embedding itself, not a second matrix
    context: int  # tokens: max_position_embeddings
    yarn_context: int | None  # tokens with the YaRN setting that the model card describes, None if not known
    licence: str
    lm_head_in_files: bool  # True: the files hold the tied lm_head a second time; in memory it is there once
    thinking: str | None = None  # "never", "off by default", "on by default", "always"; None: base, or not known
    linear: LinearLayers | None = None  # None: all layers have full attention
    experts: int = 0  # MLPs in each layer, of which every token takes `active_experts`; 0: one MLP, for all tokens
    active_experts: int = 0
    shared_intermediate: int = 0  # columns of an expert that all tokens take as well
    vision: VisionTower | None = None  # None: reads no pictures
    mtp_layers: int = 0  # for guessing several tokens ahead (multi-token prediction); transformers does not load them

    @property
    def cache_layers(self):
        """Layers with full attention, whose KV cache grows with the text."""
        return self.layers - (self.linear.layers if self.linear else 0)

    @property
    def state_numbers(self):
        return self.linear.state_numbers if self.linear else 0

    @property
    def body_parameters(self):
        """Parameters without embedding and lm_head: "Non-Embedding" on the model cards."""
        return self._body(self.experts)

    @property
    def active_body_parameters(self):
        """Of the body, those that a token goes through: fewer only if there are experts ("A3B": 3 billion)."""
        return self._body(self.active_experts)

    def _body(self, experts):
        """Each layer's attention, MLP and two norms, and one more norm after the last layer."""
        linear = self.linear.layers * self.linear.layer_parameters(self.hidden) if self.linear else 0
        layer = self._mlp(experts) + 2 * self.hidden
        return linear + self.cache_layers * self._attention() + self.layers * layer + self.hidden

    def _attention(self):
        """One layer with full attention, with q = heads * head_dim and kv = kv_heads * head_dim.

        hidden * (2q + 2kv), plus the bias q + 2kv in Qwen2.5, or q_norm and k_norm, 2 * head_dim, from Qwen3 on; from
        Qwen3.5 on q_proj also makes a gate, one more hidden * q. In transformers' modeling_qwen2.py, _qwen3.py,
        _qwen3_moe.py, _qwen3_5.py, _qwen3_5_moe.py.
        """
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        gate = self.hidden * q if self.linear else 0
        return self.hidden * (2 * q + 2 * kv) + gate + (q + 2 * kv if self.family == "Qwen2.5" else 2 * self.head_dim)

    def _mlp(self, experts):
        """One layer's MLP, 3 * hidden * intermediate, or so many experts of that size and the router that chooses.

        In Qwen3.5 with a shared expert and its gate (modeling_qwen3_moe.py, modeling_qwen3_5_moe.py).
        """
        one, shared = 3 * self.hidden * self.intermediate, 3 * self.hidden * self.shared_intermediate
        if not self.experts:
            return one
        return experts * one + self.hidden * self.experts + (shared + self.hidden if shared else 0)

    @property
    def parameters(self):
        """All that text needs: body, embedding (vocabulary * hidden) and, if not tied, an lm_head of the same size."""
        return self.body_parameters + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def vision_parameters(self):
        return self.vision.parameters(self.hidden) if self.vision else 0

    def weight_bytes(self, dtype="bfloat16"):
        """Bytes of the weights in memory, as text needs them: parameters times bits per weight.

        In 8 and 4 bits that is ONNX Runtime with what `engines/onnx.py` makes. Its files are larger: except for 4 bits
        of a tied model they hold the embedding in float32, of which only the rows that a text needs are read, and
        always the rotary tables (0.5B: 271 MB in 4 bits, 1,063 MB in 8). Other formats have other bits: llama.cpp's
        Q4_K_M takes 4.89 per weight (ggml-org/llama.cpp, tools/quantize/README.md, for Llama-3.1-8B).
        """
        return round(self.parameters * bits(dtype) / 8)

    def kv_bytes_per_token(self, dtype="bfloat16"):
        """Bytes that each token adds to the KV cache: a key and a value (2) per layer that has one, and KV head."""
        return round(2 * self.cache_layers * self.kv_heads * self.head_dim * work_bits(dtype) / 8)

    @property
    def download_bytes(self):
        """Bytes to download: weights in bfloat16 and about 16 MB of other files. Within 1 % of the published files.

        With the vision tower and the MTP layers, which text does not load. An MTP layer is one with full attention, and
        before it a matrix, 2 * hidden * hidden, and three norms.
        """
        mtp = self.mtp_layers * (self._attention() + self._mlp(self.experts) + 2 * self.hidden * self.hidden)
        mtp += 5 * self.hidden * self.mtp_layers
        twice = self.vocabulary * self.hidden if self.lm_head_in_files else 0
        return 2 * (self.parameters + self.vision_parameters + mtp + twice) + OTHER_FILES


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
        yield Model(f"{name}-Instruct", family, "instruct", *dimensions, 32768, yarn, licence, False, "never")
    else:
        if size != "32B":  # Qwen3-32B-Base was never published
            yield Model(f"{name}-Base", family, "base", *dimensions, 32768, None, licence, False)
        twice = size in ("0.6B", "1.7B")
        yield Model(name, family, "instruct", *dimensions, 40960, yarn, licence, twice, "on by default")


# The later models, from the numbers of config.json that these projects keep: akougkas/warpio-cli (Qwen3-4B-2507),
# THUDM/slime scripts/models (Qwen3-30B-A3B, Qwen3.5), w32zhong/qwen3.6-fp8-config-fix config.json,
# BigBIueWhale/qwen_38_agent_setup config.json (3.8). Whether a template lets the model think if it is not told, from
# huggingface/trl trl/chat_templates; licences from the cards.
_QWEN3_4B = (36, 2560, 32, 8, 128, 9728, 151936, True)
_QWEN3_30B = (48, 2048, 32, 4, 128, 768, 151936, False)
_QWEN3 = (
    # name, kind, dimensions, context, yarn_context, thinking
    ("4B-Instruct-2507", "instruct", _QWEN3_4B, 262144, None, "never"),
    ("4B-Thinking-2507", "instruct", _QWEN3_4B, 262144, None, "always"),
    ("30B-A3B-Base", "base", _QWEN3_30B, 32768, None, None),
    ("30B-A3B", "instruct", _QWEN3_30B, 40960, 131072, "on by default"),
    ("30B-A3B-Instruct-2507", "instruct", _QWEN3_30B, 262144, None, "never"),
    ("30B-A3B-Thinking-2507", "instruct", _QWEN3_30B, 262144, None, "always"),
)
_QWEN3_5_SHAPES = {
    # size: layers, hidden, heads, kv_heads, intermediate, tied, value heads of the linear layers, vision tower
    "0.8B": (24, 1024, 8, 2, 3584, True, 16, (12, 768, 3072)),
    "2B": (24, 2048, 8, 2, 6144, True, 16, (24, 1024, 4096)),
    "4B": (32, 2560, 16, 4, 9216, True, 32, (24, 1024, 4096)),
    "9B": (32, 4096, 16, 4, 12288, False, 32, (27, 1152, 4304)),
    "27B": (64, 5120, 24, 4, 17408, False, 48, (27, 1152, 4304)),
    "35B-A3B": (40, 2048, 16, 2, 512, False, 32, (27, 1152, 4304)),
}
_QWEN3_5 = (
    # family, size, has a base model, yarn_context (None also where the card was not read), thinking
    ("Qwen3.5", "0.8B", True, None, "off by default"),
    ("Qwen3.5", "2B", True, None, "off by default"),
    ("Qwen3.5", "4B", True, None, "on by default"),
    ("Qwen3.5", "9B", True, 1010000, "on by default"),
    ("Qwen3.5", "27B", False, None, "on by default"),
    ("Qwen3.5", "35B-A3B", True, None, "on by default"),
    ("Qwen3.6", "27B", False, 1010000, "on by default"),
    ("Qwen3.6", "35B-A3B", False, 1010000, "on by default"),
    ("Qwen3.8", "27B", False, 1000000, "on by default"),
)


def _later_qwen3(name, kind, dimensions, context, yarn, thinking):
    experts = {"experts": 128, "active_experts": 8} if "A3B" in name else {}
    id = f"Qwen/Qwen3-{name}"
    return Model(id, "Qwen3", kind, *dimensions, context, yarn, "Apache-2.0", False, thinking, **experts)


def _qwen3_5(family, size, has_base, yarn, thinking):
    layers, hidden, heads, kv_heads, intermediate, tied, value_heads, tower = _QWEN3_5_SHAPES[size]
    dimensions = (layers, hidden, heads, kv_heads, 256, intermediate, 248320, tied, 262144)
    rest = {"linear": LinearLayers(layers * 3 // 4, 16, value_heads), "vision": VisionTower(*tower), "mtp_layers": 1}
    if "A3B" in size:
        rest |= {"experts": 256, "active_experts": 8, "shared_intermediate": 512}
    name = f"Qwen/{family}-{size}"
    if has_base:
        yield Model(f"{name}-Base", family, "base", *dimensions, None, "Apache-2.0", False, None, **rest)
    yield Model(name, family, "instruct", *dimensions, yarn, "Apache-2.0", False, thinking, **rest)


CATALOGUE = (
    *(model for *row, licence in _SIZES for model in _base_and_instruct(*row, licence=licence)),
    *(_later_qwen3(*row) for row in _QWEN3),
    *(model for row in _QWEN3_5 for model in _qwen3_5(*row)),
)


def find_model(id):
    """The `Model` with this id. Raises ValueError, with a suggestion, for an id that is not in `CATALOGUE`."""
    for model in CATALOGUE:
        if model.id == id:
            return model
    raise ValueError(
        _("{id!r} is not in the course's catalogue of Qwen models{meant}").format(id=id, meant=suggestion(id))
    )


def suggestion(text, *words):
    """The end of a sentence about a name that is not known: what it may have meant."""
    if name := meant(text, *words):
        return _(": did you mean {name!r}?").format(name=name)
    return _("; qwen_helpers.models.CATALOGUE lists them.")


def meant(text, *words) -> str | None:
    """What a name that is not known may have meant, of `CATALOGUE` and `words`."""
    names = {name.lower(): name for name in (*words, *(model.id for model in CATALOGUE))}
    typed = str(text).lower()  # models before Qwen2 were called -Chat, and Qwen3's chat models have no suffix
    typed = re.sub("(-chat|-instruct)$", "" if "qwen3" in typed else "-instruct", typed)
    same = [name for name in names if versions(typed) <= versions(name)]
    close = difflib.get_close_matches(typed, same, n=1)
    return names[close[0]] if close else None


def versions(name) -> set[str]:
    """Version and size in a model's name: {"qwen3.5", "4b"}. A newer or larger model is no mistyped one of these."""
    return set(re.findall(r"qwen[\d.]+(?=-)|(?<=-)[\d.]+[bt]\b", str(name).lower()))
