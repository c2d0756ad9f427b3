//! The thirteen kinds of harm, in the words of OpenAI's moderation API.

/// Kinds of harm, in the order in which scores are listed. One with a slash is a worse form of the one before the slash.
pub const MODERATION_CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// Where `name` stands among the categories.
pub(super) fn position(name: &str) -> Option<usize> {
    MODERATION_CATEGORIES.iter().position(|category| *category == name)
}

/// The category of which the one at `at` is a worse form.
pub(super) fn parent(at: usize) -> Option<usize> {
    MODERATION_CATEGORIES[at].split_once('/').and_then(|(parent, _)| position(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_forms_know_what_they_are_a_form_of() {
        let parents: Vec<Option<&str>> =
            (0..MODERATION_CATEGORIES.len()).map(|at| parent(at).map(|p| MODERATION_CATEGORIES[p])).collect();
        assert_eq!(parents[1], Some("harassment"));
        assert_eq!(parents[8], Some("self-harm"));
        assert_eq!(parents.iter().flatten().count(), 7);
        assert_eq!(position("violence"), Some(11));
        assert_eq!(position("spam"), None);
    }
}
