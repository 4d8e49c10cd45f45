"""PaddleNLP's static graph on a CPU: `export` writes the whole generation loop as one program, `StaticModel` runs it.

Paddle can run a model in two ways. In the dynamic graph Python starts one operator after another. For a static graph
the Python code is translated once into a program, loops included, which then runs without Python.

PaddleNLP 3.0.0b4 cannot translate its own Qwen2 in Paddle 3.x. Two of its functions and one of Paddle's need to be
written another way, with the same result; `export` puts these versions in their place while it works.
"""

import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np

from qwen_helpers.engine_paddle import PaddleEngine, quiet_paddle
from qwen_helpers.engines import stop_tokens


def attention(query, config, key, value, mask, *_, **__):
    """PaddleNLP's scaled_dot_product_attention without its checks of shapes, which are unknown while translating.

    `query`, `key` and `value` have the shape [batch, tokens, heads, head_dim], `mask` [batch, 1, tokens, all tokens].
    """
    import paddle

    query, key, value = (x.transpose([0, 2, 1, 3]) for x in (query, key, value))
    scores = query @ key.transpose([0, 1, 3, 2]) / query.shape[-1] ** 0.5 + mask
    mixed = paddle.nn.functional.softmax(scores, axis=-1) @ value
    return mixed.transpose([0, 2, 1, 3]).reshape([0, 0, config.hidden_size])  # 0: keep this one


def rotary(self, x, seq_len=None):
    """Qwen2RotaryEmbedding.forward without growing its tables: they already reach to max_position_embeddings."""
    return self.cos_cached[:, :seq_len], self.sin_cached[:, :seq_len]


def log_softmax(x, axis=-1):
    """By definition. Paddle's own takes time with the square of the vocabulary on a CPU: 11 s per token for Qwen2."""
    import paddle

    return x - paddle.logsumexp(x, axis=axis, keepdim=True)


def export(model_dir, prefix) -> None:
    """Translate the model in `model_dir` and write PREFIX.json (the program) and PREFIX.pdiparams (the weights).

    The program chooses among the `top_k` most probable tokens; 1 is greedy. Top-p would need an operator that Paddle
    has for GPUs only. It stops at one token, the first of `eos_token_id`.
    """
    quiet_paddle()
    from paddlenlp.transformers.qwen2 import modeling

    with (
        warnings.catch_warnings(),
        patch.object(modeling, "scaled_dot_product_attention", attention),
        patch.object(modeling.Qwen2RotaryEmbedding, "forward", rotary),
        patch("paddle.nn.functional.log_softmax", log_softmax),
    ):
        warnings.simplefilter("ignore")  # remarks on operators that work another way while translating
        model = PaddleEngine(model_dir).model  # its layers take the patched attention
        model.generation_config.eos_token_id = stop_tokens(model.generation_config.eos_token_id)[0]
        model.to_static(str(prefix), {"use_top_p": False})


class StaticModel:
    """An exported model in paddle.inference, Paddle's engine for finished programs."""

    def __init__(self, prefix, onednn: bool = False):
        """Load what `export` wrote. `onednn=True` leaves Intel's operators on, which here give wrong tokens."""
        quiet_paddle()
        from paddle.inference import Config, create_predictor

        program, weights = (Path(f"{prefix}{end}") for end in (".json", ".pdiparams"))
        if not program.is_file() or not weights.is_file():
            raise FileNotFoundError(
                f"There is no exported model {program.name} in {program.parent}: call export first."
            )
        config = Config(str(program), str(weights))
        config.disable_gpu()
        config.disable_glog_info()
        if not onednn:
            config.disable_mkldnn()  # oneDNN's earlier name
        self.predictor = create_predictor(config)

    def generate(self, ids: list[int], max_new_tokens: int, top_k: int = 1) -> list[int]:
        """The new tokens after the prompt `ids`, a stop token included."""
        import paddle

        inputs = {
            "input_ids": [ids], "attention_mask": np.ones((1, len(ids))), "position_ids": [range(len(ids))],
            "max_new_tokens": [max_new_tokens], "top_k": [top_k],
        }  # fmt: skip
        feed = [np.asarray(inputs[name], dtype="int64") for name in self.predictor.get_input_names()]
        return self.predictor.run([paddle.to_tensor(array) for array in feed])[0].numpy()[0].tolist()
