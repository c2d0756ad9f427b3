"""ONNX Runtime and tokenizers from Python: the same embedding model, driven as people drive it."""

import os
import tempfile
import time
from importlib.metadata import version

import numpy
import onnxruntime
import tokenizers

from peer import serve

state = {}


def quantised(model):
    """The model with int8 weights, a scale for each output channel; activations are quantised while it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = os.path.join(os.path.dirname(model), "model_int8.onnx")
    if not os.path.exists(path):
        with tempfile.TemporaryDirectory() as folder:
            made = os.path.join(folder, "model_int8.onnx")
            quantize_dynamic(model, made, per_channel=True, weight_type=QuantType.QInt8)
            with open(made, "rb") as file:
                content = file.read()
        with open(path, "wb") as file:
            file.write(content)
    return path


def load(folder, pooling, dimension, max_tokens, threads, int8):
    model = os.path.join(folder, "model.onnx")
    packages = ["onnxruntime", "tokenizers", "numpy"] + (["onnx"] if int8 else [])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = quantised(model) if int8 else model
    state["session"] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    state["inputs"] = [i.name for i in state["session"].get_inputs()]
    # Where the graph pools by itself, nothing else has to leave it.
    names = [o.name for o in state["session"].get_outputs()]
    state["outputs"] = [name for name in names if name == "sentence_embedding"] or names[:1]
    state["tokenizer"] = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    state["tokenizer"].enable_truncation(max_tokens)
    state["tokenizer"].enable_padding()
    state["pooling"] = pooling
    return {"versions": {package: version(package) for package in packages}}


def run(texts):
    """Unit vectors of the texts in one run."""
    encodings = state["tokenizer"].encode_batch(texts)
    mask = numpy.array([e.attention_mask for e in encodings], dtype=numpy.int64)
    fields = {
        "input_ids": numpy.array([e.ids for e in encodings], dtype=numpy.int64),
        "attention_mask": mask,
        "token_type_ids": numpy.array([e.type_ids for e in encodings], dtype=numpy.int64),
    }
    output = state["session"].run(state["outputs"], {name: fields[name] for name in state["inputs"]})[0]
    if output.ndim == 2:
        pooled = output
    elif state["pooling"] == "mean":
        weights = mask[:, :, None].astype(numpy.float32)
        pooled = (output * weights).sum(axis=1) / weights.sum(axis=1)
    else:
        pooled = output[:, 0]
    return pooled / numpy.linalg.norm(pooled, axis=1, keepdims=True)


def embed(texts, batch, sort, return_vectors):
    started = time.perf_counter()
    order = list(range(len(texts)))
    if sort:
        order.sort(key=lambda i: len(texts[i]))
    batch = batch or 32
    vectors = [None] * len(texts)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        for row, vector in zip(rows, run([texts[i] for i in rows])):
            vectors[row] = vector
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "vectors": [v.tolist() for v in vectors] if return_vectors else []}


def latencies(texts):
    """Milliseconds that each text takes, one after the other."""
    milliseconds = []
    for text in texts:
        started = time.perf_counter()
        run([text])
        milliseconds.append((time.perf_counter() - started) * 1e3)
    return milliseconds


serve({"load": load, "embed": embed, "latencies": latencies})
