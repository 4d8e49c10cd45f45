"""`python -m qwen_helpers COMMAND ...`: what the course does in a terminal, and which module does it."""

import sys
from importlib import import_module

from qwen_helpers.language import N_, _

COMMANDS = {
    # command: (module whose `main` gets the arguments, what it does)
    "chat": ("chat", N_("ask the model once, or talk to it")),
    "preflight": ("sizes", N_("will a model fit here?")),
    "doctor": ("diagnosis", N_("what this computer has, to be pasted into a question")),
    "explain": ("troubles", N_("what an error is and how it is mended")),
    "downloads": ("folders", N_("the models on this disk; delete one")),
    "hub": ("labs.hub", N_("serve model folders to a room, one download for all")),
    "serve": ("labs.serve", N_("serve a model to a class")),
    "keys": ("labs.class_list", N_("a key for each student of a class")),
    "convert": ("engines.onnx", N_("convert a model to 4 bits")),
    "gguf": ("engines.llama_cpp", N_("write a model to a GGUF file for llama.cpp, Ollama and LM Studio")),
    "measure": ("tools.measure", N_("measurements, each with a table and a line of JSON")),
    "teach": ("tools.teach", N_("make the teacher's pack")),
    "site": ("tools.site", N_("make the course's website")),
    "train": ("tools.tiny_training", N_("train the three tiny models")),
}


def main() -> None:
    name, *arguments = sys.argv[1:] or ["help"]
    if name not in COMMANDS:
        lines = [f"  {command:10} {_(what)}" for command, (module, what) in COMMANDS.items()]
        usage = "\n".join([_("python -m qwen_helpers COMMAND, with COMMAND one of"), *lines])
        if name in ("help", "-h", "--help"):
            print(usage)
            return
        sys.exit(_("There is no command {name!r}.").format(name=name) + f"\n{usage}")
    try:
        import_module(f"qwen_helpers.{COMMANDS[name][0]}").main(arguments)
    except (ValueError, OSError) as error:  # the course's own sentences say what to do; so do the system's
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
