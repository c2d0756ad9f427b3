//! Logs on standard error: structured lines for the server, warnings only for commands.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Starts logging. `filter` is what the user asked for; a server logs requests by default, as JSON off a terminal.
pub(crate) fn start(filter: Option<&str>, serving: bool) {
    let default = if serving { "warn,anser_server=info" } else { "error" };
    let filter = EnvFilter::try_new(filter.unwrap_or(default)).unwrap_or_else(|error| {
        eprintln!("warning: the log filter is not valid ({error}); using \"{default}\"");
        EnvFilter::new(default)
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if serving && !stderr().is_terminal() {
        builder.json().init();
    } else {
        builder.with_ansi(stderr().is_terminal()).init();
    }
}
