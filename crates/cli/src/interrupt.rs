//! Ctrl-C asks the running work to stop; a second one ends the process at once.

use anser_core::CancelToken;

/// A token that the first Ctrl-C cancels.
pub(crate) fn cancel_on_interrupt() -> CancelToken {
    let token = CancelToken::new();
    let asked = token.clone();
    on_interrupt(move || asked.cancel());
    token
}

/// Calls `stop` on the first Ctrl-C.
pub(crate) fn on_interrupt(stop: impl Fn() + Send + 'static) {
    let asked = CancelToken::new();
    let installed = ctrlc::set_handler(move || {
        if asked.is_cancelled() {
            std::process::exit(130);
        }
        asked.cancel();
        stop();
        eprintln!("\nstopping after the current step; press Ctrl-C again to stop at once");
    });
    if let Err(error) = installed {
        tracing::warn!("Ctrl-C cannot be caught: {error}");
    }
}
