//! The form in which words are compared: Unicode's compatibility composition, lower case, letters without accents.

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use super::script::Script;

/// Appends the folded form of `word` to `out`.
///
/// Full-width and half-width forms, ligatures and separate marks become what they stand for (NFKC). Accents are left out
/// where writers leave them out themselves: on Latin and Greek letters, the Russian yo, and the vowel signs of Arabic and
/// Hebrew. Elsewhere a mark makes another letter.
pub(super) fn fold(word: &str, out: &mut String) {
    if word.is_ascii() {
        out.extend(word.bytes().map(|b| char::from(b.to_ascii_lowercase())));
        return;
    }
    let composed = ComposingNormalizerBorrowed::new_nfkc().normalize(word);
    for c in composed.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            'ø' => out.push('o'),
            'đ' | 'ð' => out.push('d'),
            'ł' => out.push('l'),
            'ħ' => out.push('h'),
            'ı' => out.push('i'),
            'ŧ' => out.push('t'),
            'ё' => out.push('е'),
            'ς' => out.push('σ'),
            // Signs that a writer may leave out, the Arabic stretching line, and marks that nothing composes with.
            '\u{300}'..='\u{36f}'
            | '\u{591}'..='\u{5bd}'
            | '\u{610}'..='\u{61a}'
            | '\u{640}'
            | '\u{64b}'..='\u{65f}' => {}
            _ if matches!(Script::of(c), Script::Latin | Script::Greek) => {
                let mut letter = [0; 4];
                let letter = c.encode_utf8(&mut letter);
                let apart = DecomposingNormalizerBorrowed::new_nfkd().normalize(letter);
                out.extend(apart.chars().filter(|c| !matches!(c, '\u{300}'..='\u{36f}')));
            }
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(word: &str) -> String {
        let mut out = String::new();
        fold(word, &mut out);
        out
    }

    #[test]
    fn forms_that_mean_the_same_become_one() {
        for (word, expected) in [
            ("Café", "cafe"),
            ("Cafe\u{301}", "cafe"),
            ("ＡＢＣ１２", "abc12"),
            ("Straße", "strasse"),
            ("Łódź", "lodz"),
            ("ﬁne", "fine"),
            ("Ёлка", "елка"),
            ("йод", "йод"),
            ("Άνθρωπος", "ανθρωποσ"),
            ("ｶﾞｽ", "ガス"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("İstanbul", "istanbul"),
            ("हिन्दी", "हिन्दी"),
            ("مُحَمَّد", "محمد"),
        ] {
            assert_eq!(folded(word), expected, "{word}");
        }
    }
}
