//! The moments of an analysis at which tests let something go wrong. Outside tests nothing happens at any of them.

use crate::EngineError;

/// A moment of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Moment {
    /// A document of the source was read.
    Read,
    /// The source is read; the work begins.
    Collected,
    /// A result is about to be written.
    Write,
    /// The results are whole; they are about to be moved to where they are kept.
    BeforeMove,
    /// They were moved; the end of the job is not committed yet.
    AfterMove,
    /// Everything is written; the commit is next.
    BeforeCommit,
    /// The job has ended.
    AfterCommit,
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "tests let it fail")]
pub(crate) fn pass(_: Moment) -> Result<(), EngineError> {
    Ok(())
}

#[cfg(test)]
pub(crate) use injected::{pass, with_faults};

#[cfg(test)]
mod injected {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::{EngineError, Moment};

    type Hook = Rc<dyn Fn(Moment) -> Result<(), EngineError>>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    pub(crate) fn pass(moment: Moment) -> Result<(), EngineError> {
        let hook = HOOK.with(|hook| hook.borrow().clone());
        hook.map_or(Ok(()), |hook| hook(moment))
    }

    /// Does `body` with `hook` called at each moment of the jobs that this thread is at.
    pub(crate) fn with_faults<T>(
        hook: impl Fn(Moment) -> Result<(), EngineError> + 'static,
        body: impl FnOnce() -> T,
    ) -> T {
        struct Unhook;
        impl Drop for Unhook {
            fn drop(&mut self) {
                HOOK.with(|hook| hook.borrow_mut().take());
            }
        }
        let _unhook = Unhook;
        HOOK.with(|slot| *slot.borrow_mut() = Some(Rc::new(hook)));
        body()
    }
}
