//! Taking a tokenizer off the beginning of an ONNX graph. The numbers of fields are those of `onnx.proto`
//! (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>).

use std::collections::HashSet;

use super::wire::{Field, fields, put, put_number};

/// The tokenizer's operator, and the domain that it comes from.
const OPERATOR: &str = "SentencepieceTokenizer";
const DOMAIN: &str = "ai.onnx.contrib";
/// What the remaining graph takes instead of texts: the ids of all of them one behind another, int32 [n] ...
const TOKENS: &str = "tokens";
/// ... and where each begins and the last one ends, int64 [texts + 1].
const ROW_SPLITS: &str = "row_splits";

/// `TensorProto.DataType`.
const INT32: u64 = 6;
const INT64: u64 = 7;

/// Field numbers of `ModelProto`.
mod model {
    pub(super) const GRAPH: u32 = 7;
    pub(super) const OPSET_IMPORT: u32 = 8;
}

/// Field numbers of `GraphProto`.
mod graph {
    pub(super) const NODE: u32 = 1;
    pub(super) const INITIALIZER: u32 = 5;
    pub(super) const INPUT: u32 = 11;
    pub(super) const VALUE_INFO: u32 = 13;
}

/// Field numbers of `NodeProto`.
mod node {
    pub(super) const INPUT: u32 = 1;
    pub(super) const OUTPUT: u32 = 2;
    pub(super) const OPERATOR: u32 = 4;
    pub(super) const ATTRIBUTE: u32 = 5;
    pub(super) const DOMAIN: u32 = 7;
}

/// `OperatorSetIdProto.domain`, `TensorProto.name`, and `AttributeProto`'s name and string.
const OPSET_DOMAIN: u32 = 1;
const TENSOR_NAME: u32 = 8;
const ATTRIBUTE_NAME: u32 = 1;
const ATTRIBUTE_STRING: u32 = 4;

/// A graph in two parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    /// The `SentencePiece` model that the operator held.
    pub(super) piece_model: &'a [u8],
    /// The model without the operator.
    pub(super) remaining: Vec<u8>,
}

/// What the tokenizer's node says.
struct Tokenizer<'a> {
    inputs: Vec<&'a str>,
    tokens: &'a str,
    row_splits: &'a str,
    piece_model: &'a [u8],
}

/// Cuts the one `SentencePiece` operator off the ONNX file `bytes`. The error completes "the file ...".
pub(super) fn cut(bytes: &[u8]) -> Result<Cut<'_>, String> {
    let parts = fields(bytes)?;
    let graph = only(parts.iter().filter(|f| f.number == model::GRAPH), "graph")?;
    let (remaining_graph, piece_model) = cut_graph(graph.content)?;
    let mut remaining = Vec::with_capacity(remaining_graph.len() + 1024);
    for part in &parts {
        match part.number {
            model::GRAPH => put(&mut remaining, model::GRAPH, &remaining_graph),
            model::OPSET_IMPORT if text_of(part.content, OPSET_DOMAIN)? == DOMAIN => {}
            _ => remaining.extend_from_slice(part.whole),
        }
    }
    Ok(Cut { piece_model, remaining })
}

fn cut_graph(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let parts = fields(bytes)?;
    let mut tokenizers = Vec::new();
    let mut nodes = Vec::new();
    for part in parts.iter().filter(|f| f.number == graph::NODE) {
        let node = fields(part.content)?;
        if text_in(&node, node::OPERATOR)? == OPERATOR && text_in(&node, node::DOMAIN)? == DOMAIN {
            tokenizers.push(tokenizer(&node)?);
        } else {
            nodes.push((part.whole, node));
        }
    }
    let tokenizer = only(tokenizers.iter(), OPERATOR)?;
    let used = nodes.iter().flat_map(|(_, node)| node).filter(|f| f.number == node::INPUT);
    let used: HashSet<&[u8]> = used.map(|f| f.content).collect();
    if tokenizer.inputs.first().is_some_and(|text| used.contains(text.as_bytes())) {
        return Err("reads its texts in other places than its tokenizer, too".to_owned());
    }

    let mut out = Vec::with_capacity(bytes.len());
    for (whole, node) in &nodes {
        put_node(&mut out, whole, node, tokenizer);
    }
    for part in &parts {
        match part.number {
            graph::NODE | graph::INPUT | graph::VALUE_INFO => {}
            graph::INITIALIZER => {
                let name = text_of(part.content, TENSOR_NAME)?;
                if used.contains(name.as_bytes()) || !tokenizer.inputs.contains(&name) {
                    out.extend_from_slice(part.whole);
                }
            }
            _ => out.extend_from_slice(part.whole),
        }
    }
    put(&mut out, graph::INPUT, &tensor_input(TOKENS, INT32, "n"));
    put(&mut out, graph::INPUT, &tensor_input(ROW_SPLITS, INT64, "texts_plus_1"));
    Ok((out, tokenizer.piece_model))
}

fn tokenizer<'a>(node: &[Field<'a>]) -> Result<Tokenizer<'a>, String> {
    let texts = |number: u32| node.iter().filter(move |f| f.number == number).map(Field::text);
    let outputs = texts(node::OUTPUT).collect::<Result<Vec<_>, _>>()?;
    let [tokens, row_splits] = outputs[..] else {
        return Err(format!("has a {OPERATOR} with {} outputs where 2 belong", outputs.len()));
    };
    let mut piece_model = None;
    for attribute in node.iter().filter(|f| f.number == node::ATTRIBUTE) {
        let attribute = fields(attribute.content)?;
        if text_in(&attribute, ATTRIBUTE_NAME)? == "model" {
            piece_model = attribute.iter().find(|f| f.number == ATTRIBUTE_STRING).map(|f| f.content);
        }
    }
    let piece_model = piece_model.ok_or_else(|| format!("has a {OPERATOR} without a piece model"))?;
    Ok(Tokenizer { inputs: texts(node::INPUT).collect::<Result<_, _>>()?, tokens, row_splits, piece_model })
}

/// Appends a node; where it read the tokenizer it now reads the graph's inputs.
fn put_node(out: &mut Vec<u8>, whole: &[u8], node: &[Field], tokenizer: &Tokenizer) {
    let renamed = |f: &Field| match f.content {
        _ if f.number != node::INPUT => None,
        name if name == tokenizer.tokens.as_bytes() => Some(TOKENS),
        name if name == tokenizer.row_splits.as_bytes() => Some(ROW_SPLITS),
        _ => None,
    };
    if node.iter().all(|f| renamed(f).is_none()) {
        out.extend_from_slice(whole);
        return;
    }
    let mut changed = Vec::with_capacity(whole.len());
    for field in node {
        match renamed(field) {
            Some(name) => put(&mut changed, node::INPUT, name.as_bytes()),
            None => changed.extend_from_slice(field.whole),
        }
    }
    put(out, graph::NODE, &changed);
}

/// A `ValueInfoProto` of a tensor with one dimension that the graph does not fix.
fn tensor_input(name: &str, element: u64, length: &str) -> Vec<u8> {
    let message = |number: u32, content: &[u8]| {
        let mut out = Vec::new();
        put(&mut out, number, content);
        out
    };
    let shape = message(1, &message(2, length.as_bytes()));
    let mut tensor = Vec::new();
    put_number(&mut tensor, 1, element);
    put(&mut tensor, 2, &shape);
    let mut info = message(1, name.as_bytes());
    put(&mut info, 2, &message(1, &tensor));
    info
}

/// The one element there must be.
fn only<T>(mut found: impl Iterator<Item = T>, what: &str) -> Result<T, String> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!("has no {what}")),
        (Some(_), Some(_)) => Err(format!("has more than one {what}")),
    }
}

/// The text in field `number` of a message, empty when there is none.
fn text_of(message: &[u8], number: u32) -> Result<&str, String> {
    text_in(&fields(message)?, number)
}

fn text_in<'a>(message: &[Field<'a>], number: u32) -> Result<&'a str, String> {
    message.iter().find(|f| f.number == number).map_or(Ok(""), Field::text)
}
