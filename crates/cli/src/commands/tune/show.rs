//! `anser tune list`, `show` and `events`, and the words that end or move a job: what is known of it.

use anser_engine::{Engine, EngineError, FineTuningJob, JobEvent, Page, PageRequest};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::training_view::duration;

/// Rows asked for at once.
const PAGE: usize = 100;

/// Reads page after page until there are no more, or `most` items are there.
pub(crate) fn all_pages<T>(
    most: usize,
    ascending: bool,
    id: impl Fn(&T) -> &str,
    page: impl Fn(&PageRequest) -> Result<Page<T>, EngineError>,
) -> Result<Vec<T>, Failure> {
    let mut items: Vec<T> = Vec::new();
    loop {
        let after = items.last().map(|item| id(item).to_owned());
        let next = page(&PageRequest { after, limit: PAGE.min(most - items.len()), ascending })?;
        let more = next.has_more && !next.items.is_empty();
        items.extend(next.items);
        if !more || items.len() >= most {
            return Ok(items);
        }
    }
}

/// All events of a job, oldest first.
pub(crate) fn all_events(engine: &Engine, id: &str) -> Result<Vec<JobEvent>, Failure> {
    all_pages(usize::MAX, true, |event: &JobEvent| &event.id, |page| engine.job_events(id, page))
}

/// The last jobs, newest first.
pub(super) fn list(engine: &Engine, limit: usize, terminal: &Terminal) -> Result<(), Failure> {
    let none = std::collections::BTreeMap::new();
    let page = |page: &PageRequest| engine.fine_tuning_jobs(page, &none);
    let jobs = all_pages(limit, false, |job: &FineTuningJob| &job.id, page)?;
    if terminal.is_json() {
        return terminal.json(&jobs);
    }
    if jobs.is_empty() {
        return terminal.line("no fine-tuning jobs yet; make one with `anser tune create FILE`");
    }
    let rows = jobs.iter().map(|job| {
        let model = job.fine_tuned_model.as_ref().unwrap_or(&job.model);
        [format!("{}\n{model}", job.id), job.status.as_str().to_owned(), minute(job.created_at)]
    });
    terminal.table(["job and model", "status", "created"], rows.collect())
}

/// One job.
pub(super) fn show(engine: &Engine, id: &str, terminal: &Terminal) -> Result<(), Failure> {
    let job = engine.fine_tuning_job(id)?;
    if terminal.is_json() { terminal.json(&job) } else { print_job(terminal, &job) }
}

/// Prints a job for a person.
pub(super) fn print_job(terminal: &Terminal, job: &FineTuningJob) -> Result<(), Failure> {
    terminal.line(format!("{}  {}", terminal.bold(&job.id), job.status.as_str()))?;
    let mut facts = vec![("base", job.model.clone())];
    if let Some(model) = &job.fine_tuned_model {
        facts.push(("tuned model", model.clone()));
    }
    facts.push(("created", date(job.created_at)));
    if let Some(finished) = job.finished_at {
        facts.push(("finished", format!("{}, after {}", date(finished), duration((finished - job.created_at) as f64))));
    }
    facts.push(("seed", job.seed.to_string()));
    if let Some(plan) = &job.plan {
        let set = &plan.request.hyperparameters;
        let rate = set.learning_rate.map(|rate| format!(", learning rate {rate}")).unwrap_or_default();
        facts.push((
            "plan",
            format!(
                "{} examples, {} epochs in batches of {}: {} steps{rate}",
                plan.examples,
                set.n_epochs.unwrap_or_default(),
                set.batch_size.unwrap_or_default(),
                plan.total_steps
            ),
        ));
    }
    if let Some(metrics) = &job.last_metrics {
        let valid = metrics.full_valid_loss.or(metrics.valid_loss);
        let valid = valid.map(|loss| format!(", validation loss {loss:.3}")).unwrap_or_default();
        facts.push((
            "figures",
            format!(
                "step {} of {}: loss {:.3}, accuracy {:.2}{valid}; {:.0} tokens/s",
                metrics.step,
                metrics.total_steps,
                metrics.train_loss,
                metrics.train_token_accuracy,
                metrics.tokens_per_second
            ),
        ));
    }
    if !job.result_files.is_empty() {
        facts.push(("result files", job.result_files.join(", ")));
    }
    if let Some(error) = &job.error {
        facts.push(("error", error.message.clone()));
    }
    for (name, value) in facts {
        terminal.line(format!("  {name:<13}{value}"))?;
    }
    Ok(())
}

/// What happened to a job, oldest first.
pub(crate) fn events(engine: &Engine, id: &str, terminal: &Terminal) -> Result<(), Failure> {
    let events = all_events(engine, id)?;
    if terminal.is_json() {
        return terminal.json(&events);
    }
    for event in &events {
        terminal.line(format!("{}  {:<5} {}", date(event.created_at), event.level.as_str(), event.message))?;
    }
    Ok(())
}

/// Prints where a job stands after it was told to do something.
pub(super) fn moved(job: &FineTuningJob, terminal: &Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(job);
    }
    terminal.line(format!("{} is {}", job.id, job.status.as_str()))
}

/// A moment as `2026-03-01 12:30`, in UTC.
pub(crate) fn minute(seconds: i64) -> String {
    let mut text = date(seconds);
    text.truncate("2026-03-01 12:30".len());
    text
}

/// A moment as `2026-03-01 12:30:05`, in UTC.
pub(crate) fn date(seconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}
