//! A name that no entry can have.

use slipring_core::format::NAME_MAX;

/// A name that does not fit an entry of a ring, or the lack of a name for a durable consumer.
///
/// ```
/// use slipring::{AttachError, ConsumerOptions, RingOptions};
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// let error = ConsumerOptions::new().durable(true).attach::<[u8]>(&ring).unwrap_err();
/// assert!(matches!(error.error, AttachError::Name(error) if error.name.is_empty()));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name {name:?} is not possible: a name has 1 to {NAME_MAX} bytes and no NUL, and durable consumers need one"
)]
#[non_exhaustive]
pub struct NameError {
    /// The name that was asked for.
    pub name: String,
}

impl NameError {
    /// Passes a name that fits an entry: not empty, not too long, without a NUL.
    pub(crate) fn check(name: &str) -> Result<(), NameError> {
        if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
            return Err(NameError { name: name.to_owned() });
        }
        Ok(())
    }
}
