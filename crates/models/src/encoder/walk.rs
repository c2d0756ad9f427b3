//! Finding an encoder's tensors in a graph without names, by where its nodes stand: an encoder is the same six products and
//! two norms again and again, and what its attention does with the first three tells them apart.

use crate::encoder::EncoderConfig;
use crate::encoder::graph::{Found, GraphTensors, QUANTISED};
use crate::encoder::names::Names;
use crate::onnx::NodeProto;

/// Products of one block: three before the attention, one behind it, two of the feed-forward.
const PRODUCTS: usize = 6;
/// Nodes looked at between an attention's softmax and the products before it: an export has about ten.
const FARTHEST: usize = 64;

/// A product with its bias: the bias's name, and the node that adds it.
#[derive(Clone, Copy)]
struct Product<'a> {
    bias: &'a str,
    node: &'a NodeProto,
}

/// What stands where in `nodes`; `None` when it is not an encoder of this shape.
pub(crate) fn walk<'a>(graph: &GraphTensors<'a>, nodes: &'a [NodeProto], config: &EncoderConfig) -> Option<Found<'a>> {
    let names = Names::of(config.family);
    let mut found = Found::default();
    tables(graph, nodes, config, &mut found)?;
    let mut norms = nodes.iter().filter_map(|node| norm(graph, node));
    let products: Vec<Product<'_>> = nodes.iter().filter_map(|node| product(graph, node)).collect();
    let softmaxes: Vec<&NodeProto> = nodes.iter().filter(|node| node.op_type == "Softmax").collect();
    let mut name_norm = |found: &mut Found<'a>, name: &str| {
        let (weight, bias) = norms.next()?;
        found.tensors.insert(format!("{name}.weight"), weight);
        found.tensors.insert(format!("{name}.bias"), bias);
        Some(())
    };
    name_norm(&mut found, names.norm)?;
    for number in 0..config.layers {
        let start = number.checked_mul(PRODUCTS)?;
        let block = products.get(start..start.checked_add(PRODUCTS)?)?;
        let [first, second, third, output, up, down] = block else { return None };
        let [query, key, value] = roles(graph, softmaxes.get(number)?, [*first, *second, *third])?;
        for (name, product) in [
            (names.query, query),
            (names.key, key),
            (names.value, value),
            (names.attention_output, *output),
            (names.up, *up),
            (names.down, *down),
        ] {
            let name = format!("{}.{number}.{name}", names.blocks);
            found.tensors.insert(format!("{name}.bias"), product.bias);
            found.products.insert(name, product.node);
        }
        for name in [names.attention_norm, names.output_norm] {
            name_norm(&mut found, &format!("{}.{number}.{name}", names.blocks))?;
        }
    }
    Some(found)
}

/// Tables of embeddings: rows taken by what input, or by something else, which must be positions.
fn tables<'a>(
    graph: &GraphTensors<'a>,
    nodes: &'a [NodeProto],
    config: &EncoderConfig,
    found: &mut Found<'a>,
) -> Option<()> {
    let names = Names::of(config.family);
    for node in nodes.iter().filter(|node| matches!(node.op_type.as_str(), "Gather" | "Slice")) {
        let [table, rows, ..] = node.input.as_slice() else { continue };
        // Numbers of positions, and scales of quantised rows, are looked up as well, but are not as wide.
        let as_wide = |dims: &[i64]| matches!(dims, [_, columns] if usize::try_from(*columns) == Ok(config.hidden));
        if graph.constant(table).is_none_or(|tensor| !as_wide(&tensor.dims)) {
            continue;
        }
        let name = match rows.as_str() {
            "input_ids" => names.tokens,
            "token_type_ids" => names.token_types?,
            _ => names.positions,
        };
        let table = table.strip_suffix(QUANTISED).unwrap_or(table);
        found.tensors.entry(name.to_owned()).or_insert(table);
    }
    let known = |name: &str| found.tensors.contains_key(name);
    (known(names.tokens) && known(names.positions) && names.token_types.is_none_or(known)).then_some(())
}

fn product<'a>(graph: &GraphTensors<'a>, node: &'a NodeProto) -> Option<Product<'a>> {
    let is_vector = |name: &&String| graph.constant(name).is_some_and(|tensor| tensor.dims.len() == 1);
    let bias = node.input.iter().rev().find(is_vector)?;
    graph.is_dense(node, bias).then_some(Product { bias, node })
}

/// Factor and addend of a norm: those of the operator, or of a product and a sum with constants.
fn norm<'a>(graph: &GraphTensors<'a>, node: &'a NodeProto) -> Option<(&'a str, &'a str)> {
    let is_vector = |name: &&String| graph.constant(name).is_some_and(|tensor| tensor.dims.len() == 1);
    if let ("LayerNormalization", [_, weight, bias]) = (node.op_type.as_str(), node.input.as_slice()) {
        return Some((weight, bias));
    }
    if node.op_type != "Add" {
        return None;
    }
    let bias = node.input.iter().find(is_vector)?;
    let scaled = node.input.iter().find_map(|name| graph.made_by(name, &["Mul"]))?;
    let weight = scaled.input.iter().find(is_vector)?;
    // The other factor is the difference from the mean divided by the deviation.
    scaled.input.iter().find_map(|name| graph.made_by(name, &["Div"]))?;
    Some((weight, bias))
}

/// Which of the three products before an attention is query, key and value: the first two are multiplied with each other
/// before the softmax.
fn roles<'a>(graph: &GraphTensors<'a>, softmax: &NodeProto, three: [Product<'a>; 3]) -> Option<[Product<'a>; 3]> {
    let scores = above(graph, softmax.input.first()?, |node| node.op_type == "MatMul")?;
    let [left, right] = scores.input.as_slice() else { return None };
    let is_one = |node: &NodeProto| three.iter().any(|product| std::ptr::eq(product.node, node));
    let query = above(graph, left, is_one)?;
    let key = above(graph, right, is_one)?;
    let of = |node: &NodeProto| three.iter().copied().find(|product| std::ptr::eq(product.node, node));
    let (query, key) = (of(query)?, of(key)?);
    let value = three.into_iter().find(|p| !std::ptr::eq(p.node, query.node) && !std::ptr::eq(p.node, key.node))?;
    (!std::ptr::eq(query.node, key.node)).then_some([query, key, value])
}

/// The nearest node above `value` for which `wanted` holds.
fn above<'a>(graph: &GraphTensors<'a>, value: &str, wanted: impl Fn(&NodeProto) -> bool) -> Option<&'a NodeProto> {
    let mut waiting = vec![graph.maker(value)?];
    for at in 0..FARTHEST {
        let node = *waiting.get(at)?;
        if wanted(node) {
            return Some(node);
        }
        waiting.extend(node.input.iter().filter_map(|name| graph.maker(name)));
    }
    None
}
