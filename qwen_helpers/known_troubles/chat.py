"""Troubles with prompts, answers and the settings of generate."""

from qwen_helpers.known_troubles.trouble import Trouble

ASK = """inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=512)
print(tokenizer.decode(output[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))"""

TROUBLES = (
    Trouble(
        "C1", "the model has no method chat",
        ("ForCausalLM' object has no attribute 'chat'", "ForCausalLM' object has no attribute 'chat_stream'"),
        "model.chat belonged to Qwen1's own code. From Qwen1.5 on the models are plain transformers models.",
        "Make the prompt with the chat template, then generate.",
        ASK,
        3, older=("Model' object has no attribute 'chat'",),
        threads=("QwenLM/Qwen3#185", "QwenLM/Qwen3#246", "QwenLM/Qwen3#311", "QwenLM/Qwen3#7", "QwenLM/Qwen#1160",
                 "QwenLM/Qwen#1212", "QwenLM/Qwen#1134", "QwenLM/Qwen#1055"),
    ),
    Trouble(
        "C2", "apply_chat_template gives a dict and generate an empty AttributeError",
        (),
        "Since transformers 5 apply_chat_template returns a dict (input_ids, attention_mask), not a tensor; its length "
        "is 2.",
        "Unpack it with two stars; this line works in transformers 4 as well.",
        ASK,
        3, inside={"transformers": ("\nAttributeError\n",)},
        threads=("huggingface/transformers#41626", "huggingface/transformers#42567", "ed-donner/llm_engineering#1307"),
        since="transformers 5",
    ),
    Trouble(
        "C3", "the model never stops or repeats itself", (),
        "No error. It is a base model, which continues text, or its generation_config.json lacks the stop token "
        "<|im_end|>.",
        "Take the Instruct model and keep its generation_config.json; always give max_new_tokens.",
        "print(model.generation_config.eos_token_id)  # Qwen's chat models: [151645, 151643]\n"
        'stop = tokenizer.convert_tokens_to_ids("<|im_end|>")\n'
        "output = model.generate(**inputs, eos_token_id=stop, max_new_tokens=512)",
        5, threads=("QwenLM/Qwen3#217", "QwenLM/Qwen3#270", "QwenLM/Qwen3#927", "QwenLM/Qwen3#779", "QwenLM/Qwen#1172"),
    ),
    Trouble(
        "C4", "the answer ends in im_end", (),
        "No error. decode keeps special tokens unless told otherwise, in transformers and in PaddleNLP.",
        "Leave them out when you decode.",
        "tokenizer.decode(tokens, skip_special_tokens=True)",
        5, threads=("QwenLM/Qwen#63",),
    ),
    Trouble(
        "C5", "the answer stops in the middle",
        ("Using the model-agnostic default `max_length`", "Using the model-agnostic default max_length"),
        "Without max_new_tokens generate stops after 20 tokens. An answer without a stop token at its end was cut.",
        "Give a length, and look at the last token.",
        "output = model.generate(**inputs, max_new_tokens=512)\n"
        "print(output[0, -1].item() in model.generation_config.eos_token_id)  # False: cut",
        5,
    ),
    Trouble(
        "C6", "temperature 0 is refused",
        ("has to be a strictly positive float", "The following generation flags are not valid and may be ignored",
         "GenerationConfig is invalid"),
        "The most likely token is asked for with do_sample=False, not with temperature 0; and without sampling the "
        "flags temperature and top_p mean nothing.",
        "Switch sampling off, and leave the other flags out.",
        "model.generate(**inputs, do_sample=False, max_new_tokens=512)",
        5, older=("`do_sample` is set to `False`. However, `temperature` is set to",
                  "`temperature` has to be a strictly positive float"),
        threads=("QwenLM/Qwen3#409", "huggingface/transformers#33427", "huggingface/transformers#31839",
                 "modelscope/ms-swift#1943"),
        today="changed",
    ),
    Trouble(
        "C7", "every run gives another answer", (),
        "No error. The generation_config.json of Qwen's chat models switches sampling on.",
        "Switch it off, or set the seed before each call.",
        "model.generate(**inputs, do_sample=False, max_new_tokens=512)\n"
        "from transformers import set_seed; set_seed(0)  # before each sampled call",
        5, threads=("QwenLM/Qwen3#409",),
    ),
    Trouble(
        "C8", "attention mask and pad token are not set",
        ("The attention mask and the pad token id were not set", "The attention mask is not set and cannot be inferred",
         "The attention mask is not set with a batched input, and cannot be inferred",
         "Setting `pad_token_id` to `eos_token_id`:"),
        "generate got input_ids alone. With one prompt that is harmless; with several of different length answers "
        "get worse.",
        "Pass everything that the tokenizer returned.",
        "model.generate(**inputs, max_new_tokens=512)",
        3, older=("Setting pad_token_id to eos_token_id:",),
        threads=("QwenLM/Qwen3#133", "QwenLM/Qwen3#267", "QwenLM/Qwen#63"), today="changed",
    ),
    Trouble(
        "C9", "the answer shows its thoughts and enable_thinking does nothing", (),
        "No error. enable_thinking is an argument of Qwen3's chat template; other templates ignore it, and a server "
        "wants it in chat_template_kwargs.",
        "Give it to the template, or to the server in extra_body.",
        "tokenizer.apply_chat_template(messages, enable_thinking=False, add_generation_prompt=True, return_dict=True)\n"
        'client.chat.completions.create(..., extra_body={"chat_template_kwargs": {"enable_thinking": False}})',
        3, threads=("QwenLM/Qwen3#1444", "QwenLM/Qwen3#1575", "xorbitsai/inference#3647", "langgenius/dify#19051"),
    ),
    Trouble(
        "C10", "answers get worse after many turns",
        ("This is a friendly reminder - the current text generation call has exceeded the model's predefined maximum",),
        "The history grows with every turn and passes the length that the model was made for. Nothing stops you.",
        "Count the tokens, and drop the oldest turns.",
        'first = 1 if messages[0]["role"] == "system" else 0  # keep the system prompt\n'
        "while len(messages) > first + 1 and "
        'len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]) > 4096:\n'
        "    del messages[first : first + 2]  # the oldest question and its answer",
        3, older=("Token indices sequence length is longer than the specified maximum sequence length",),
    ),
    Trouble(
        "C11", "the model does not see your message",
        ("it must be one of system, user, assistant, tool, since a chat template leaves out any other",),
        "No error in transformers. A chat template prints only `role` and `content`; {'user': 'Hello'} or a plain text "
        "comes out as an empty prompt.",
        "Write both keys, and print the prompt once.",
        'messages = [{"role": "user", "content": "Hello!"}]\n'
        "print(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))",
        3,
    ),
    Trouble(
        "C12", "the Instruct model continues your sentence", (),
        "No error. The prompt went in without the chat template, or without the opening of the assistant's turn.",
        "Use the template with add_generation_prompt=True.",
        ASK,
        5,
    ),
    Trouble(
        "C13", "generate does not know an argument",
        ("The following `model_kwargs` are not used by the model: ['",),
        "A misspelt setting (max_new_token), or one of another library.",
        "Correct the name; the message lists it.",
        "model.generate(**inputs, max_new_tokens=512)",
        5,
    ),
    Trouble(
        "C14", "generate gets a list or a text in place of a tensor", (),
        "Without return_tensors='pt' the tokenizer returns lists, and generate wants tensors.",
        "Ask for tensors.",
        'inputs = tokenizer("Hello", return_tensors="pt")\nmodel.generate(**inputs, max_new_tokens=64)',
        3, inside={"transformers/generation": ("'list' object has no attribute 'shape'",
                                               "'str' object has no attribute 'shape'")},
    ),
)  # fmt: skip
