"""The calculator of lesson 8: model, precision, context and memory; does it fit, and how fast can it be?"""

import html

import ipywidgets as widgets

from qwen_helpers.language import N_, _
from qwen_helpers.models import BITS, CATALOGUE, find_model
from qwen_helpers.sizes import ceiling, kv_bytes, peak_bytes

PROMPT_PART = 0.75  # of the context; the rest is room for the answer
NOT_FIT = N_("IT DOES NOT FIT")
NAMES = [model.id for model in CATALOGUE if model.kind == "instruct"]


def estimate(name: str, precision: str, context: int, memory_gb: float, gb_per_s: float) -> str:
    """Four lines of text: memory needed, whether it fits into `memory_gb` (1e9 bytes), and the most tokens per second.

    `gb_per_s` is the bandwidth of that memory. Raises ValueError for a model or a precision that is not known, or a
    context that the model does not have.
    """
    model = find_model(name)
    if not 1 <= context <= model.context:
        wrong = _("context={context} is not possible: {id} takes 1 to {most} tokens{yarn}.")
        raise ValueError(wrong.format(context=context, id=name, most=model.context, yarn=""))
    weights, cache = model.weight_bytes(precision), kv_bytes(model, precision, context)
    prompt = int(context * PROMPT_PART)
    need = peak_bytes(model, precision, prompt, context - prompt)
    fits = need <= memory_gb * 1e9
    rate = ceiling(model, precision, context, gb_per_s)
    speed = _("at most {rate:.1f} tokens/s at {speed:g} GB/s").format(rate=rate, speed=gb_per_s)
    sizes = _("weights {weights:.1f} GB + KV cache {cache:.2f} GB + work {work:.1f} GB")
    needed = _("needed {need:.1f} GB of {memory:g} GB: {fits}")
    work = need - weights - cache
    return "\n".join([
        _("{name}, {precision}, {context:,} tokens").format(name=name, precision=precision, context=context),
        sizes.format(weights=weights / 1e9, cache=cache / 1e9, work=work / 1e9),
        needed.format(need=need / 1e9, memory=memory_gb, fits=_("it fits") if fits else _(NOT_FIT)),
        speed if fits else _("too slow to use: parts would be offloaded"),
    ])  # fmt: skip


class Calculator(widgets.VBox):
    """`Calculator(memory_gb, gb_per_s)` at the end of a cell. Its `text` is what `estimate` says to the settings."""

    def __init__(self, memory_gb: float = 12.0, gb_per_s: float = 50.0):
        wide = {"description_width": "9em"}
        layout = widgets.Layout(width="32em")
        self.model = widgets.Dropdown(options=NAMES, description=_("Model"), style=wide, layout=layout)
        self.precision = widgets.Dropdown(
            options=list(BITS), value="bfloat16", description=_("Precision"), style=wide, layout=layout
        )
        self.context = widgets.SelectionSlider(
            options=[2**n for n in range(9, 16)], value=4096, description=_("Context"), style=wide, layout=layout
        )
        self.memory = widgets.BoundedFloatText(
            value=memory_gb, min=1, max=4000, step=1, description=_("Memory, GB"), style=wide, layout=layout
        )
        self.speed = widgets.BoundedFloatText(
            value=gb_per_s, min=1, max=20000, step=1, description=_("Bandwidth, GB/s"), style=wide, layout=layout
        )
        self.inputs = (self.model, self.precision, self.context, self.memory, self.speed)
        self.shown, self.text = widgets.HTML(), ""
        for field in self.inputs:
            field.observe(self._update, "value")
        self._update()
        super().__init__([*self.inputs, self.shown])

    def _update(self, change=None) -> None:
        self.text = estimate(*(field.value for field in self.inputs))
        colour = "#fde2e0" if _(NOT_FIT) in self.text else "#dff3e0"
        style = f"background:{colour};color:#222;padding:6px 10px;border-radius:6px;line-height:1.4;width:32em"
        self.shown.value = f'<pre style="{style}">{html.escape(self.text)}</pre>'

    def _repr_mimebundle_(self, **kwargs) -> dict:
        """What Jupyter shows: the widget, and for a page without widgets its text."""
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": self.text}
