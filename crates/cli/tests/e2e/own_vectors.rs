//! Vectors from outside, in files that pyarrow writes, and exports that pyarrow reads.

use std::process::Command;

use crate::support::{json, run, stderr, tool};

/// Writes three rows with vectors as Parquet, as an Arrow file and as an Arrow stream.
const WRITE: &str = r#"
import sys
import pyarrow as pa
import pyarrow.parquet as pq
rows = {
    "id": pa.array(["a", "b", "c"]),
    "text": pa.array(["red kettle", "blue kettle", "green pan"]),
    "n": pa.array([1, 2, None], pa.int32()),
    "tags": pa.array([["x", "y"], None, ["z"]], pa.list_(pa.string())),
}
vectors = [[3.0, 4.0], [0.0, -2.0], [0.25, 0.5]]
single = pa.table(rows | {"embedding": pa.array(vectors, pa.list_(pa.float32(), 2))})
double = pa.table(rows | {"embedding": pa.array(vectors, pa.list_(pa.float64()))})
pq.write_table(single, sys.argv[1] + "/in.parquet")
with pa.ipc.new_file(sys.argv[1] + "/in.arrow", double.schema) as out:
    out.write_table(double)
with pa.ipc.new_stream(sys.argv[1] + "/in.arrows", single.schema) as out:
    out.write_table(single)
"#;

/// Reads exports and checks their types, and that all hold the very same vectors.
const READ: &str = r#"
import sys
import pyarrow as pa
import pyarrow.parquet as pq
tables = [pq.read_table(sys.argv[1] + "/out.parquet"), pa.ipc.open_stream(sys.argv[1] + "/out.arrow").read_all()]
for table in tables:
    kinds = {field.name: str(field.type) for field in table.schema}
    assert list(kinds) == ["id", "title", "text", "n", "tags", "embedding"], kinds
    assert table.schema.field("embedding").type.list_size == 2, kinds
    assert table.schema.field("embedding").type.value_type == pa.float32(), kinds
    assert kinds["n"] == "int64" and kinds["tags"].startswith("list<"), kinds
    assert table["tags"].to_pylist() == [["x", "y"], None, ["z"]]
    assert table["n"].to_pylist() == [1, 2, None]
    vectors = table["embedding"].to_pylist()
    assert abs(vectors[0][0] - 0.6) < 1e-6 and vectors[1] == [0.0, -1.0], vectors
assert tables[0]["embedding"].to_pylist() == tables[1]["embedding"].to_pylist()
"#;

#[test]
fn files_of_pyarrow_are_ingested_without_a_model_and_exported_for_it() {
    let Some(python) = tool("ANSER_TEST_PYTHON", "python3-with-openai") else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = |script: &str| {
        let output = Command::new(&python).args(["-c", script]).arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    script(WRITE);
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for (collection, file) in [("one", "in.parquet"), ("two", "in.arrow"), ("three", "in.arrows")] {
        // No model can be had from here.
        let data = folder.path().join("data");
        let reports = json(&data, ["ingest", &path(file), "-c", collection, "--vectors", "mine", "--offline"]);
        assert_eq!(reports[0]["inserted"], 3, "{reports:#}");
        let info = json(&data, ["collections", "show", collection]);
        assert_eq!(info["embedder"]["model"], "mine");
        assert_eq!(info["embedder"]["dimension"], 2);
        for out in ["out.parquet", "out.arrow"] {
            let report = json(&data, ["export", collection, "--vectors", "--out", &path(out)]);
            assert_eq!(report["documents"], 3);
            assert_eq!(report["dimension"], 2);
        }
        script(READ);
        let again = format!("{collection}-again");
        let reports = json(&data, ["ingest", &path("out.parquet"), "-c", &again, "--vectors", "mine"]);
        assert_eq!(reports[0]["inserted"], 3, "{reports:#}");
        let exported = |collection: &str| run(&data, ["export", collection, "--vectors"]).stdout;
        assert_eq!(exported(&again), exported(collection), "bit for bit");
    }
}
