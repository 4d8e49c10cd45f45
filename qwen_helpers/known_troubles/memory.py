"""Troubles with the GPU, the precision and the memory."""

from qwen_helpers.known_troubles.trouble import Trouble

# after this, a restart: Windows cannot replace the files of a torch that is loaded
TORCH = """
# restart the kernel, do not import torch, then:
import sys
%pip install uv
!"{sys.executable}" -m uv pip install --python "{sys.executable}" --reinstall torch --torch-backend BUILD
# restart the kernel again"""
SMALLER = 'AutoModelForCausalLM.from_pretrained("models/Qwen2.5-0.5B-Instruct", dtype="auto")'

TROUBLES = (
    Trouble(
        "G1", "torch was built without CUDA",
        ("Torch not compiled with CUDA enabled",),
        "This PyTorch is the build for the CPU (what plain `pip install torch` gives on Windows), or the kernel is "
        "another one.",
        "Look at the build, and take the one for your card (uv knows them all); without a card leave .cuda() out.",
        "import torch; print(torch.__version__, torch.version.cuda)" + TORCH.replace("BUILD", "auto"),
        1, older=("Found no NVIDIA driver on your system",),
        threads=("pytorch/pytorch#30664", "pytorch/pytorch#110503", "opendatalab/MinerU#240"),
    ),
    Trouble(
        "G2", "one token per second because layers were moved out",
        ("Some parameters are on the meta device because they were offloaded to the",),
        "The weights do not fit on the card, so device_map='auto' keeps some in memory or on the disk and fetches them "
        "for every token.",
        "See where they are, then take a smaller model or 4 bits.",
        "from qwen_helpers.silent import check_model\ncheck_model(model)\n"
        "print({str(parameter.device) for parameter in model.parameters()})",
        7, threads=("xusenlinzy/api-for-open-llm#191", "hiyouga/LlamaFactory#4697", "huggingface/transformers#27183"),
    ),
    Trouble(
        "G3", "the GPU is out of memory",
        ("OutOfMemoryError: CUDA out of memory", "CUDA out of memory. Tried to allocate", "CUDA error: out of memory"),
        "Weights take 2 bytes per parameter in bfloat16 (7B: 15 GB), the context comes on top, and a model from an "
        "earlier cell may still be there.",
        "Restart the kernel, then take a smaller model or a shorter prompt.",
        "# after a restart of the kernel\n" + SMALLER,
        7, threads=("QwenLM/Qwen3#845", "QwenLM/Qwen3#174"), today="not raised here",
    ),
    Trouble(
        "G4", "the CPU cannot compute in float16",
        ("not implemented for 'Half'",),
        "Old versions of PyTorch had no float16 on the CPU. With the tested version it works; whether it is faster "
        "than float32 depends on the processor.",
        "Upgrade torch, or load in float32 or bfloat16.",
        "AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16)",
        7, threads=("huggingface/transformers#27769", "huggingface/transformers#34692", "zai-org/ChatGLM3#628"),
        today="gone",
    ),
    Trouble(
        "G5", "float16 makes NaN and the answer is all exclamation marks",
        ("probability tensor contains either `inf`, `nan` or element < 0",
         "probability tensor contains either inf, nan or element < 0"),
        "float16 ends at 65504; Qwen's numbers grow larger, and inf and NaN follow. Greedy answers are then token 0, "
        "which is an exclamation mark in Qwen.",
        "Load in bfloat16 or float32.",
        "model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16)\n"
        "print(torch.isnan(model(**inputs).logits).any())  # must be False",
        7, threads=("QwenLM/Qwen#848", "QwenLM/Qwen3#761", "QwenLM/Qwen3#381", "QwenLM/Qwen3#315", "QwenLM/Qwen3#1171",
                    "vllm-project/vllm#14126"),
    ),
    Trouble(
        "G6", "tensors are on two devices",
        ("Expected all tensors to be on the same device", "cannot be called on meta tensors",
         "Cannot copy out of meta tensor; no data!"),
        "The model is on the GPU and the prompt is not, or .to('cuda:1') met a device_map that chose cuda:0.",
        "Send the prompt to the model's device.",
        "inputs = inputs.to(model.device)",
        3, older=("Input, output and indices must be on the current device",),
        threads=("QwenLM/Qwen3#341", "QwenLM/Qwen#920", "QwenLM/Qwen3-VL#1647"), today="not raised here",
    ),
    Trouble(
        "G7", "this build of torch does not know your GPU",
        ("no kernel image is available for execution on the device",
         "is not compatible with the current PyTorch installation"),
        "RTX 50 cards need a build for CUDA 12.8 or newer; GTX 10 and V100 cards are too old for builds of CUDA 13.",
        "Compare the card with the build, then install the other one: cu128 for new cards, cu126 for old ones.",
        "import torch; print(torch.cuda.get_arch_list(), torch.cuda.get_device_capability())"
        + TORCH.replace("BUILD", "cu128") + "\n# GTX 10 and V100: cu126 in place of cu128",
        1, threads=("pytorch/pytorch#167244", "pytorch/pytorch#149845", "Comfy-Org/ComfyUI#16438"),
        today="not raised here",
    ),
    Trouble(
        "G8", "the computer is out of memory",
        ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory",
         "numpy._core._exceptions._ArrayMemoryError: Unable to allocate"),
        "The model needs more memory than is free. Linux may also end the kernel without a word.",
        "Ask before you load, and take a smaller model or bfloat16.",
        'from qwen_helpers import preflight\npreflight("Qwen/Qwen2.5-7B-Instruct")\n' + SMALLER,
        7,
    ),
    Trouble(
        "G9", "the model has no hf_device_map",
        ("ForCausalLM' object has no attribute 'hf_device_map'",),
        "On a computer without a GPU device_map='auto' spreads nothing, so there is no map.",
        "Ask for the device, which every model has.",
        'getattr(model, "hf_device_map", model.device)',
        7, older=("object has no attribute 'hf_device_map'",),
    ),
    Trouble(
        "G10", "the Mac GPU is out of memory",
        ("MPS backend out of memory", "Invalid buffer size: *GiB"),
        "On a Mac the GPU shares the memory with everything else.",
        "Close programs, take a smaller model, or compute on the CPU.",
        'model = model.to("cpu")\n' + SMALLER,
        7, threads=("pytorch/pytorch#105839", "pytorch/pytorch#130112"), today="not raised here",
    ),
    Trouble(
        "G11", "a model that was spread over devices cannot be moved",
        ("You shouldn't move a model that is dispatched using accelerate hooks",
         "You can't move a model that has some modules offloaded to cpu or disk",
         "You shouldn't move a model when it is dispatched on multiple devices"),
        "device_map has already put each layer on its device.",
        "Leave .to() and .cuda() out.",
        'model = AutoModelForCausalLM.from_pretrained(model_dir, device_map="auto")  # and no .to("cuda")',
        7,
    ),
)  # fmt: skip
