"""One entry of the catalogue. Each module of this package lists the entries of one group, as plain data."""

from dataclasses import dataclass, field

GROUPS = {
    "I": "install", "D": "download", "L": "load", "C": "chat", "S": "streaming", "G": "memory", "P": "PaddleNLP",
    "J": "Jupyter", "W": "Windows", "V": "serving", "T": "fine-tuning",
}  # fmt: skip


@dataclass(frozen=True)
class Trouble:
    """What a reader sees, why, and what to do.

    A pattern is a piece of the text "TypeOfError: message", in which `*` stands for anything within a line and a line
    break for the end of one. Patterns instead of regular expressions: they can be read, and need no compiling.
    """

    id: str  # its first letter is a key of GROUPS
    symptom: str  # the heading in lesson 10 is "ID symptom"
    patterns: tuple[str, ...]  # none: no error is raised, and doctor(model_dir) or the eye finds it
    cause: str
    cure: str  # a sentence
    code: str  # lines to copy
    lesson: int  # the lesson that treats the matter
    older: tuple[str, ...] = ()  # patterns of other versions' spellings
    inside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # {package: patterns} of texts that say too little alone: they count in a traceback that goes through the package
    threads: tuple[str, ...] = ()  # where people report it, as owner/repository#number
    since: str = ""  # the version that it begins with
    until: str = ""  # the version that ended it
    today: str = "yes"  # raised with the versions in constraints.txt; "changed": with another text; "gone"; "old only":
    # with the older version named; "not raised here": it needs Windows, a Mac, a GPU, the internet or a full disk

    @property
    def group(self) -> str:
        return GROUPS[self.id[0]]

    @property
    def anchor(self) -> str:
        """The heading in lesson 10, as JupyterLab writes it into a link."""
        return f"{self.id} {self.symptom}".replace(" ", "-")
