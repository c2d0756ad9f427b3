//! A cancel token of one's own that also follows the caller's.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anser_core::CancelToken;

/// How long the caller's wish to stop may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs `work` with a token that is cancelled when `caller` is, and that `work` may cancel by itself without telling the
/// caller's other work to stop.
pub(super) fn with_own_token<T>(caller: &CancelToken, work: impl FnOnce(&CancelToken) -> T) -> T {
    let own = CancelToken::new();
    thread::scope(|scope| {
        let (working, over) = mpsc::channel::<()>();
        let watched = &own;
        scope.spawn(move || {
            while !caller.is_cancelled() {
                if over.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
            watched.cancel();
        });
        let result = work(&own);
        drop(working);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_wish_arrives_and_ones_own_stays() {
        let caller = CancelToken::new();
        with_own_token(&caller, CancelToken::cancel);
        assert!(!caller.is_cancelled());
        let seen = with_own_token(&caller, |own| {
            caller.cancel();
            for _ in 0..500 {
                if own.is_cancelled() {
                    return true;
                }
                thread::sleep(Duration::from_millis(5));
            }
            false
        });
        assert!(seen);
    }
}
