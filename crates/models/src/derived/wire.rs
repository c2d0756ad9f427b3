//! Walking and writing protocol buffers field by field, so that what is not touched keeps its bytes
//! (<https://protobuf.dev/programming-guides/encoding/>).

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// One field of a message as it stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// Its number in the schema.
    pub(super) number: u32,
    /// The content of a string, of bytes or of a message; empty for numbers.
    pub(super) content: &'a [u8],
    /// Key and value.
    pub(super) whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// The content as text.
    pub(super) fn text(&self) -> Result<&'a str, String> {
        std::str::from_utf8(self.content).map_err(|_| format!("has a name in field {} that is no UTF-8", self.number))
    }
}

/// The fields of `message`, in order.
pub(super) fn fields(message: &[u8]) -> Result<Vec<Field<'_>>, String> {
    let mut rest = message;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let before = rest;
        let (number, kind) = decode_key(&mut rest).map_err(damaged)?;
        let length = match kind {
            WireType::Varint => {
                decode_varint(&mut rest).map_err(damaged)?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                usize::try_from(decode_varint(&mut rest).map_err(damaged)?).unwrap_or(usize::MAX)
            }
            WireType::StartGroup | WireType::EndGroup => return Err("holds a group, which ONNX does not use".into()),
        };
        let (value, after) = rest.split_at_checked(length).ok_or("ends in the middle of a field")?;
        let content = if kind == WireType::LengthDelimited { value } else { &[] };
        let whole = before.get(..before.len() - after.len()).unwrap_or(before);
        fields.push(Field { number, content, whole });
        rest = after;
    }
    Ok(fields)
}

fn damaged(error: impl std::fmt::Display) -> String {
    format!("is not a protocol buffer ({error})")
}

/// Appends a field of bytes, text or a message.
pub(super) fn put(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}
