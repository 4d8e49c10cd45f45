"""Which Qwen models there are, and which of them the lessons use.

`CATALOGUE` holds each model's dimensions; sizes are computed from them. `model_folder()` is the folder that the
lessons load, `use_model(...)` changes it. Knows nothing of torch or transformers and never uses the network.
"""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from qwen_helpers.folders import ModelFolderError, check_folder, course_root, places

TINY_CHAT = Path(__file__).resolve().parent / "tiny" / "chat"  # the course's own tiny models, part of the repository
TINY_BASE = TINY_CHAT.with_name("base")
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}  # bytes per number
OTHER_FILES = 16_000_000  # bytes beside the weights, nearly all tokenizer: Qwen3-0.6B 15.9 MB, Qwen2.5-0.5B 11.5 MB


def dtype_bytes(dtype):
    """Bytes per number of a dtype, given as "bfloat16" or torch.bfloat16. Raises ValueError for an unknown one."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPE_BYTES:
        raise ValueError(f"Unknown dtype {name!r}: use one of {', '.join(DTYPE_BYTES)}.")
    return DTYPE_BYTES[name]


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

    @property
    def body_parameters(self):
        """Parameters without embedding and lm_head: "Non-Embedding" on the model cards.

        Per layer, with q = heads * head_dim and kv = kv_heads * head_dim (transformers' modeling_qwen2.py, _qwen3.py):
        attention hidden * (2q + 2kv), plus the bias q + 2kv in Qwen2.5, or q_norm and k_norm, 2 * head_dim, in Qwen3;
        MLP 3 * hidden * intermediate; two norms, 2 * hidden. After the last layer one more norm.
        """
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * q + 2 * kv) + (2 * self.head_dim if self.family == "Qwen3" else q + 2 * kv)
        return self.layers * (attention + 3 * self.hidden * self.intermediate + 2 * self.hidden) + self.hidden

    @property
    def parameters(self):
        """All parameters: body, embedding (vocabulary * hidden) and, if not tied, an lm_head of the same size."""
        return self.body_parameters + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def weight_bytes(self, dtype="bfloat16"):
        """Bytes of the weights in memory: parameters times bytes per number."""
        return self.parameters * dtype_bytes(dtype)

    def kv_bytes_per_token(self, dtype="bfloat16"):
        """Bytes that each token adds to the KV cache: a key and a value (2) per layer and KV head."""
        return 2 * self.layers * self.kv_heads * self.head_dim * dtype_bytes(dtype)

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
    raise ValueError(f"{id!r} is not in the course's catalogue of Qwen models{_suggestion(id)}")


def _suggestion(text, *words):
    names = {name.lower(): name for name in (*words, *(model.id for model in CATALOGUE))}
    typed = str(text).lower()  # models before Qwen2 were called -Chat, and Qwen3's chat models have no suffix
    typed = re.sub("-chat|-instruct", "" if "qwen3" in typed else "-instruct", typed)
    close = difflib.get_close_matches(typed, names, n=1)
    return f": did you mean {names[close[0]]!r}?" if close else "; qwen_helpers.models.CATALOGUE lists them."


def model_folder():
    """The folder of the model that lessons load, as an absolute path, checked by `check_folder`.

    `QWEN_MODEL` (whatever `find_folder` takes) if that variable is set, else what `use_model` remembered, else the
    course's tiny chat model. Raises ModelFolderError.
    """
    wanted = os.environ.get("QWEN_MODEL")
    if wanted:
        try:
            return check_folder(find_folder(wanted))
        except ModelFolderError as error:  # say where the name comes from: it may have been set long ago
            raise ModelFolderError(f"QWEN_MODEL is set, but: {error}") from None
    if not _memory().is_file():
        return check_folder(TINY_CHAT)
    remembered = _memory().read_text(encoding="utf-8").strip()
    if not remembered or not Path(remembered).is_dir():
        cure = 'choose one again with use_model(...), or go back to the tiny model with use_model("tiny")'
        raise ModelFolderError(f"The model you chose is no longer at {remembered!r}: {cure}.")
    return check_folder(remembered)


def use_model(what):
    """Make `model_folder()` return this model from now on, also in other notebooks and after a restart.

    `what` is anything that `find_folder` takes; "tiny" goes back to the course's own model. Returns the folder.
    Raises ModelFolderError, and then remembers nothing.
    """
    folder = check_folder(find_folder(what))
    try:
        if folder == TINY_CHAT:
            _memory().unlink(missing_ok=True)
        else:
            _memory().write_text(f"{folder}\n", encoding="utf-8")
    except OSError as error:
        cure = f"set the environment variable QWEN_MODEL to {folder} instead"
        raise ModelFolderError(f"{_memory()} cannot be written ({error.strerror}): {cure}.") from error
    if os.environ.get("QWEN_MODEL"):
        print(f"Saved, but QWEN_MODEL is set to {os.environ['QWEN_MODEL']} and wins until you unset it.")
    return folder


def find_folder(what):
    """The folder that `what` means: "tiny", "tiny-base", a folder, or the ModelScope id of a downloaded model.

    A relative folder counts from the current one. An id is looked up where lesson 2 downloads to and in ModelScope's
    cache; nothing is downloaded. Raises ModelFolderError for an id that is not there; returns a folder unchecked.
    """
    text = str(what)
    tiny = {"tiny": TINY_CHAT, "tiny-base": TINY_BASE}
    folder = tiny.get(text) or Path(os.path.expanduser(text))
    if folder.exists():
        return folder.absolute()
    if text in tiny or not re.fullmatch(r"(?!models/|notebooks/)[\w-][\w.-]*(/[\w.-]+)?", text):
        return folder  # no id, so a folder that check_folder will complain of
    if "/" not in text:
        meant = _suggestion(text, *tiny)
        raise ModelFolderError(f"There is no folder {text!r} in {Path.cwd()}, and no such model{meant}")
    for place in places(*text.split("/")):
        if place.is_dir() and any(place.iterdir()):
            return place.absolute()
    download = f'snapshot_download("{text}", local_dir="models/{text.split("/")[1]}")'
    if all(model.id != text for model in CATALOGUE) and "did you mean" in _suggestion(text):
        raise ModelFolderError(f"{text!r} is not downloaded, and not in the course's catalogue{_suggestion(text)}")
    here = "" if text.startswith("Qwen/") else f"There is no folder {text!r} in {Path.cwd()}, and the model "
    raise ModelFolderError(f"{here}{text} is not downloaded yet: run {download}, as lesson 2 shows.")


def _memory():
    return course_root() / ".qwen_model"
