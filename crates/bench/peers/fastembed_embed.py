"""fastembed from Python, as installed: its own batches and order, on the model that Anser is given."""

import time
from importlib.metadata import version

import fastembed
from fastembed.common.model_description import ModelSource, PoolingType

from peer import serve

NAME = "bench/model"
state = {}


def load(folder, pooling, dimension, max_tokens, threads, int8):
    if int8:
        raise ValueError("this peer is measured in f32 only")
    fastembed.TextEmbedding.add_custom_model(
        model=NAME,
        pooling=PoolingType.MEAN if pooling == "mean" else PoolingType.CLS,
        normalization=True,
        sources=ModelSource(url="file:///dev/null"),
        dim=dimension,
        model_file="model.onnx",
    )
    state["model"] = fastembed.TextEmbedding(NAME, specific_model_path=folder, threads=threads)
    return {"versions": {package: version(package) for package in ["fastembed", "onnxruntime", "tokenizers"]}}


def embed(texts, batch, sort, return_vectors):
    started = time.perf_counter()
    if sort:
        raise ValueError("this peer takes the texts as they come")
    options = {"batch_size": batch} if batch else {}
    vectors = list(state["model"].embed(texts, **options))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "vectors": [v.tolist() for v in vectors] if return_vectors else []}


def latencies(texts):
    """Milliseconds that each text takes, one after the other."""
    milliseconds = []
    for text in texts:
        started = time.perf_counter()
        list(state["model"].embed([text]))
        milliseconds.append((time.perf_counter() - started) * 1e3)
    return milliseconds


serve({"load": load, "embed": embed, "latencies": latencies})
