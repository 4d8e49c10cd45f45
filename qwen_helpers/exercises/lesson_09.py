"""Lesson 9's exercises: the loss mask, a training without over-fitting, the size of an adapter."""

from qwen_helpers.exercises import call


def exercise_1(function):
    ids, learn = [5, 6, 7, 8], [False, False, True, True]
    labels = call(function, list(ids), list(learn))
    if not isinstance(labels, list) or len(labels) != len(ids):
        return "return a list with one label for each token: those that are not learnt need one too."
    if labels == [-100, -100, 7, 8]:
        return None
    if labels == [5, 6, -100, -100]:
        return "that is the wrong way round: the tokens that are to be learnt keep their number."
    if labels[2:] != [7, 8]:
        return "the label of a token that is learnt is the token itself."
    return f"{labels[0]} is a token like any other, and would be learnt: the loss skips -100 only."


def exercise_2(curves):
    """`curves` is what the lesson's `learn` returns: the losses on the taught dialogues and on those held back."""
    if not isinstance(curves, dict) or not curves.get("loss") or not curves.get("eval_loss"):
        return "call learn(rank=..., learning_rate=..., epochs=...) and keep what it returns."
    taught, held_back = curves["loss"][-1], curves["eval_loss"]
    if not taught < 2:  # also true of a loss that is not a number
        return f"the taught dialogues end at {taught:.1f}, so it has not learnt: more epochs, or another learning rate."
    if held_back[-1] > 1.05 * min(held_back):
        lowest = held_back.index(min(held_back)) + 1
        return (
            f"the loss held back ends at {held_back[-1]:.2f} and was {min(held_back):.2f} at its value {lowest} of "
            f"{len(held_back)}: stop earlier, with fewer epochs."
        )
    return None


def exercise_3(numbers):
    if numbers == 92160:
        return None
    return {
        4358144: "that is the matrix itself, 896 x 4,864; LoRA trains two narrow ones beside it.",
        14336: "that is A alone, 16 x 896: B has 4,864 x 16 more.",
        77824: "that is B alone, 4,864 x 16: A has 16 x 896 more.",
        46080: "that is rank 8; here it is 16.",
    }.get(numbers, "A has rank x inputs numbers and B has outputs x rank: add the two.")
