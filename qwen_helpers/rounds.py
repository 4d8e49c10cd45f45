"""Rates measured in alternating rounds: a slow second of a busy machine hits everything that is compared."""


def alternate(runs: dict, rounds: int) -> dict[str, list[float]]:
    """The rates of each of `runs`, {name: function that runs once and returns its rate}, in `rounds` rounds.

    Every round calls all of them, in an order that is turned round each time. One more round before them warms up.
    """
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name in sorted(runs, reverse=bool(number % 2)):
            rate = runs[name]()
            rates[name] += [rate] if number else []
    return rates
