"""k-means of scikit-learn and faiss from given centroids, over vectors read from raw little-endian f32 files."""

import time

import faiss
import numpy
import sklearn
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from peer import serve

state = {}


def load(vectors, start, dimension, threads):
    state["vectors"] = numpy.fromfile(vectors, dtype="<f4").reshape(-1, dimension)
    state["start"] = numpy.fromfile(start, dtype="<f4").reshape(-1, dimension)
    state["threads"] = threads
    faiss.omp_set_num_threads(threads)
    return {
        "versions": {
            "scikit-learn": sklearn.__version__,
            "faiss-cpu": faiss.__version__,
            "numpy": numpy.__version__,
        }
    }


def scikit_learn(iterations):
    model = KMeans(
        n_clusters=len(state["start"]), init=state["start"], n_init=1, max_iter=iterations, tol=0.0, algorithm="lloyd"
    )
    with threadpool_limits(state["threads"]):
        started = time.perf_counter()
        model.fit(state["vectors"])
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "iterations": int(model.n_iter_), "assignments": model.labels_.tolist()}


def faiss_kmeans(iterations):
    rows, dimension = state["vectors"].shape
    model = faiss.Kmeans(
        dimension,
        len(state["start"]),
        niter=iterations,
        nredo=1,
        spherical=True,
        max_points_per_centroid=rows,
        min_points_per_centroid=1,
    )
    started = time.perf_counter()
    model.train(state["vectors"], init_centroids=state["start"])
    assignments = model.index.search(state["vectors"], 1)[1][:, 0]
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "iterations": len(model.iteration_stats), "assignments": assignments.tolist()}


serve({"load": load, "scikit_learn": scikit_learn, "faiss": faiss_kmeans})
