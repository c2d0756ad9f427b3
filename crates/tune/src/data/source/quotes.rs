//! JSON whose quotes a word processor or a Chinese keyboard made typographic, put right.

/// Signs that open or close a string in such copies.
const QUOTES: [char; 12] = ['"', '“', '”', '„', '‟', '＂', '«', '»', '\'', '‘', '’', '″'];

/// Writes `line` as JSON with straight quotes and ASCII punctuation between the strings. What the strings say stays as it
/// is: a quote inside one is told from the closing one by what follows. The result may still not be JSON.
pub(super) fn straighten(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let mut out = String::with_capacity(line.len() + 16);
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        at += 1;
        if !QUOTES.contains(&c) {
            out.push(ascii_punctuation(c));
            continue;
        }
        out.push('"');
        at = copy_string(&chars, at, c, &mut out);
        out.push('"');
    }
    out
}

/// Copies a string's characters from `at` until the quote that closes it; gives the place after that.
fn copy_string(chars: &[char], mut at: usize, opening: char, out: &mut String) -> usize {
    while let Some(c) = chars.get(at).copied() {
        at += 1;
        match c {
            '\\' => {
                let Some(escaped) = chars.get(at).copied() else { break };
                at += 1;
                // JSON knows no escaped apostrophe.
                if escaped != '\'' {
                    out.push('\\');
                }
                out.push(escaped);
            }
            _ if closes(c, opening) && ends_string(&chars[at..]) => return at,
            '"' => out.push_str("\\\""),
            '\t' => out.push_str("\\t"),
            _ => out.push(c),
        }
    }
    at
}

/// Whether `c` can close a string that `opening` opened: straight quotes close their like, typographic ones any
/// typographic or double one.
fn closes(c: char, opening: char) -> bool {
    if opening == '\'' || opening == '‘' || opening == '’' {
        return matches!(c, '\'' | '‘' | '’');
    }
    QUOTES.contains(&c) && !matches!(c, '\'' | '‘' | '’')
}

/// Whether what follows a quote shows that the string is over.
fn ends_string(rest: &[char]) -> bool {
    let mut following = rest.iter().copied().filter(|c| !c.is_whitespace());
    match following.next().map(ascii_punctuation) {
        None | Some('}' | ']' | ':') => true,
        // After a comma comes another string, or a value or object in a list; in running text comes a word.
        Some(',') => following.next().is_none_or(|c| QUOTES.contains(&c) || matches!(c, '{' | '[' | '｛' | '［')),
        Some(_) => false,
    }
}

fn ascii_punctuation(c: char) -> char {
    match c {
        '：' => ':',
        '，' => ',',
        '｛' => '{',
        '｝' => '}',
        '［' => '[',
        '］' | '】' => ']',
        '\u{3000}' | '\u{a0}' => ' ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(line: &str) -> serde_json::Value {
        let straight = straighten(line);
        serde_json::from_str(&straight).unwrap_or_else(|error| panic!("{line} became {straight}: {error}"))
    }

    #[test]
    fn typographic_quotes_become_json_and_texts_stay() {
        let wanted = serde_json::json!({"prompt": "什么是“退货”？", "completion": " 三十天内，免费。"});
        for line in [
            "{“prompt”:“什么是“退货”？”,“completion”:“ 三十天内，免费。”}",
            "｛“prompt”：“什么是“退货”？”，“completion”：“ 三十天内，免费。”｝",
            "{\"prompt\": \"什么是“退货”？\", \"completion\": \" 三十天内，免费。\"}",
            "{”prompt”: “什么是“退货”？“, „completion“: « 三十天内，免费。»}",
        ] {
            assert_eq!(parsed(line), wanted, "{line}");
        }
    }

    #[test]
    fn python_literals_and_straight_quotes_inside_are_put_right() {
        assert_eq!(parsed("{'prompt': 'It\\'s \"here\"', 'completion': 'No, it isn't'}")["completion"], "No, it isn't");
        assert_eq!(parsed("{“prompt”: “say \"yes\", please”, “completion”: “yes”}")["prompt"], "say \"yes\", please");
    }

    proptest! {
        #[test]
        fn whatever_the_line_is_nothing_panics(line in "(?s).{0,200}") {
            straighten(&line);
        }

        #[test]
        fn json_with_curled_structure_quotes_is_read_again(prompt in "[a-zA-Z0-9 ?。，]{1,30}", completion in "[a-zA-Z0-9 ?。]{1,30}") {
            let line = format!("{{“prompt”:“{prompt}”,“completion”:“{completion}”}}");
            let value = parsed(&line);
            prop_assert_eq!(value["prompt"].as_str(), Some(prompt.as_str()));
            prop_assert_eq!(value["completion"].as_str(), Some(completion.as_str()));
        }
    }
}
