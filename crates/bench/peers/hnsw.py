"""HNSW of several libraries over the same vectors, read from raw little-endian f32 files."""

import gc
import time

import numpy

from peer import resident_bytes, serve

state = {}


class Hnswlib:
    def __init__(self, vectors, m, ef_construction, threads):
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self.index.init_index(max_elements=len(vectors), M=m, ef_construction=ef_construction, random_seed=1)
        self.index.add_items(vectors, num_threads=threads)

    def search(self, queries, k, ef, threads):
        self.index.set_ef(max(ef, k))
        return self.index.knn_query(queries, k=k, num_threads=threads)[0]


class Usearch:
    dtype = "f32"

    def __init__(self, vectors, m, ef_construction, threads):
        from usearch.index import Index

        self.index = Index(
            ndim=vectors.shape[1], metric="ip", dtype=self.dtype, connectivity=m, expansion_add=ef_construction
        )
        self.index.add(numpy.arange(len(vectors)), vectors, threads=threads)

    def search(self, queries, k, ef, threads):
        self.index.expansion_search = max(ef, k)
        found = self.index.search(queries, k, threads=threads)
        return found.keys


class UsearchHalf(Usearch):
    dtype = "f16"


class Faiss:
    def __init__(self, vectors, m, ef_construction, threads):
        import faiss

        faiss.omp_set_num_threads(threads)
        self.faiss = faiss
        self.index = faiss.IndexHNSWFlat(vectors.shape[1], m, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = ef_construction
        self.index.add(vectors)

    def search(self, queries, k, ef, threads):
        self.faiss.omp_set_num_threads(threads)
        self.index.hnsw.efSearch = max(ef, k)
        return self.index.search(queries, k)[1]


LIBRARIES = {
    "hnswlib": (Hnswlib, "hnswlib"),
    "usearch": (Usearch, "usearch"),
    "usearch f16": (UsearchHalf, "usearch"),
    "faiss": (Faiss, "faiss"),
}


def load(library, vectors, queries, dimension):
    from importlib.metadata import version

    state["kind"], module = LIBRARIES[library]
    __import__(module)
    state["vectors"] = numpy.fromfile(vectors, dtype="<f4").reshape(-1, dimension)
    state["queries"] = numpy.fromfile(queries, dtype="<f4").reshape(-1, dimension)
    package = {"faiss": "faiss-cpu"}.get(module, module)
    return {"versions": {package: version(package), "numpy": numpy.__version__}}


def build(m, ef_construction, threads):
    """Bytes are what the process grew by, so they hold the library's copy of the vectors, too."""
    state.pop("index", None)
    gc.collect()
    before = resident_bytes()
    started = time.perf_counter()
    index = state["kind"](state["vectors"], m, ef_construction, threads)
    seconds = time.perf_counter() - started
    state["index"] = index
    return {"seconds": seconds, "bytes": max(0, resident_bytes() - before)}


def search(k, ef, threads):
    """All queries in one call, which is the quickest way there is from Python."""
    started = time.perf_counter()
    found = state["index"].search(state["queries"], k, ef, threads)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "found": numpy.asarray(found).astype("int64").tolist()}


serve({"load": load, "build": build, "search": search})
