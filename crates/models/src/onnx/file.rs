//! ONNX files: mapped when read, so that weights are not copied, and whole again when some weights lie in other files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use prost::Message;
use prost::bytes::Bytes;

use crate::ModelsError;
use crate::onnx::proto::{GraphProto, ModelProto, TensorProto};
use crate::wheel::check_entry_name;

/// `data_location` of a tensor whose numbers lie in another file.
const EXTERNAL: i32 = 1;

impl ModelProto {
    /// Reads the file at `path`. Weights stay where they lie until they are used; those in other files (`external_data`,
    /// which must be in the same folder) are found as well. [`ModelsError::BadModelFile`] when the bytes are no ONNX
    /// model.
    pub fn open(path: &Path) -> Result<Self, ModelsError> {
        let damaged = |reason: String| ModelsError::BadModelFile { path: path.to_owned(), reason };
        let mut model = Self::parse(map(path)?).map_err(damaged)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let mut files = HashMap::new();
        for tensor in &mut model.graph_mut().initializer {
            if tensor.data_location == EXTERNAL {
                attach(tensor, folder, &mut files).map_err(|fault| match fault {
                    Fault::Wrong(reason) => {
                        damaged(format!("says of the tensor {} that it {reason}", shown(&tensor.name)))
                    }
                    Fault::Io(error) => error,
                })?;
            }
        }
        Ok(model)
    }

    /// Reads a model out of memory, with a graph in it; the error completes "the file ...".
    pub fn parse(bytes: Bytes) -> Result<Self, String> {
        let model = Self::decode(bytes).map_err(|error| format!("is no ONNX model ({error})"))?;
        if model.graph.is_none() {
            return Err("holds no graph".to_owned());
        }
        Ok(model)
    }

    /// Writes the model to the file at `path`, replacing what is there.
    pub fn write(&self, path: &Path) -> Result<(), ModelsError> {
        Ok(anser_core::storage::write_atomic(path, &self.encode_to_vec())?)
    }

    /// Its graph, made when there is none.
    pub fn graph_mut(&mut self) -> &mut GraphProto {
        self.graph.get_or_insert_default()
    }
}

/// The bytes of a file, mapped.
fn map(path: &Path) -> Result<Bytes, ModelsError> {
    let file = File::open(path).map_err(ModelsError::io("open", path))?;
    #[expect(unsafe_code, reason = "hundreds of megabytes of weights need not be copied to be looked at")]
    // SAFETY: model files are replaced by renaming, never written in place, so the bytes stay while they are mapped.
    let map = unsafe { Mmap::map(&file) }.map_err(ModelsError::io("map", path))?;
    Ok(Bytes::from_owner(map))
}

enum Fault {
    /// Completes "the tensor ...".
    Wrong(String),
    Io(ModelsError),
}

/// Gives `tensor` its numbers out of the other file in `folder` that it names; `files` are those mapped so far.
fn attach(tensor: &mut TensorProto, folder: &Path, files: &mut HashMap<String, Bytes>) -> Result<(), Fault> {
    let field = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let number = |key: &str| {
        let parsed = field(key).map(|text| text.parse::<usize>()).transpose();
        parsed.map_err(|_| Fault::Wrong(format!("lies at a {key} that is no number")))
    };
    let location = field("location").ok_or_else(|| Fault::Wrong("lies in a file without a name".to_owned()))?.clone();
    if check_entry_name(&location).is_err() || location.contains('/') {
        return Err(Fault::Wrong(format!("lies in \"{}\", which is no file in the same folder", shown(&location))));
    }
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let whole = match files.entry(location.clone()) {
        Entry::Occupied(found) => found.into_mut(),
        Entry::Vacant(new) => new.insert(map(&folder.join(&location)).map_err(Fault::Io)?),
    };
    let end = length.map_or(Some(whole.len()), |length| offset.checked_add(length));
    let inside = end.filter(|end| offset <= *end && *end <= whole.len());
    let end = inside.ok_or_else(|| Fault::Wrong(format!("lies beyond the end of {location}")))?;
    tensor.raw_data = whole.slice(offset..end);
    tensor.external_data.clear();
    tensor.data_location = 0;
    Ok(())
}

/// The beginning of a name out of a file, safe to print.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::onnx::{DataType, Dimension, NodeProto, OperatorSetIdProto, StringStringEntryProto, ValueInfoProto};

    fn model(tensor: TensorProto) -> ModelProto {
        let graph = GraphProto {
            node: vec![NodeProto::new("Add", &["x", "w"], &["y"])],
            name: "g".to_owned(),
            initializer: vec![tensor],
            input: vec![ValueInfoProto::tensor("x", DataType::Float, &[Dimension::Named("batch".to_owned())])],
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: 8,
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            ..ModelProto::default()
        }
    }

    #[test]
    fn a_model_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let written = model(TensorProto::f32("w", &[2, 1], &[1.5, -2.0]));
        written.write(&path).unwrap();
        let mut read = ModelProto::open(&path).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.graph_mut().initializer[0].to_f32().unwrap(), [1.5, -2.0]);
    }

    #[test]
    fn numbers_in_another_file_are_found_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let bytes: Vec<u8> = [0.0f32, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(folder.path().join("m.onnx_data"), bytes).unwrap();
        let opened = |entries: &[(&str, &str)]| {
            let external_data = entries
                .iter()
                .map(|(key, value)| StringStringEntryProto { key: (*key).to_owned(), value: (*value).to_owned() })
                .collect();
            let tensor = TensorProto {
                external_data,
                data_location: EXTERNAL,
                raw_data: Bytes::new(),
                ..TensorProto::f32("w", &[2], &[])
            };
            model(tensor).write(&path).unwrap();
            ModelProto::open(&path)
        };
        let good = [("location", "m.onnx_data"), ("offset", "4"), ("length", "8")];
        assert_eq!(opened(&good).unwrap().graph_mut().initializer[0].to_f32().unwrap(), [3.0, 4.0]);
        assert_eq!(opened(&good[..2]).unwrap().graph_mut().initializer[0].to_f32().unwrap(), [3.0, 4.0]);
        for (entries, expected) in [
            (vec![("location", "../secret")], "same folder"),
            (vec![("location", "/etc/passwd")], "same folder"),
            (vec![("location", "a/b")], "same folder"),
            (vec![("offset", "4")], "without a name"),
            (vec![("location", "m.onnx_data"), ("offset", "x")], "no number"),
            (vec![("location", "m.onnx_data"), ("offset", "8"), ("length", "8")], "beyond"),
            (vec![("location", "m.onnx_data"), ("offset", "8"), ("length", "18446744073709551615")], "beyond"),
            (vec![("location", "absent")], "cannot open"),
        ] {
            let message = opened(&entries).unwrap_err().to_string();
            assert!(message.contains(expected), "{entries:?}: {message}");
        }
    }

    #[test]
    fn what_a_tensor_claims_is_checked() {
        let mut tensor = TensorProto::f32("w", &[2], &[1.0, 2.0]);
        tensor.dims = vec![i64::MAX, i64::MAX];
        assert!(tensor.to_f32().unwrap_err().contains("impossible"));
        tensor.dims = vec![-1];
        assert!(tensor.to_f32().unwrap_err().contains("impossible"));
        tensor.dims = vec![1 << 40];
        assert!(tensor.to_f32().unwrap_err().contains("2 numbers"));
        assert!(tensor.to_i64().unwrap_err().contains("Float"));
        let mut bytes = TensorProto::i8("w", &[3], &[-1, 0, 127]);
        assert_eq!(bytes.to_i64().unwrap(), [-1, 0, 127]);
        bytes.data_type = DataType::Float as i32;
        assert!(bytes.to_f32().unwrap_err().contains("no whole number"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ModelProto::parse(bytes.into());
        }

        #[test]
        fn a_damaged_model_is_read_or_refused(at in 0.0..1.0f64, with in any::<u8>()) {
            let mut bytes = model(TensorProto::f32("w", &[2], &[1.0, 2.0])).encode_to_vec();
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = with;
            if let Ok(mut model) = ModelProto::parse(bytes.into()) {
                for tensor in &model.graph_mut().initializer {
                    if let Ok(values) = tensor.to_f32() {
                        prop_assert!(values.len() <= 2);
                    }
                }
            }
        }
    }
}
