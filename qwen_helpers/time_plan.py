"""A time plan for a class, from the minutes that the lessons themselves give."""

import re

HALF_DAYS = (("morning", 9 * 60, 12 * 60 + 30), ("afternoon", 13 * 60 + 30, 17 * 60))  # minutes since midnight
BREAK = 10  # minutes after each lesson


def time_plan(lessons):
    """A table with clock times, from {file name: notebook}. A lesson begins in the half-day in which it can end."""
    half_days = iter([(day, *half) for day in range(1, 30) for half in HALF_DAYS])
    rows, now, end = [], 0, 0
    for notebook in lessons.values():
        head = notebook.cells[0].source
        reading = int(re.search(r"\*\*Time:\*\* (\d+) minutes", head)[1])
        length = 2 * reading  # as much again for the exercises: a rule and no measurement
        if now + length > end:
            day, name, now, end = next(half_days)
            rows.append(f"| **Day {day}, {name}** | | |")
        title = re.match(r"# (.+)", head)[1]
        exercises = f"{clock(now + reading)} to {clock(now + length)}"
        rows.append(f"| {title} | {clock(now)} to {clock(now + reading)} | {exercises} |")
        now += length + BREAK
    return "\n".join(["| lesson | read and run | exercises |", "|---|---|---|", *rows])


def clock(minutes):
    """Minutes since midnight as 09:05."""
    return f"{minutes // 60:02}:{minutes % 60:02}"
