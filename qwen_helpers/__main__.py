"""`python -m qwen_helpers COMMAND ...`: what the course does in a terminal, and which module does it."""

import sys
from importlib import import_module

COMMANDS = {
    # command: (module whose `main` gets the arguments, what it does)
    "chat": ("chat", "ask the model once, or talk to it"),
    "preflight": ("sizes", "will a model fit here?"),
    "doctor": ("diagnosis", "what this computer has, to be pasted into a question"),
    "explain": ("troubles", "what an error is and how it is mended"),
    "downloads": ("folders", "the models on this disk; delete one"),
    "hub": ("labs.hub", "serve model folders to a room, one download for all"),
    "serve": ("labs.serve", "serve a model to a class"),
    "keys": ("labs.class_list", "a key for each student of a class"),
    "convert": ("engines.onnx", "convert a model to 4 bits"),
    "gguf": ("engines.llama_cpp", "write a model to a GGUF file for llama.cpp, Ollama and LM Studio"),
    "measure": ("tools.measure", "measurements, each with a table and a line of JSON"),
    "teach": ("tools.teach", "make the teacher's pack"),
    "site": ("tools.site", "make the course's website"),
    "train": ("tools.tiny_training", "train the three tiny models"),
}


def main() -> None:
    name, *arguments = sys.argv[1:] or ["help"]
    if name not in COMMANDS:
        lines = [f"  {command:10} {what}" for command, (_, what) in COMMANDS.items()]
        usage = "\n".join(["python -m qwen_helpers COMMAND, with COMMAND one of", *lines])
        if name in ("help", "-h", "--help"):
            print(usage)
            return
        sys.exit(f"There is no command {name!r}.\n{usage}")
    try:
        import_module(f"qwen_helpers.{COMMANDS[name][0]}").main(arguments)
    except (ValueError, OSError) as error:  # the course's own sentences say what to do; so do the system's
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
