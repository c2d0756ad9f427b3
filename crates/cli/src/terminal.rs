//! What a person sees: progress bars with ETA on standard error, tables and plain lines on standard output, colours
//! only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anser_core::{NoProgress, Progress, ProgressUnit};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde::Serialize;

use crate::failure::Failure;

/// Where a command writes, and for whom.
#[derive(Clone)]
pub(crate) struct Terminal {
    json: bool,
    quiet: bool,
    colour: bool,
    /// Shared, so that work within work draws one bar and not two over each other.
    progress: Arc<dyn Progress>,
}

#[expect(
    clippy::unused_self,
    reason = "commands write through the terminal they were given, whatever it knows of itself"
)]
impl Terminal {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let progress: Arc<dyn Progress> = if quiet { Arc::new(NoProgress) } else { Arc::new(Bars::default()) };
        Self { json, quiet, colour, progress }
    }

    /// Whether output is for machines.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one JSON document.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
        Ok(())
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        writeln!(io::stdout().lock(), "{}", text.as_ref())?;
        Ok(())
    }

    /// Prints text as it comes.
    pub(crate) fn piece(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Prints a table that fits the terminal.
    pub(crate) fn table<const N: usize>(&self, header: [&str; N], rows: Vec<[String; N]>) -> Result<(), Failure> {
        self.wide_table(&header, rows)
    }

    /// Prints a table whose number of columns is known only now.
    pub(crate) fn wide_table<R: IntoIterator<Item = String>>(
        &self,
        header: &[impl ToString],
        rows: Vec<R>,
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        if table.width().is_none() {
            table.set_width(110);
        }
        table.set_header(header.iter().map(ToString::to_string).collect::<Vec<_>>());
        for row in rows {
            table.add_row(row.into_iter().collect::<Vec<_>>());
        }
        // An id that is broken over two lines cannot be copied.
        if header.first().is_some_and(|name| name.to_string() == "job")
            && let Some(column) = table.column_mut(0)
        {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        self.line(table.trim_fmt())
    }

    /// Text that stands out on a terminal.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Text that steps back on a terminal.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Whether nobody wants to see how far the work is.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A watcher that draws bars on a terminal and prints a line for each step elsewhere.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.progress)
    }
}

/// Progress bars on standard error. Without a terminal, a line when a step begins.
#[derive(Default)]
struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress for Bars {
    fn start(&self, what: &str, total: Option<u64>, unit: ProgressUnit) {
        if !io::stderr().is_terminal() {
            let _ = writeln!(io::stderr().lock(), "{what}");
            return;
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let template = match (total.is_some(), unit) {
            (true, ProgressUnit::Bytes) => "{msg} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}",
            (true, ProgressUnit::Items) => "{msg} {wide_bar:.cyan/dim} {human_pos}/{human_len} {per_sec:.0} ETA {eta}",
            (false, ProgressUnit::Bytes) => "{spinner} {msg} {bytes} {bytes_per_sec}",
            (false, ProgressUnit::Items) => "{spinner} {msg} {human_pos} {per_sec:.0}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        if let Some(old) = self.bar.lock().replace(bar) {
            old.finish_and_clear();
        }
    }

    fn set(&self, done: u64) {
        if let Some(bar) = self.bar.lock().as_ref() {
            bar.set_position(done);
        }
    }

    fn note(&self, message: &str) {
        match self.bar.lock().as_ref() {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => {
                let _ = writeln!(io::stderr().lock(), "{message}");
            }
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar.lock().take() {
            bar.finish_and_clear();
        }
    }
}

/// Asks a yes-or-no question; the answer is no where nobody can be asked.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut reply = String::new();
    io::stdin().read_line(&mut reply)?;
    Ok(matches!(reply.trim(), "y" | "Y" | "yes"))
}

/// A size as people write it.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// The first `limit` characters of `text` on one line.
pub(crate) fn snippet(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::snippet;

    #[test]
    fn a_snippet_is_cut_between_characters_and_put_on_one_line() {
        assert_eq!(snippet("很好\n用的水壶", 4), "很好 用…");
        assert_eq!(snippet("short", 10), "short");
    }
}
