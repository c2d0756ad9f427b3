//! Whether conversations are built alike: the same system message, and turns that alternate.

use std::collections::BTreeMap;

use anser_core::{ChatMessage, Role};

use super::super::dataset::{Dataset, Row};
use super::super::dialogue::{Dialogue, Finding, Severity, count, excerpt};
use super::super::example::TrainingExample;
use super::{Check, CheckContext};
use crate::TuneError;

/// Finds data in which some examples have a system message and others none, or in which it varies: the tuned model then
/// behaves well only under the message that it saw.
#[derive(Debug)]
pub(in crate::data) struct SystemMessages;

impl Check for SystemMessages {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let systems: Vec<Option<String>> = data.rows.iter().map(Row::system).collect();
        for system in systems.iter().flatten() {
            *kinds.entry(system.clone()).or_default() += 1;
        }
        let Some((usual, most)) = kinds.iter().max_by_key(|(_, n)| **n) else { return Ok(()) };
        if kinds.len() > 1 {
            let explanation = format!(
                "The examples have {} different system messages; the commonest, \"{}\", stands in {most} of {}. Ask the tuned \
                 model under the same ones.",
                kinds.len(),
                excerpt(usual),
                data.rows.len()
            );
            dialogue.note(Finding::new("system_messages_vary", Severity::Note, explanation));
        }
        let bare: Vec<&Row> =
            data.rows.iter().zip(&systems).filter(|(_, system)| system.is_none()).map(|(row, _)| row).collect();
        if bare.is_empty() || bare.len() == data.rows.len() {
            return Ok(());
        }
        let explanation = format!(
            "{} no system message, while {} have one. The tuned model will behave differently with and without it.",
            if bare.len() == 1 { "1 example has".to_owned() } else { format!("{} examples have", bare.len()) },
            data.rows.len() - bare.len()
        );
        let finding = Finding::new("inconsistent_system", Severity::Warning, explanation).at_rows(bare.iter().copied());
        let action = format!("Give {} the system message \"{}\"", count(bare.len(), "example"), excerpt(usual));
        let usual = usual.clone();
        if dialogue.offer(finding, action, None) {
            for row in &mut data.rows {
                if row.system().is_none() {
                    let message = ChatMessage::new(Role::System, usual.clone());
                    match &mut row.example {
                        TrainingExample::Chat { turns } => turns.insert(0, (message, false)),
                        TrainingExample::Preference { prompt, .. } => prompt.insert(0, message),
                        TrainingExample::PromptCompletion { .. } => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// Finds conversations in which one side speaks twice in a row, the assistant speaks first, or a system message comes
/// late: chat templates expect turns that alternate.
#[derive(Debug)]
pub(in crate::data) struct TurnOrder;

impl Check for TurnOrder {
    fn run(&self, data: &mut Dataset, _: &CheckContext<'_>, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let twice: Vec<&Row> = data.rows.iter().filter(|row| repeats(&roles(row))).collect();
        if !twice.is_empty() {
            let explanation = "One side speaks twice in a row, which chat templates do not expect.";
            let finding =
                Finding::new("inconsistent_roles", Severity::Warning, explanation).at_rows(twice.iter().copied());
            if dialogue.offer(finding, "Join messages of one side that follow each other", None) {
                data.rows.iter_mut().for_each(join_turns);
            }
        }
        let odd = |row: &&Row| {
            let roles = roles(row);
            let late_system = roles.iter().skip_while(|role| **role == Role::System).any(|role| *role == Role::System);
            late_system || roles.iter().find(|role| **role != Role::System) == Some(&Role::Assistant)
        };
        let odd: Vec<&Row> = data.rows.iter().filter(odd).collect();
        if !odd.is_empty() {
            let explanation = "The assistant speaks first, or a system message comes after others. The examples are kept; ask the \
                               tuned model in the same order.";
            dialogue.note(Finding::new("unusual_turn_order", Severity::Note, explanation).at_rows(odd.iter().copied()));
        }
        Ok(())
    }
}

fn roles(row: &Row) -> Vec<Role> {
    match &row.example {
        TrainingExample::Chat { turns } => turns.iter().map(|(turn, _)| turn.role).collect(),
        TrainingExample::Preference { prompt, .. } => prompt.iter().map(|turn| turn.role).collect(),
        TrainingExample::PromptCompletion { .. } => Vec::new(),
    }
}

fn repeats(roles: &[Role]) -> bool {
    roles.windows(2).any(|pair| pair[0] == pair[1])
}

/// Joins messages of one role that follow each other; a joined answer is learned when a part of it was.
fn join_turns(row: &mut Row) {
    let joined = |turns: Vec<(ChatMessage, bool)>| {
        let mut out: Vec<(ChatMessage, bool)> = Vec::with_capacity(turns.len());
        for (turn, learned) in turns {
            match out.last_mut() {
                Some((last, last_learned)) if last.role == turn.role => {
                    last.content = format!("{}\n\n{}", last.content, turn.content);
                    *last_learned |= learned;
                }
                _ => out.push((turn, learned)),
            }
        }
        out
    };
    match &mut row.example {
        TrainingExample::Chat { turns } => *turns = joined(std::mem::take(turns)),
        TrainingExample::Preference { prompt, .. } => {
            let turns = std::mem::take(prompt).into_iter().map(|turn| (turn, false)).collect();
            *prompt = joined(turns).into_iter().map(|(turn, _)| turn).collect();
        }
        TrainingExample::PromptCompletion { .. } => {}
    }
}
