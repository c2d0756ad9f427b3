//! Which writing system a word is in, and so how it becomes terms.

/// Writing systems that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// Letters with or without marks, stemmed as English.
    Latin,
    /// Stemmed as Russian.
    Cyrillic,
    /// Stemmed as Greek.
    Greek,
    /// Stemmed as Arabic.
    Arabic,
    /// Stemmed as Tamil.
    Tamil,
    /// Chinese characters and Japanese syllables: no spaces between words.
    Ideographic,
    /// Korean: spaces between groups of a word and its particles.
    Hangul,
    /// Words as they are.
    Other,
}

impl Script {
    /// The script of a letter or digit.
    pub(super) fn of(c: char) -> Self {
        match c {
            'a'..='z'
            | 'A'..='Z'
            | '\u{aa}'
            | '\u{ba}'
            | '\u{c0}'..='\u{24f}'
            | '\u{1e00}'..='\u{1eff}'
            | '\u{ff21}'..='\u{ff3a}'
            | '\u{ff41}'..='\u{ff5a}'
            | '\u{fb00}'..='\u{fb06}' => Self::Latin,
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Self::Greek,
            '\u{400}'..='\u{52f}' => Self::Cyrillic,
            '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' => {
                Self::Arabic
            }
            '\u{b80}'..='\u{bff}' => Self::Tamil,
            '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7ff}' => Self::Hangul,
            '\u{3005}'..='\u{3007}'
            | '\u{3040}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{ff66}'..='\u{ff9f}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{323af}' => Self::Ideographic,
            _ => Self::Other,
        }
    }

    /// The script of a word's first letter.
    pub(super) fn of_word(word: &str) -> Self {
        word.chars().find(|c| c.is_alphabetic()).map_or(Self::Other, Self::of)
    }

    /// Whether a run of it also gives its overlapping pairs of characters.
    pub(super) fn has_pairs(self) -> bool {
        matches!(self, Self::Ideographic | Self::Hangul)
    }
}
