"""Lesson 9's exercises: the loss mask, a training without over-fitting, the size of an adapter."""

from qwen_helpers.exercises import call
from qwen_helpers.language import _


def exercise_1(function):
    ids, learn = [5, 6, 7, 8], [False, False, True, True]
    given = list(ids)
    labels = call(function, given, list(learn))
    if labels is None:
        changed = _(" (You changed the list ids itself: make a new one.)") if given != ids else ""
        return _("your function gives None back: return a list, with the word return.{changed}").format(changed=changed)
    if hasattr(labels, "tolist"):
        return _("that is a {kind}: return a list, such as its tolist() gives.").format(kind=type(labels).__name__)
    if not isinstance(labels, list) or len(labels) != len(ids):
        return _("return a list with one label for each token: those that are not learnt need one too.")
    if labels == [-100, -100, 7, 8]:
        return None
    if labels == [5, 6, -100, -100]:
        return _("that is the wrong way round: the tokens that are to be learnt keep their number.")
    if labels == learn:
        return _("that is learn itself: a label is a number, the token's own or -100.")
    if labels == [-100] * 4:
        return _("now nothing is learnt: the label of a token that is learnt is the token itself.")
    if labels[2:] != [7, 8]:
        return _("the label of a token that is learnt is the token itself.")
    if labels == ids:
        return _("now the questions are learnt, too: tokens that are not to be learnt get -100.")
    return _("{label} is a token like any other, and would be learnt: the loss skips -100 only.").format(
        label=labels[0]
    )


def exercise_2(mended, before):
    """Both are what the lesson's `learn` returns: the losses on the taught dialogues and on those held back."""
    if not isinstance(mended, dict) or not mended.get("loss") or not mended.get("eval_loss"):
        return _("call learn(rank=..., learning_rate=..., epochs=...) and keep what it returns.")
    taught, held_back, was = mended["loss"][-1], mended["eval_loss"], before["eval_loss"][-1]
    if not taught < 2:  # also true of a loss that is not a number
        return _(
            "the taught dialogues end at {taught:.1f}, so it has not learnt: more epochs, or another "
            "learning rate (a higher one if the curve is still falling, a lower one if it jumps)."
        ).format(taught=taught)
    if held_back[-1] > 1.1 * min(held_back):
        lowest = held_back.index(min(held_back)) + 1
        return _(
            "the loss held back ends at {end:.2f} and was {lowest:.2f} at its value {place} of {count}: "
            "stop earlier, with fewer epochs."
        ).format(end=held_back[-1], lowest=min(held_back), place=lowest, count=len(held_back))
    if held_back[-1] >= was:
        return _(
            "the loss held back ends at {end:.2f}, and section 8's at {was:.2f}: that is no better. Try other "
            "epochs or another learning rate."
        ).format(end=held_back[-1], was=was)
    return None


def exercise_3(numbers):
    if numbers == 92160:
        return None
    return {
        4358144: _("that is the matrix itself, 896 x 4,864; LoRA trains two narrow ones beside it."),
        14336: _("that is A alone, 16 x 896: B has 4,864 x 16 more."),
        77824: _("that is B alone, 4,864 x 16: A has 16 x 896 more."),
        46080: _("that is rank 8; here it is 16."),
        5760: _("that is rank 1: each of the 16 takes 896 + 4,864."),
        4450304: _("that is the matrix and the LoRA together: count only what is trained."),
        184320: _("that is rank 32: A and B have 16 each, not 16 twice."),
        69730304: _("that is 16 matrices: the rank is the narrow side of A and of B, not a number of copies."),
    }.get(numbers, _("A has rank x inputs numbers and B has outputs x rank: add the two."))
