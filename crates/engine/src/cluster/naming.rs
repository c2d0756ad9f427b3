//! Short names of clusters: their first keywords, or what a chat model makes of keywords and typical texts.

use std::collections::HashSet;

use anser_core::{ChatMessage, ErrorKind, GenerateOptions, Generator, ProgressUnit, Prompt, Role};
use anser_index::analysis::Keyword;

use super::typical::Listed;
use crate::EngineError;
use crate::analysis::Work;

/// Keywords that make up a name.
const NAME_KEYWORDS: usize = 3;

/// Keywords that a chat model is shown.
const SHOWN_KEYWORDS: usize = 8;

/// Texts that a chat model is shown.
const SHOWN_TEXTS: usize = 3;

/// Longest name, in words and characters.
const MOST_WORDS: usize = 6;
const MOST_CHARACTERS: usize = 48;

/// Tokens that a chat model may write.
const REPLY_TOKENS: usize = 24;

/// What documents in no cluster are called.
pub(super) const NOISE: &str = "noise";

/// Where names made of keywords are from.
pub(super) const BY_KEYWORDS: &str = "keywords";

const INSTRUCTIONS: &str = "You name groups of texts. Answer with the name of the topic only: two to four words, no quotation \
    marks, no full stop, no explanation.";

/// Turns that show a small model what is wanted: words and text of a group, and its name.
const SHOWN_NAMES: [([&str; 4], &str, &str); 2] = [
    (
        ["engine", "brakes", "tires", "oil"],
        "The brakes squeak since the last inspection of the car.",
        "Car maintenance",
    ),
    (["dentist", "tooth", "filling", "pain"], "My tooth hurts again two days after the filling.", "Dental care"),
];

/// A name and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClusterName {
    pub(super) label: String,
    pub(super) by: String,
}

/// One name for each cluster, all different: made of keywords.
pub(super) fn keyword_names(keywords: &[Vec<Keyword>]) -> Vec<ClusterName> {
    let mut taken = HashSet::from([NOISE.to_owned()]);
    let one = |(number, keywords): (usize, &Vec<Keyword>)| {
        let wanted = if keywords.is_empty() { format!("cluster {number}") } else { terms(keywords, NAME_KEYWORDS) };
        ClusterName { label: unique(wanted, keywords, &mut taken), by: BY_KEYWORDS.to_owned() }
    };
    keywords.iter().enumerate().map(one).collect()
}

/// One name for each cluster, all different, written by the chat model called `model`. Where its reply cannot be a name, or
/// the model cannot be used at all, names are made of keywords, and a note says so.
pub(super) fn written_names(
    work: &Work<'_>,
    model: &str,
    keywords: &[Vec<Keyword>],
    listed: &[Listed],
) -> Result<(Vec<ClusterName>, Option<String>), EngineError> {
    let fallback = keyword_names(keywords);
    let generator = match work.parts.models.chat(Some(model)) {
        Ok(generator) => generator,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error.into()),
        Err(error) => return Ok((fallback, Some(format!("the names are keywords: {error}")))),
    };
    work.progress.start("naming clusters", Some(keywords.len() as u64), ProgressUnit::Items);
    let mut taken = HashSet::from([NOISE.to_owned()]);
    let (mut names, mut refused) = (Vec::with_capacity(keywords.len()), 0);
    for ((keywords, listed), fallback) in keywords.iter().zip(listed).zip(fallback) {
        work.cancel.check()?;
        let name = match ask(work, generator.as_ref(), keywords, listed) {
            Ok(reply) => clean(&reply),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(_) => None,
        };
        names.push(if let Some(name) = name {
            ClusterName { label: unique(name, keywords, &mut taken), by: model.to_owned() }
        } else {
            refused += 1;
            ClusterName { label: unique(fallback.label, keywords, &mut taken), by: fallback.by }
        });
        work.progress.set(names.len() as u64);
    }
    work.progress.finish();
    let all = names.len();
    let note = (refused > 0)
        .then(|| format!("{refused} of {all} replies of {model} are no names; those clusters are named by keywords"));
    Ok((names, note))
}

fn ask(
    work: &Work<'_>,
    generator: &dyn Generator,
    keywords: &[Keyword],
    listed: &Listed,
) -> Result<String, EngineError> {
    let texts = listed.typical.iter().take(SHOWN_TEXTS).map(|document| match &document.title {
        Some(title) => format!("- {title}: {}", document.text),
        None => format!("- {}", document.text),
    });
    let texts = texts.collect::<Vec<_>>().join("\n");
    let mut messages = vec![ChatMessage::new(Role::System, INSTRUCTIONS)];
    for (words, text, name) in SHOWN_NAMES {
        messages.push(ChatMessage::new(Role::User, question(&words.join(", "), &format!("- {text}"))));
        messages.push(ChatMessage::new(Role::Assistant, name));
    }
    messages.push(ChatMessage::new(Role::User, question(&terms(keywords, SHOWN_KEYWORDS), &texts)));
    let options = GenerateOptions { max_tokens: Some(REPLY_TOKENS), ..GenerateOptions::default() };
    let generation = generator.generate(Prompt::Chat(&messages), &options, work.cancel, &mut |_| {})?;
    work.cancel.check()?;
    Ok(generation.text)
}

fn question(words: &str, texts: &str) -> String {
    format!("Words that are frequent in this group: {words}.\n\nTexts of this group:\n{texts}\n\nName of the topic:")
}

/// The first terms, as a list.
fn terms(keywords: &[Keyword], count: usize) -> String {
    keywords.iter().take(count).map(|keyword| keyword.term.as_str()).collect::<Vec<_>>().join(", ")
}

/// The name in a reply; `None` when there is none: nothing, a sentence, something too long, or a name that was shown.
fn clean(reply: &str) -> Option<String> {
    let first = reply.lines().find(|line| !bare(line).is_empty())?;
    // A sentence around one quoted name: The topic is "Coffee".
    let quoted: Vec<&str> = first.split(['"', '“', '”', '„']).collect();
    let line = match quoted[..] {
        [_, name, after] if after.chars().all(|c| c.is_whitespace() || c == '.') => bare(name),
        _ => bare(first),
    };
    // "Name: Coffee" and "Name of the topic: Coffee".
    let line = match line.split_once(':') {
        Some((before, after))
            if ["name", "topic", "title", "label"].iter().any(|w| before.to_lowercase().contains(w)) =>
        {
            bare(after)
        }
        Some(_) => return None,
        None => line,
    };
    let words = line.split_whitespace().count();
    let fits = (1..=MOST_WORDS).contains(&words) && line.chars().count() <= MOST_CHARACTERS;
    let is_name =
        line.chars().any(char::is_alphabetic) && !line.contains(['.', '?', '!', ';', '<', '>', '{', '}', '|', '"']);
    let shown = SHOWN_NAMES.iter().any(|(.., name)| line.eq_ignore_ascii_case(name));
    (fits && is_name && !shown && !line.chars().any(char::is_control))
        .then(|| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A line without quotation marks, list and heading marks and the full stop around it.
fn bare(line: &str) -> &str {
    line.trim().trim_matches(|c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '“' | '”' | '„' | '«' | '»' | '*' | '#' | '`' | '-' | '.' | '_')
    })
}

/// `wanted`, or that with a keyword or number behind it when another cluster has that name.
fn unique(wanted: String, keywords: &[Keyword], taken: &mut HashSet<String>) -> String {
    let lower = wanted.to_lowercase();
    let with_keyword = keywords
        .iter()
        .filter(|keyword| !lower.contains(&keyword.term))
        .map(|keyword| format!("{wanted} ({})", keyword.term));
    let numbered = (2..).map(|number: u32| format!("{wanted} {number}"));
    let mut candidates = std::iter::once(wanted.clone()).chain(with_keyword).chain(numbered);
    candidates.find(|name| taken.insert(name.to_lowercase())).unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keywords(terms: &[&str]) -> Vec<Keyword> {
        terms.iter().map(|&term| Keyword { term: term.to_owned(), score: 1.0, documents: 1 }).collect()
    }

    #[test]
    fn names_of_keywords_are_all_different() {
        let found = keyword_names(&[
            keywords(&["tea", "pot", "leaf", "green"]),
            keywords(&["tea", "pot", "leaf", "black"]),
            keywords(&[]),
            keywords(&["noise"]),
            keywords(&["tea", "pot", "leaf"]),
        ]);
        let labels: Vec<&str> = found.iter().map(|name| name.label.as_str()).collect();
        assert_eq!(labels, ["tea, pot, leaf", "tea, pot, leaf (black)", "cluster 2", "noise 2", "tea, pot, leaf 2"]);
    }

    #[test]
    fn a_reply_is_a_name_or_nothing() {
        let names = [
            ("Coffee beans", "Coffee beans"),
            ("\n  \"Coffee   Beans\".\nBecause they are roasted", "Coffee Beans"),
            ("**Name of the topic: Green tea**", "Green tea"),
            ("- Dog's treats", "Dog's treats"),
            ("红茶", "红茶"),
            ("The topic of this group is \"Dogs and Health\".", "Dogs and Health"),
        ];
        for (reply, name) in names {
            assert_eq!(clean(reply).as_deref(), Some(name), "{reply}");
        }
        let nothing = [
            "",
            "  \n\"\"\n",
            "Sure! Here is a name",
            "The name of this topic is about all kinds of coffee and tea",
            "Answer: coffee",
            "<think>",
            "12345",
            "Car maintenance",
            "The name is \"tea\" and the subject is \"tea\"",
            &"x".repeat(60),
        ];
        for reply in nothing {
            assert_eq!(clean(reply), None, "{reply}");
        }
    }
}
