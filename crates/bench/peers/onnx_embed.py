"""ONNX Runtime and tokenizers from Python: the same embedding model, driven as people drive it."""

import time

import numpy
import onnxruntime
import tokenizers

from peer import serve

state = {}


def load(model, tokenizer, threads, max_tokens, spin):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    state["session"] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    state["inputs"] = [i.name for i in state["session"].get_inputs()]
    state["tokenizer"] = tokenizers.Tokenizer.from_file(tokenizer)
    state["tokenizer"].enable_truncation(max_tokens)
    state["tokenizer"].enable_padding()
    return {"versions": {"onnxruntime": onnxruntime.__version__, "tokenizers": tokenizers.__version__}}


def embed(texts, batch, sort, return_vectors):
    started = time.perf_counter()
    order = list(range(len(texts)))
    if sort:
        order.sort(key=lambda i: len(texts[i]))
    vectors = [None] * len(texts)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        encodings = state["tokenizer"].encode_batch([texts[i] for i in rows])
        fields = {
            "input_ids": numpy.array([e.ids for e in encodings], dtype=numpy.int64),
            "attention_mask": numpy.array([e.attention_mask for e in encodings], dtype=numpy.int64),
            "token_type_ids": numpy.array([e.type_ids for e in encodings], dtype=numpy.int64),
        }
        hidden = state["session"].run(None, {name: fields[name] for name in state["inputs"]})[0]
        pooled = hidden[:, 0]
        pooled = pooled / numpy.linalg.norm(pooled, axis=1, keepdims=True)
        for row, vector in zip(rows, pooled):
            vectors[row] = vector
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "vectors": [v.tolist() for v in vectors] if return_vectors else []}


serve({"load": load, "embed": embed})
