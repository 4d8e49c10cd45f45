"""Lesson 9's exercises: the loss mask, a training without over-fitting, the size of an adapter."""

from qwen_helpers.exercises import call


def exercise_1(function):
    ids, learn = [5, 6, 7, 8], [False, False, True, True]
    given = list(ids)
    labels = call(function, given, list(learn))
    if labels is None:
        changed = " (You changed the list ids itself: make a new one.)" if given != ids else ""
        return f"your function gives None back: return a list, with the word return.{changed}"
    if hasattr(labels, "tolist"):
        return f"that is a {type(labels).__name__}: return a list, such as its tolist() gives."
    if not isinstance(labels, list) or len(labels) != len(ids):
        return "return a list with one label for each token: those that are not learnt need one too."
    if labels == [-100, -100, 7, 8]:
        return None
    if labels == [5, 6, -100, -100]:
        return "that is the wrong way round: the tokens that are to be learnt keep their number."
    if labels == learn:
        return "that is learn itself: a label is a number, the token's own or -100."
    if labels == [-100] * 4:
        return "now nothing is learnt: the label of a token that is learnt is the token itself."
    if labels[2:] != [7, 8]:
        return "the label of a token that is learnt is the token itself."
    if labels == ids:
        return "now the questions are learnt, too: tokens that are not to be learnt get -100."
    return f"{labels[0]} is a token like any other, and would be learnt: the loss skips -100 only."


def exercise_2(curves):
    """`curves` is what the lesson's `learn` returns: the losses on the taught dialogues and on those held back."""
    if not isinstance(curves, dict) or not curves.get("loss") or not curves.get("eval_loss"):
        return "call learn(rank=..., learning_rate=..., epochs=...) and keep what it returns."
    taught, held_back = curves["loss"][-1], curves["eval_loss"]
    if not taught < 2:  # also true of a loss that is not a number
        return (
            f"the taught dialogues end at {taught:.1f}, so it has not learnt: more epochs, or another learning rate (a "
            "higher one if the curve is still falling, a lower one if it jumps)."
        )
    if held_back[-1] > 1.1 * min(held_back):
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
        5760: "that is rank 1: each of the 16 takes 896 + 4,864.",
        4450304: "that is the matrix and the LoRA together: count only what is trained.",
        184320: "that is rank 32: A and B have 16 each, not 16 twice.",
        69730304: "that is 16 matrices: the rank is the narrow side of A and of B, not a number of copies.",
    }.get(numbers, "A has rank x inputs numbers and B has outputs x rank: add the two.")
