//! What every request passes through, from the outside in: observation (id, log, metrics), panics, access, admission.

pub(crate) mod access;
pub(crate) mod admission;
pub(crate) mod observe;
