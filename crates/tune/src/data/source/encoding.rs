//! From bytes to text, whatever program saved them.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Text and how it was found.
#[derive(Debug)]
pub(in crate::data) struct Decoded {
    pub(in crate::data) text: String,
    /// The encoding's name when it is not UTF-8, for the person to confirm.
    pub(in crate::data) guessed: Option<&'static str>,
    /// Whether bytes were no text in that encoding, and were replaced by U+FFFD.
    pub(in crate::data) damaged: bool,
}

/// Decodes `bytes`: by a byte-order mark, as UTF-8, as UTF-16 when every other byte is NUL, or by the statistics of the
/// letters (GB18030, Windows-1252, `Shift_JIS` and so on).
pub(in crate::data) fn decode(bytes: &[u8]) -> Decoded {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return decode_as(encoding, bytes.get(mark..).unwrap_or_default());
    }
    if let Some(encoding) = utf16_without_mark(bytes) {
        return decode_as(encoding, bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Decoded { text: text.to_owned(), guessed: None, damaged: false };
    }
    // Letters of several bytes hardly come about by chance, so a few broken places among many are damaged UTF-8.
    let utf8 = decode_as(UTF_8, bytes);
    let letters = utf8.text.chars().filter(|c| !c.is_ascii() && *c != char::REPLACEMENT_CHARACTER).count();
    if letters > 4 * broken(&utf8.text) {
        return utf8;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    // GBK is a part of GB18030, which decodes whatever GBK does.
    let guess = if guess == encoding_rs::GBK { encoding_rs::GB18030 } else { guess };
    let decoded = decode_as(guess, bytes);
    if !decoded.damaged {
        return decoded;
    }
    if broken(&utf8.text) <= broken(&decoded.text) { utf8 } else { decoded }
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8]) -> Decoded {
    let (text, damaged) = encoding.decode_without_bom_handling(bytes);
    let guessed = (encoding != UTF_8).then(|| encoding.name());
    Decoded { text: text.into_owned(), guessed, damaged }
}

fn broken(text: &str) -> usize {
    text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count()
}

/// UTF-16 of mostly Latin text has a NUL in every other byte.
fn utf16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = bytes.get(..4096).unwrap_or(bytes);
    let pairs = sample.len() / 2;
    if pairs < 8 {
        return None;
    }
    let nul_at = |offset: usize| sample.iter().skip(offset).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (nul_at(0), nul_at(1));
    if odd * 2 > pairs && even * 10 < pairs {
        Some(UTF_16LE)
    } else if even * 2 > pairs && odd * 10 < pairs {
        Some(UTF_16BE)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHINESE: &str =
        "问题,答案\n你们几点开门？,我们早上八点开门，欢迎光临。\n可以退货吗？,收到商品后三十天内可以退货。\n";
    const FRENCH: &str =
        "question,answer\nOù êtes-vous situés ?,Nous sommes près de la gare, à côté du café « Déjà vu ».\n";

    #[test]
    fn text_is_read_in_the_encoding_that_it_was_saved_in() {
        for (text, encoding) in [(CHINESE, encoding_rs::GB18030), (FRENCH, encoding_rs::WINDOWS_1252)] {
            let decoded = decode(&encoding.encode(text).0);
            assert_eq!((decoded.text.as_str(), decoded.damaged), (text, false));
            assert!(decoded.guessed.is_some_and(|name| name == encoding.name()), "{decoded:?}");
        }
    }

    #[test]
    fn utf16_is_read_with_and_without_its_mark() {
        let bytes: Vec<u8> = FRENCH.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [vec![0xff, 0xfe], bytes.clone()].concat();
        let big: Vec<u8> = FRENCH.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (bytes, name) in [(&bytes, "UTF-16LE"), (&marked, "UTF-16LE"), (&big, "UTF-16BE")] {
            let decoded = decode(bytes);
            assert_eq!((decoded.text.as_str(), decoded.guessed), (FRENCH, Some(name)));
        }
    }

    #[test]
    fn utf8_asks_nothing_and_a_broken_byte_is_told() {
        let marked = format!("\u{feff}{CHINESE}");
        let decoded = decode(marked.as_bytes());
        assert_eq!((decoded.text.as_str(), decoded.guessed, decoded.damaged), (CHINESE, None, false));
        let mut cut = CHINESE.as_bytes().to_vec();
        cut.truncate(cut.len() - 2);
        let decoded = decode(&cut);
        assert!(decoded.damaged && decoded.text.starts_with("问题"), "{decoded:?}");
    }
}
