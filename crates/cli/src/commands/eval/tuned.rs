//! `anser eval answers --tuned`: a tuned model against its base on examples that it was not trained on.

use std::path::PathBuf;

use anser_engine::{Engine, HeldOutExample, Measure, TunedEvaluationRequest};
use clap::Args;

use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// What is compared on what.
#[derive(Debug, Args)]
#[command(next_help_heading = "A tuned model against its base")]
pub(crate) struct TunedArgs {
    /// The tuned model, `ft:…`
    #[arg(long, value_name = "MODEL", requires = "heldout")]
    tuned: Option<String>,
    /// Examples that it was not trained on, in any shape of training data
    #[arg(long, value_name = "FILE", requires = "tuned")]
    heldout: Option<PathBuf>,
    /// Also print every question with what each model said
    #[arg(long, requires = "tuned")]
    each: bool,
    #[command(flatten)]
    how: ComparisonArgs,
}

/// How both models are compared.
#[derive(Debug, Args)]
pub(crate) struct ComparisonArgs {
    /// Model to compare with [default: the one that it was tuned from]
    #[arg(long, value_name = "MODEL", requires = "heldout")]
    base: Option<String>,
    /// Regular expression that a reply in the wanted style matches
    #[arg(long = "match", value_name = "REGEX", requires = "heldout")]
    pattern: Option<String>,
    /// What the verdict is about: match, exact-match, token-f1, rouge-l or perplexity [default: match if --match is given,
    /// exact-match for labels, else token-f1]
    #[arg(long, value_name = "MEASURE", value_parser = parse_measure, requires = "heldout")]
    measure: Option<Measure>,
    /// Longest reply in tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Draws the resamples of the tests; replies are not drawn
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn parse_measure(text: &str) -> Result<Measure, String> {
    Measure::parse(text).ok_or_else(|| "use match, exact-match, token-f1, rouge-l or perplexity".to_owned())
}

impl ComparisonArgs {
    /// The request for `model` on `examples`.
    pub(crate) fn request(&self, model: &str, examples: Vec<HeldOutExample>) -> TunedEvaluationRequest {
        TunedEvaluationRequest {
            base: self.base.clone(),
            pattern: self.pattern.clone(),
            primary: self.measure,
            max_tokens: self.max_tokens,
            seed: self.seed,
            ..TunedEvaluationRequest::new(model, examples)
        }
    }
}

impl TunedArgs {
    pub(super) fn run(&self, engine: &Engine, collection: Option<&str>, terminal: &Terminal) -> Result<(), Failure> {
        let (Some(model), Some(heldout)) = (&self.tuned, &self.heldout) else {
            return Err(Failure::usage("give --questions with --collection, or --tuned with --heldout"));
        };
        let examples = HeldOutExample::read_jsonl(heldout)?;
        let request =
            TunedEvaluationRequest { collection: collection.map(str::to_owned), ..self.how.request(model, examples) };
        let (progress, cancel) = (terminal.progress(), interrupt::cancel_on_interrupt());
        let found = engine.evaluate_tuned(&request, progress.as_ref(), &cancel)?;
        if terminal.is_json() {
            return terminal.json(&found);
        }
        if self.each {
            terminal.line(found.render_questions())?;
        }
        terminal.line(found.render().trim_end())
    }
}
