"""Q: models in 8 and 4 bits, and the packages for them."""


def raises_Q1(the):
    from transformers import BitsAndBytesConfig

    the.load(quantization_config=BitsAndBytesConfig(load_in_4bit=True))


def cures_Q1(the):
    """Without the package the model loads as it is."""
    assert str(the.load(dtype="auto").dtype) == "torch.bfloat16"
