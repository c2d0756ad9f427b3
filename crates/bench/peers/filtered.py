"""Filtered nearest neighbours of embedded vector databases, over the same vectors and a number in [0, 100) for each."""

import tempfile
import time
from importlib.metadata import version

import numpy

from peer import serve

state = {}
PART = 2000


class Chroma:
    package = "chromadb"

    def __init__(self, vectors, values, m, ef_construction, threads):
        import chromadb
        from chromadb.config import Settings

        self.folder = tempfile.TemporaryDirectory()
        client = chromadb.PersistentClient(self.folder.name, settings=Settings(anonymized_telemetry=False))
        hnsw = {
            "space": "ip",
            "max_neighbors": m,
            "ef_construction": ef_construction,
            "num_threads": threads,
        }
        self.collection = client.create_collection("vectors", configuration={"hnsw": hnsw}, embedding_function=None)
        for start in range(0, len(vectors), PART):
            rows = range(start, min(start + PART, len(vectors)))
            self.collection.add(
                ids=[str(row) for row in rows],
                embeddings=vectors[rows.start : rows.stop],
                metadatas=[{"value": int(values[row])} for row in rows],
            )

    def search(self, query, k, ef, below):
        if ef != getattr(self, "ef", None):
            self.collection.modify(configuration={"hnsw": {"ef_search": ef}})
            self.ef = ef
        found = self.collection.query(
            query_embeddings=query[None, :], n_results=k, where={"value": {"$lt": below}}, include=[]
        )
        return [int(row) for row in found["ids"][0]]


class QdrantEdge:
    package = "qdrant-edge-py"

    def __init__(self, vectors, values, m, ef_construction, threads):
        import qdrant_edge as edge

        self.edge = edge
        self.folder = tempfile.TemporaryDirectory()
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=vectors.shape[1], distance=edge.Distance.Dot),
            hnsw_config=edge.HnswIndexConfig(
                m=m, ef_construct=ef_construction, full_scan_threshold=10_000, max_indexing_threads=threads
            ),
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=10_000),
        )
        self.shard = edge.EdgeShard.create(self.folder.name, config)
        self.shard.update(edge.UpdateOperation.create_field_index("value", edge.PayloadSchemaType.Integer))
        for start in range(0, len(vectors), PART):
            points = [
                edge.Point(row, vectors[row].tolist(), {"value": int(values[row])})
                for row in range(start, min(start + PART, len(vectors)))
            ]
            self.shard.update(edge.UpdateOperation.upsert_points(points))
        while self.shard.optimize():
            pass

    def search(self, query, k, ef, below):
        edge = self.edge
        condition = edge.FieldCondition("value", range=edge.RangeFloat(lt=float(below)))
        request = edge.QueryRequest(
            limit=k,
            query=edge.Query.Nearest(query.tolist()),
            filter=edge.Filter(must=[condition]),
            params=edge.SearchParams(hnsw_ef=ef),
        )
        return [point.id for point in self.shard.query(request)]


DATABASES = {"Chroma": Chroma, "Qdrant Edge": QdrantEdge}


def load(database, vectors, queries, values, dimension):
    state["kind"] = DATABASES[database]
    state["vectors"] = numpy.fromfile(vectors, dtype="<f4").reshape(-1, dimension)
    state["queries"] = numpy.fromfile(queries, dtype="<f4").reshape(-1, dimension)
    state["values"] = numpy.fromfile(values, dtype="<f4").astype("int64")
    package = state["kind"].package
    return {"versions": {package: version(package), "numpy": numpy.__version__}}


def build(m, ef_construction, threads):
    started = time.perf_counter()
    state["index"] = state["kind"](state["vectors"], state["values"], m, ef_construction, threads)
    return {"seconds": time.perf_counter() - started, "bytes": 0}


def search(k, ef, below):
    """One query at a time, as a service receives them; only those whose value is below `below` may be found."""
    index = state["index"]
    index.search(state["queries"][0], k, ef, below)
    started = time.perf_counter()
    found = [index.search(query, k, ef, below) for query in state["queries"]]
    return {"seconds": time.perf_counter() - started, "found": found}


serve({"load": load, "build": build, "search": search})
