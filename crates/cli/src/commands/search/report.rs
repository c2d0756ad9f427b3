//! What a search found, for people.

use anser_core::{AttributeValue, ScoredChunk};
use anser_engine::{SearchMode, SearchReply};

use super::hit_text::marked_snippet;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Characters of a hit's text in the table.
const SNIPPET: usize = 160;

/// Prints the hits, how they were found if that is wanted, and how to get the next ones.
pub(super) fn show(terminal: &Terminal, reply: &SearchReply, explain: bool) -> Result<(), Failure> {
    if reply.hits.is_empty() {
        terminal.line("nothing found")?;
    } else {
        table(terminal, reply)?;
    }
    if explain {
        for (name, value) in explanation(reply) {
            terminal.line(terminal.dim(&format!("{name:<9} {value}")))?;
        }
    }
    let ungrouped = !reply.groups.is_empty() && reply.groups.iter().all(|group| group.value.is_none());
    if ungrouped && let Some(attribute) = &reply.steps.group_by {
        let attribute = anser_core::excerpt(attribute, 40);
        terminal.progress().note(&format!("none of these documents has an attribute \"{attribute}\" to group by"));
    }
    if let Some(next) = &reply.next {
        let command = next_command(std::env::args().skip(1), next);
        terminal.progress().note(&format!("there are more hits: {command}"));
    }
    Ok(())
}

/// A column: its name, and what it says of the hit at a place.
type Column<'a> = (String, Box<dyn Fn(usize, &ScoredChunk) -> String + 'a>);

fn table(terminal: &Terminal, reply: &SearchReply) -> Result<(), Failure> {
    let number = |value: Option<f32>, digits: usize| value.map_or_else(String::new, |v| format!("{v:.digits$}"));
    let mut columns: Vec<Column<'_>> = vec![("#".to_owned(), Box::new(|at, _| (at + 1).to_string()))];
    let mode = reply.explain.mode;
    if mode == SearchMode::Hybrid {
        columns.push(("score".to_owned(), Box::new(move |_, hit| number(Some(hit.score), 3))));
    }
    if mode != SearchMode::Keyword {
        columns.push(("cosine".to_owned(), Box::new(move |_, hit| number(hit.vector_score, 3))));
    }
    if mode != SearchMode::Vector {
        columns.push(("BM25".to_owned(), Box::new(move |_, hit| number(hit.keyword_score, 2))));
    }
    if reply.steps.rerank.is_some() {
        columns.push(("rerank".to_owned(), Box::new(move |_, hit| number(hit.rerank_score, 2))));
    }
    if let Some(attribute) = &reply.steps.group_by {
        columns.push((
            attribute.clone(),
            Box::new(|at, _| {
                let Some(group) = reply.groups.get(at) else { return String::new() };
                let value = group.value.as_ref().map_or_else(|| "–".to_owned(), AttributeValue::display);
                if group.more == 0 { value } else { format!("{value}\n+{} more", group.more) }
            }),
        ));
    }
    columns.push(("document".to_owned(), Box::new(|_, hit| hit.chunk.document_id.to_string())));
    columns.push((
        "text".to_owned(),
        Box::new(|_, hit| {
            let title = hit.title.as_deref().map(|t| format!("{}\n", terminal.bold(t))).unwrap_or_default();
            format!("{title}{}", marked_snippet(terminal, &hit.chunk.text, &hit.highlights, SNIPPET))
        }),
    ));
    let header: Vec<&String> = columns.iter().map(|(name, _)| name).collect();
    let row = |(at, hit)| columns.iter().map(|(_, cell)| cell(at, hit)).collect::<Vec<String>>();
    terminal.wide_table(&header, reply.hits.iter().enumerate().map(row).collect())
}

/// What was chosen and how long it took, a line each.
fn explanation(reply: &SearchReply) -> Vec<(&'static str, String)> {
    let (explain, steps) = (&reply.explain, &reply.steps);
    let mut lines = vec![("mode", word(&explain.mode))];
    if let Some(fusion) = &explain.fusion {
        lines.push(("fusion", format!("{}, vectors count {}", word(&fusion.method), fusion.vector_weight)));
    }
    if explain.mode != SearchMode::Keyword {
        let beam = explain.ef_search.map(|ef| format!(", beam width {ef}")).unwrap_or_default();
        let (segments, tail) = (explain.segments, explain.tail);
        let method = word(&explain.method);
        let text = format!("{method}, {} in {segments} segments, {tail} outside{beam}", explain.vectors);
        lines.push(("vectors", text));
    }
    if let Some(keywords) = &explain.keywords {
        let phrases = keywords.phrases.iter().map(|phrase| format!("\"{}\"", phrase.join(" ")));
        let terms: Vec<String> = keywords.terms.iter().cloned().chain(phrases).collect();
        lines.push(("words", format!("{}; in {} passages", terms.join(", "), keywords.matched)));
    }
    if let Some(filter) = &explain.filter {
        let how = filter.strategy.map(|strategy| format!("{}, ", word(&strategy))).unwrap_or_default();
        let share = 100.0 * filter.selectivity;
        lines.push(("filter", format!("{how}{} documents, {share:.1} % of the vectors", filter.documents)));
    }
    if let Some(rerank) = &steps.rerank {
        lines.push(("rerank", format!("{}, the first {}, read {}", rerank.model, rerank.depth, rerank.read)));
    }
    if let Some(lambda) = steps.mmr_lambda {
        lines.push(("mmr", format!("lambda {lambda}")));
    }
    let time = &steps.timings;
    let parts = format!("embed {:.1}, search {:.1}, rerank {:.1}", time.embed_ms, time.search_ms, time.rerank_ms);
    lines.push(("time", format!("{:.1} ms: {parts}; {} hits looked at", time.total_ms, steps.looked_at)));
    lines
}

/// A choice by its name on the wire.
pub(in crate::commands) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => String::new(),
    }
}

/// The command that was given, for the page after `cursor`.
fn next_command(arguments: impl Iterator<Item = String>, cursor: &str) -> String {
    let mut command = vec!["anser".to_owned()];
    let mut value_follows = false;
    for argument in arguments {
        if std::mem::take(&mut value_follows) || argument.starts_with("--after=") {
            continue;
        }
        if argument == "--after" {
            value_follows = true;
            continue;
        }
        command.push(quoted(&argument));
    }
    command.extend(["--after".to_owned(), cursor.to_owned()]);
    command.join(" ")
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_is_the_last_one_with_its_cursor() {
        let command = |arguments: &[&str]| next_command(arguments.iter().map(|a| (*a).to_owned()), "0a");
        assert_eq!(command(&["search", "faq", "gift card"]), "anser search faq 'gift card' --after 0a");
        assert_eq!(
            command(&["search", "faq", "it's", "--after", "ff", "-n", "3"]),
            r"anser search faq 'it'\''s' -n 3 --after 0a"
        );
        assert_eq!(command(&["search", "faq", "", "--after=ff"]), "anser search faq '' --after 0a");
    }
}
