"""Watch a training in a notebook: the loss as a curve that grows, and a sentence when it runs away.

`watch` is a callback for ms-swift; `verdict` reads a list of losses and knows nothing of ms-swift.
"""

import math


def verdict(losses: list[float]) -> str:
    """One sentence on a training, from its logged losses in order. Raises ValueError for fewer than four of them.

    "Diverged" means: a loss that is not a number, or a last quarter that is on average 1.2 times as high as the first
    loss or as the best stretch of that length; "learnt nothing": nine tenths of the first loss or more.
    """
    if len(losses) < 4:
        raise ValueError(f"{len(losses)} losses are too few to judge: log at least four (logging_steps).")
    lower = "Divide learning_rate by 3 to 10 and start again."
    for number, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            return f"Diverged: the {number}. loss in the list is {loss}. {lower}"
    size = len(losses) // 4
    means = [sum(losses[i : i + size]) / size for i in range(len(losses) - size + 1)]
    best, last = min(losses[0], *means), means[-1]
    if last > 1.2 * best:
        return f"Diverged: the loss was {best:.2f}, and ends at {last:.2f}. {lower}"
    if last > 0.9 * losses[0]:
        return (
            f"Learnt nothing: the loss began at {losses[0]:.2f} and ends at {last:.2f}. Look at data and learning_rate."
        )
    return f"Fine: the loss went from {losses[0]:.2f} down to {last:.2f}."


def watch(name: str = "live_loss") -> str:
    """Register the live plot with ms-swift and return its name, for SftArguments(callbacks=[watch()]).

    It takes the place of ms-swift's own bar, which prints a dictionary for each logged loss.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display
    from swift import TrainerCallback, callbacks_map
    from tqdm.auto import tqdm
    from transformers import PrinterCallback, ProgressCallback

    class LiveLoss(TrainerCallback):
        """Draws after each logged loss; transformers calls these methods while it trains."""

        def on_init_end(self, args, state, control, **kwargs):
            handler = self.trainer.callback_handler
            loud = (PrinterCallback, ProgressCallback)
            handler.callbacks = [callback for callback in handler.callbacks if not isinstance(callback, loud)]

        def on_train_begin(self, args, state, control, **kwargs):
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="steps")
            self.figure, self.axes = plt.subplots(figsize=(6, 2.5), dpi=70)
            plt.close(self.figure)  # else the notebook would show it once more at the end of the cell
            self.shown = display(self.figure, display_id=True)

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args, state, control, **kwargs):
            self.axes.clear()
            for key, label in {"loss": "learnt dialogues", "eval_loss": "dialogues that are held back"}.items():
                points = [(entry["step"], entry[key]) for entry in state.log_history if key in entry]
                if points:
                    self.axes.plot(*zip(*points, strict=True), label=label)
            self.axes.set(xlabel=f"step (of {state.max_steps})", ylabel="loss", ylim=(0, None))
            self.axes.legend()
            self.shown.update(self.figure)

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    callbacks_map[name] = LiveLoss
    return name
