"""llama.cpp, inside the xllamacpp wheel, on the same GGUF file."""

import xllamacpp

from peer import serve

state = {}


def load(model, threads, context):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = context
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    state["server"] = xllamacpp.Server(params)
    return {"versions": {"xllamacpp": xllamacpp.__version__}}


def generate(messages, max_tokens):
    reply = state["server"].handle_chat_completions(
        {
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
            "cache_prompt": False,
            "timings_per_token": False,
        }
    )
    timings = reply["timings"]
    return {
        "prompt_tokens": timings["prompt_n"],
        "prefill_seconds": timings["prompt_ms"] / 1000,
        # The first token written comes from reading the prompt.
        "steps": timings["predicted_n"] - 1,
        "decode_seconds": timings["predicted_ms"] / 1000,
    }


serve({"load": load, "generate": generate})
