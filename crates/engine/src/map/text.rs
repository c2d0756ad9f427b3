//! Words on a page: how wide they are, where they break, and which characters a file of XML may hold.

/// About how wide `text` is at a font size: wide characters (Chinese, Japanese, Korean, emoji) fill a square. Errs on the
/// wide side, so that a box of this width holds the text in any common sans-serif font.
pub(crate) fn text_width(text: &str, size: f32) -> f32 {
    text.chars().map(char_width).sum::<f32>() * size
}

/// Width of a character in ems.
fn char_width(c: char) -> f32 {
    match c {
        '\u{1100}'..='\u{11ff}'
        | '\u{2e80}'..='\u{d7af}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f000}'..='\u{3ffff}' => 1.0,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.92,
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | 'I' | ' ' | ',' | '.' | ';' | ':' | '\'' | '(' | ')' => 0.38,
        'A'..='Z' => 0.68,
        _ => 0.6,
    }
}

/// As much of `text` as is at most `width` wide, with an ellipsis when cut.
pub(crate) fn fit_text(text: &str, size: f32, width: f32) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let room = width - size;
    let mut used = 0.0;
    let within = |c: &char| {
        used += char_width(*c) * size;
        used <= room
    };
    let cut: String = text.chars().take_while(within).collect();
    format!("{}…", cut.trim_end_matches([' ', ',', ';', ':']))
}

/// `text` in at most `lines` lines of at most `width` each: broken at spaces and after `_`, `-` and `/`, inside a word only
/// when a line holds none of these, and cut with an ellipsis when it is too long. At least one line.
pub(super) fn wrap_text(text: &str, size: f32, width: f32, lines: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while out.len() + 1 < lines && text_width(rest, size) > width {
        let mut used = 0.0;
        let mut end = rest.len();
        let mut space = None;
        for (at, c) in rest.char_indices() {
            used += char_width(c) * size;
            if used > width {
                end = at;
                break;
            }
            match c {
                ' ' => space = Some(at),
                '_' | '-' | '/' => space = Some(at + 1),
                _ => {}
            }
        }
        // A line narrower than one character would never end.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let (line, after) = rest.split_at(space.unwrap_or(end).max(first));
        out.push(line.trim_end().to_owned());
        rest = after.trim_start();
    }
    if out.is_empty() || !rest.is_empty() {
        out.push(fit_text(rest, size, width));
    }
    out
}

/// On one line and without the characters that XML forbids even when escaped.
pub(crate) fn visible(text: &str) -> String {
    let kept = |c: &char| *c == '\n' || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'));
    text.chars().filter(kept).collect()
}

/// A count with commas between thousands.
pub(crate) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number as a person writes it: four significant digits, no zeros at the end.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e9 || (size > 0.0 && size < 1e-4) {
        return format!("{value:.2e}");
    }
    let whole = if size >= 1.0 { size.log10().floor() as usize + 1 } else { 1 };
    let decimals = 4_usize.saturating_sub(whole);
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_its_width() {
        assert_eq!(fit_text("coffee", 12.0, 100.0), "coffee");
        for text in ["coffee, beans, roast, espresso", "咖啡豆的味道很好很好很好"] {
            let cut = fit_text(text, 12.0, 80.0);
            assert!(cut.ends_with('…') && text_width(&cut, 12.0) <= 84.0, "{cut}");
        }
    }

    #[test]
    fn text_breaks_at_spaces_and_ends_in_an_ellipsis() {
        let lines = wrap_text("strong coffee from dark beans", 10.0, 80.0, 3);
        assert_eq!(lines, ["strong coffee", "from dark", "beans"]);
        let two = wrap_text("strong coffee from dark beans of the hills", 10.0, 90.0, 2);
        assert!(two.len() == 2 && two[1].starts_with("from") && two[1].ends_with('…'), "{two:?}");
        assert_eq!(wrap_text("", 10.0, 90.0, 2), [""]);
        assert_eq!(wrap_text("card_payment_fee_charged", 10.0, 90.0, 3), ["card_payment_", "fee_charged"]);
        for line in wrap_text("咖啡豆的味道很好很好很好", 10.0, 45.0, 9) {
            assert!(line.chars().count() <= 4);
        }
        assert_eq!(wrap_text("ab", 10.0, 1.0, 5).concat().replace('…', ""), "ab");
    }

    #[test]
    fn thousands_have_commas_and_numbers_no_idle_zeros() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let numbers = [0.0, 1.0, 2.5, 0.126_49, 1234.5, -0.000_01, 100_000.0, 3.0e12].map(number);
        assert_eq!(numbers, ["0", "1", "2.5", "0.126", "1234", "-1.00e-5", "100000", "3.00e12"]);
    }
}
