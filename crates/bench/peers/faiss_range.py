"""All pairs above a cosine by faiss's exact range search, over vectors read from a raw little-endian f32 file."""

import time

import faiss
import numpy

from peer import serve

BLOCK = 4096
state = {}


def load(vectors, dimension, threads):
    state["vectors"] = numpy.fromfile(vectors, dtype="<f4").reshape(-1, dimension)
    faiss.omp_set_num_threads(threads)
    return {"versions": {"faiss-cpu": faiss.__version__, "numpy": numpy.__version__}}


def pairs(threshold):
    vectors = state["vectors"]
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    found = []
    started = time.perf_counter()
    for begin in range(0, len(vectors), BLOCK):
        limits, _, other = index.range_search(vectors[begin : begin + BLOCK], threshold)
        own = numpy.repeat(numpy.arange(begin, begin + len(limits) - 1), numpy.diff(limits.astype("int64")))
        found.append(numpy.stack([own[own < other], other[own < other]], axis=1))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "pairs": numpy.concatenate(found).tolist()}


serve({"load": load, "pairs": pairs})
