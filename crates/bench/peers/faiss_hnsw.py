"""faiss's HNSW over the same vectors, read from raw little-endian f32 files."""

import time

import faiss
import numpy

from peer import serve

state = {}


def load(vectors, queries, dimension):
    state["vectors"] = numpy.fromfile(vectors, dtype="<f4").reshape(-1, dimension)
    state["queries"] = numpy.fromfile(queries, dtype="<f4").reshape(-1, dimension)
    return {"versions": {"faiss-cpu": faiss.__version__, "numpy": numpy.__version__}}


def build(m, ef_construction, threads):
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(state["vectors"].shape[1], m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = ef_construction
    started = time.perf_counter()
    index.add(state["vectors"])
    seconds = time.perf_counter() - started
    state["index"] = index
    return {"seconds": seconds}


def search(k, ef):
    """One query at a time on one thread, as a service receives them."""
    faiss.omp_set_num_threads(1)
    state["index"].hnsw.efSearch = ef
    queries = state["queries"]
    found = []
    started = time.perf_counter()
    for i in range(len(queries)):
        found.append(state["index"].search(queries[i : i + 1], k)[1][0])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "found": [row.tolist() for row in found]}


serve({"load": load, "build": build, "search": search})
