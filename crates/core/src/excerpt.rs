/// The first `most` characters of a text from outside, safe to stand inside a one-sentence message: control
/// characters are escaped, and "…" says that more followed.
pub fn excerpt(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).flat_map(escaped).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// Quotes stay as they are: a message that quotes a name stays readable.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let kept = matches!(character, '"' | '\'').then_some(character);
    let escaped = kept.is_none().then(|| character.escape_debug());
    kept.into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("a\r\nb\u{1b}[31m \"c\"", 80), "a\\r\\nb\\u{1b}[31m \"c\"");
        assert_eq!(excerpt("水壶水壶", 2), "水壶…");
        assert_eq!(excerpt("水壶", 2), "水壶");
    }
}
