"""Troubles with servers and the programs that talk to them."""

from qwen_helpers.known_troubles.trouble import Trouble

CLIENT = 'client = OpenAI(base_url="http://127.0.0.1:8765/v1", api_key="EMPTY")'

TROUBLES = (
    Trouble(
        "V1", "the port is in use",
        ("error while attempting to bind on address", "[Errno 98] Address already in use",
         "[Errno 48] Address already in use", "OSError: [WinError 10048]"),
        "Another server listens there, often your own from an earlier cell.",
        "End that one by its process, or take a free port.",
        'import socket\nwith socket.socket() as free:\n    free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]',
        9, older=("[Errno 10048]", "address already in use"),
        threads=("vllm-project/vllm#7514", "fastapi/fastapi#4362"),
    ),
    Trouble(
        "V2", "nothing answers at the address of the server",
        ("APIConnectionError: Connection error.",),
        "The server is not up yet, has crashed, or listens at another port.",
        "Read its log, and ask it for its models before the first question.",
        'import urllib.request\nprint(urllib.request.urlopen("http://127.0.0.1:8765/v1/models").read()[:200])',
        9, threads=("FoundationAgents/OpenManus#770",),
    ),
    Trouble(
        "V3", "a proxy answers for your own server",
        ("InternalServerError: Error code: 502", "InternalServerError: Error code: 503",
         "APIStatusError: Error code: 502"),
        "HTTP_PROXY catches 127.0.0.1, and the proxy knows no such server. curl may pass, since its rules are others.",
        "Take this computer out of the proxy's range, before you make the client.",
        'import os\nos.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"\n' + CLIENT,
        9, threads=("openai/openai-python#3044", "vllm-project/vllm#1519", "BerriAI/litellm#8510"),
    ),
    Trouble(
        "V4", "the openai client wants a key",
        ("OpenAIError: Missing credentials", "The api_key client option must be set either by passing api_key"),
        "The client asks for a key even if the server needs none.",
        "Give it any text.",
        CLIENT,
        9, older=("The api_key client option must be set",),
    ),
    Trouble(
        "V5", "the openai client does not take proxies",
        ("OpenAI.__init__() got an unexpected keyword argument 'proxies'",
         "Client.__init__() got an unexpected keyword argument 'proxies'"),
        "The argument belonged to version 0 of openai, or an old openai meets a new httpx.",
        "Upgrade openai. If you want a proxy, hand over an http client.",
        "%pip install -U openai\nimport httpx  # only if you want a proxy; replace both addresses\n"
        'client = OpenAI(base_url="ADDRESS-OF-THE-SERVER/v1", api_key="EMPTY",\n'
        '                http_client=httpx.Client(proxy="ADDRESS-OF-THE-PROXY"))',
        9, older=("__init__() got an unexpected keyword argument 'proxies'",),
    ),
    Trouble(
        "V6", "the server does not accept the key",
        ("AuthenticationError: Error code: 401", "Error code: 400 - API key error"),
        "The server was started with --api_key, and the client sends another. ms-swift answers 400, others 401.",
        "Use the server's key.",
        'client = OpenAI(base_url="http://127.0.0.1:8765/v1", api_key="THE KEY OF THE SERVER")',
        9,
    ),
    Trouble(
        "V7", "the server does not know the model or the path",
        ("NotFoundError: Error code: 404",),
        "The name is not one that the server lists, or base_url lacks /v1.",
        "Ask the server for its names.",
        CLIENT + "\nprint([model.id for model in client.models.list()])",
        9,
    ),
    Trouble(
        "V8", "the answer takes longer than the client waits",
        ("APITimeoutError: Request timed out",),
        "A long answer on a slow machine, or a queue of other requests.",
        "Stream the answer, ask for fewer tokens, or wait longer.",
        'client = OpenAI(base_url="http://127.0.0.1:8765/v1", api_key="EMPTY", timeout=600)',
        9,
    ),
    Trouble(
        "V9", "openai has no ChatCompletion any more",
        ("You tried to access openai.ChatCompletion, but this is no longer supported", "openai-python/discussions/742",
         "module 'openai' has no attribute 'ChatCompletion'", "module 'openai' has no attribute 'Completion'"),
        "Examples of 2023 use version 0 of the client.",
        "Make a client, and call it.",
        CLIENT + '\nclient.chat.completions.create(model="MODEL", messages=[{"role": "user", "content": "Hello!"}])',
        9, since="openai 1.0",
    ),
)  # fmt: skip
