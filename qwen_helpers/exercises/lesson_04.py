"""Lesson 4's exercises: two waits, half characters, and a stream that is really stopped."""

from qwen_helpers.exercises import call


def exercise_1(first, rate):
    if not all(isinstance(number, (int, float)) for number in (first, rate)):
        return "give two numbers, seconds and tokens per second."
    if abs(first - 0.8) > 0.001:
        return "the time to first token is the first of the moments."
    if abs(rate - 20) < 0.1:
        return None
    if abs(rate - 5) < 0.1:
        return "5 tokens in 1.0 s counts the wait for the first token too; leave that wait out."
    if abs(rate - 25) < 0.1:
        return "after the first token only four more arrive: there are four steps between five moments."
    return "count the tokens after the first, and divide by the seconds between the first and the last."


def exercise_2(function):
    texts = ["a", "a ", "a \ufffd", "a \ufffd", "a 🐼", "a 🐼 b"]
    pieces = call(lambda: list(function(texts)))
    if any("\ufffd" in piece for piece in pieces):
        return 'a piece still holds half a character: wait while the text ends with "\\ufffd".'
    if "".join(pieces) != texts[-1]:
        return "put together, your pieces are not the whole text: change `shown` only when you have yielded."
    return None if len(pieces) >= 4 else "yield each piece as soon as it is whole, not all at the end."


def exercise_3(function):
    taken, closed = [], []

    def stream():
        try:
            for piece in ["Small ", "models ", "run. ", "Large ", "ones ", "walk."]:
                taken.append(piece)
                yield piece
        finally:
            closed.append(len(taken))

    pieces = stream()
    sentence = call(function, pieces)
    if not isinstance(sentence, str):
        return "return the sentence as text."
    if len(taken) > 3:
        return "you read on after the first sentence: leave the loop at its full stop (a space may follow it)."
    if sentence.strip() != "Small models run.":
        return f"the first sentence is 'Small models run.', and yours is {sentence!r}."
    return None if closed else "the model is still waiting to go on: end the stream with pieces.close()."
