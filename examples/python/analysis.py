"""Analyses a collection over HTTP, with nothing but the standard library and pyarrow.

    anser serve                     # in one terminal
    python analysis.py              # in another; ANSER_URL names another server

Makes the collection `reviews` from examples/data/reviews.csv if there is none, clusters its bad reviews, reads the rows
as Arrow and Parquet, trains a classifier of products, and asks for more reviews like one. The collection, the jobs and
the classifier stay on the server.
"""

import csv
import io
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

URL = os.environ.get("ANSER_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("ANSER_API_KEY", "unused")
COLLECTION = os.environ.get("ANSER_COLLECTION", "reviews")
REVIEWS = Path(__file__).resolve().parent.parent / "data" / "reviews.csv"
BAD = {"type": "lte", "key": "score", "value": 2}


def call(method: str, path: str, body: object = None) -> bytes:
    """One request; what it answers. A refusal ends the script with the server's own sentence."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{URL}/v1{path}", data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.read()
    except urllib.error.HTTPError as refusal:
        message = json.load(refusal)["error"]["message"]
        raise SystemExit(f"{method} {path}: {refusal.code}: {message}") from None


def get(path: str) -> dict:
    return json.loads(call("GET", path))


def post(path: str, body: dict) -> dict:
    return json.loads(call("POST", path, body))


def ingest() -> None:
    """The reviews as documents with the attributes `product`, `score` and `date`, unless the collection is there."""
    if COLLECTION in [collection["name"] for collection in get("/collections")["data"]]:
        return
    post("/collections", {"name": COLLECTION})
    with open(REVIEWS, newline="", encoding="utf-8") as file:
        documents = [
            {
                "id": row["id"],
                "title": row["title"],
                "text": row["text"],
                # A text in RFC 3339 is a time.
                "attributes": {
                    "product": row["product"],
                    "score": int(row["score"]),
                    "date": f"{row['date']}T00:00:00Z",
                },
            }
            for row in csv.DictReader(file)
        ]
    report = post(f"/collections/{COLLECTION}/documents", {"documents": documents})
    print(f"ingested: {report['inserted']} of {len(documents)} reviews")
    assert report["inserted"] == len(documents)


def run(kind: str, **options: object) -> str:
    """Makes a job, tells how far it is, and returns its id once it has succeeded."""
    job = post(f"/collections/{COLLECTION}/jobs", {"type": kind, **options})
    print(f"{kind}: {job['id']}")
    told = None
    while job["status"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.1)
        job = get(f"/jobs/{job['id']}")
        progress = job["progress"]
        if progress["stage"] and progress["stage"] != told:
            told = progress["stage"]
            share = "" if progress["fraction"] is None else f", {progress['fraction']:.0%}"
            print(f"  {told}{share}")
    assert job["status"] == "succeeded", f"{job['status']}: {job['error'] and job['error']['message']}"
    print(f"  {job['figures']['documents']} documents in {job['figures']['seconds']:.1f} s")
    return job["id"]


def result(job: str, **query: str) -> bytes:
    """A file of a job: its report, or the table `name` in the format `format`."""
    return call("GET", f"/jobs/{job}/result?{urllib.parse.urlencode(query)}")


def cluster() -> None:
    """What the bad reviews are about, and how bad each subject is."""
    job = run("cluster", filter=BAD, k=4)
    report = json.loads(result(job))
    with pa.ipc.open_stream(result(job, name="documents", format="arrow")) as stream:
        rows = stream.read_all()
    assert rows.equals(pq.read_table(io.BytesIO(result(job, name="documents", format="parquet"))))
    assert rows.num_rows == report["documents"] and max(rows["score"].to_pylist()) <= 2, "only bad reviews"

    table = rows.group_by("label").aggregate([("id", "count"), ("score", "mean"), ("similarity", "mean")])
    table = table.sort_by([("id_count", "descending"), ("label", "ascending")])
    print(f"  {'cluster':<36}{'reviews':>8}{'mean score':>12}{'mean cosine':>13}")
    for row in table.to_pylist():
        print(f"  {row['label']:<36}{row['id_count']:>8}{row['score_mean']:>12.2f}{row['similarity_mean']:>13.2f}")
    sizes = {one["label"]: one["size"] for one in report["clusters"]}
    assert sizes == dict(zip(table["label"].to_pylist(), table["id_count"].to_pylist()))
    print(f"  silhouette {report['silhouette']:.3f}; {report['stability']['verdict']}")


def classify() -> None:
    """A classifier of products: how good it is on reviews that it has not seen, and what it says of two texts."""
    report = json.loads(result(run("train_classifier", label="product", save_as="product")))
    measured, saved = report["evaluation"], report["saved"]
    print(
        f"  {saved['name']}, version {saved['version']}: accuracy {measured['accuracy']['mean']:.2f}, "
        f"always \"{measured['majority']['label']}\" {measured['majority']['accuracy']:.2f}"
    )
    texts = ["Suction is weak on carpets and the bin is too small.", "The lumbar support is too hard."]
    reply = post(f"/collections/{COLLECTION}/classify", {"model": saved["name"], "input": texts})
    for text, found in zip(texts, reply["data"]):
        print(f"  {found['label']} ({found['probability']:.2f}): {text}")
    assert [found["label"] for found in reply["data"]] == ["vacuum cleaner", "office chair"]


def recommend(review: str) -> None:
    """More bad reviews like one."""
    reply = post(f"/collections/{COLLECTION}/recommend", {"positive": [{"id": review}], "filter": BAD, "limit": 3})
    print(f"like {review}:")
    for hit in reply["hits"]:
        print(f"  {hit['score']:.3f}  {hit['id']}  {hit['text'][:70]}")
    assert len(reply["hits"]) == 3 and all(hit["id"] != review for hit in reply["hits"])
    assert all(hit["attributes"]["score"] <= 2 for hit in reply["hits"])


if __name__ == "__main__":
    ingest()
    cluster()
    classify()
    recommend("r-0183")
    print("ok")
