//! `anser chat`: talk to a chat model, tuned or not, without documents.

use std::io::{IsTerminal, stdin};

use anser_core::{CancelToken, ChatMessage, FinishReason, GenerateOptions, Generation, Generator, Prompt, Role};
use clap::Args;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// Arguments of `anser chat`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser chat \"hello, who are you?\"\n  anser chat --model ft:SmolLM2-135M-Instruct:anser:house-style:0198… \"do you ship abroad?\"\n  anser chat --system \"Answer in one word.\"\n\nWithout a message it asks for one after the other until the input ends."
)]
pub(crate) struct ChatArgs {
    /// What to say
    message: Option<String>,
    /// Model to talk to, e.g. `ft:…` [default: the promoted model, else the chat model]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of a reply
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: usize,
    /// 0 always takes the likeliest word; up to 2
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Repeats a random draw
    #[arg(long)]
    seed: Option<u64>,
}

impl ChatArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, terminal.progress())?;
        let generator = engine.models().chat(self.model.as_deref())?;
        let system = self.system.iter().map(|text| ChatMessage::new(Role::System, text));
        let mut messages: Vec<ChatMessage> = system.collect();
        let cancel = interrupt::cancel_on_interrupt();
        if let Some(message) = &self.message {
            messages.push(ChatMessage::new(Role::User, message));
            let reply = self.reply(generator.as_ref(), &messages, &cancel, terminal)?;
            if terminal.is_json() {
                let (read, written) = (reply.usage.prompt_tokens, reply.usage.completion_tokens);
                return terminal.json(&serde_json::json!({
                    "model": generator.info().model, "text": reply.text, "finish_reason": reply.finish_reason,
                    "prompt_tokens": read, "completion_tokens": written,
                }));
            }
            return Ok(());
        }
        if terminal.is_json() {
            return Err(Failure::usage("--json needs a message on the command line"));
        }
        while !cancel.is_cancelled() {
            if stdin().is_terminal() {
                terminal.piece("> ")?;
            }
            let mut line = String::new();
            if stdin().read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                continue;
            }
            messages.push(ChatMessage::new(Role::User, line.trim()));
            let reply = self.reply(generator.as_ref(), &messages, &cancel, terminal)?;
            messages.push(ChatMessage::new(Role::Assistant, reply.text));
        }
        Ok(())
    }

    /// Writes one reply, printing it while it is written.
    fn reply(
        &self,
        model: &dyn Generator,
        messages: &[ChatMessage],
        cancel: &CancelToken,
        terminal: &Terminal,
    ) -> Result<Generation, Failure> {
        let options = GenerateOptions {
            max_tokens: Some(self.max_tokens),
            temperature: self.temperature,
            seed: self.seed,
            ..GenerateOptions::default()
        };
        let mut broken = None;
        let reply = model.generate(Prompt::Chat(messages), &options, cancel, &mut |delta| {
            if !terminal.is_json()
                && let Err(failure) = terminal.piece(delta)
            {
                // Nobody reads any more: stop writing.
                cancel.cancel();
                broken.get_or_insert(failure);
            }
        })?;
        match broken {
            Some(failure) => return Err(failure),
            None if terminal.is_json() => {}
            None => terminal.line("")?,
        }
        if reply.finish_reason == FinishReason::Length && !terminal.is_json() {
            terminal.line(terminal.dim("(cut: the reply reached its most tokens)"))?;
        }
        Ok(reply)
    }
}
