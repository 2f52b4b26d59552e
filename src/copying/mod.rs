//! The readers that copy: they hold nobody up, or may be evicted.

pub(crate) mod evictable;
pub(crate) mod observer;
