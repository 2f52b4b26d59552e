//! The rings that a ring continues.

use crate::id::RingId;
use slipring_core::format::RawAncestor;

/// A ring that was lost, of which another ring has taken the place.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("slipring-ancestor-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("orders");
/// use slipring::{Ancestor, RingId, RingOptions};
///
/// let lost = RingId::from_bytes([7; 16]); // as the journal has it
/// let ancestor = Ancestor { ring: lost, watermark: 0 };
/// let ring = RingOptions::new(48, 64).continues([ancestor]).restore(&path)?.finish()?;
/// assert_eq!(ring.ancestors(), [ancestor]);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The ring that was lost.
    pub ring: RingId,
    /// A position below the watermark is of the same message in the lost ring and in the one that
    /// took its place. From the watermark on, both rings have messages of their own.
    pub watermark: u64,
}

impl From<RawAncestor> for Ancestor {
    fn from(raw: RawAncestor) -> Ancestor {
        Ancestor { ring: RingId(raw.ring), watermark: raw.watermark }
    }
}

impl From<Ancestor> for RawAncestor {
    fn from(ancestor: Ancestor) -> RawAncestor {
        RawAncestor { ring: ancestor.ring.0, watermark: ancestor.watermark }
    }
}

/// The first position of which a ring and an ancestor have different messages; none if the ring
/// does not continue that one.
///
/// Example: a ring continues B from 900 on, and B continued A from 500 on. Of A, positions up to
/// 500 are saved; of B, up to 900. Had B lost what came after 300, they would be 300 and 300.
pub(crate) fn watermark(ancestors: &[Ancestor], ring: RingId) -> Option<u64> {
    let through = ancestors.iter().position(|ancestor| ancestor.ring == ring)?;
    ancestors[..=through].iter().map(|ancestor| ancestor.watermark).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_an_ancestor_is_good_as_far_as_every_ring_in_between_kept_it() {
        let [a, b, c] = [1, 2, 3].map(|n| RingId([n; 16]));
        let line = |watermarks: [u64; 2]| {
            [b, a].into_iter().zip(watermarks).map(|(ring, watermark)| Ancestor { ring, watermark })
        };
        let grown: Vec<_> = line([900, 500]).collect();
        assert_eq!([a, b, c].map(|ring| watermark(&grown, ring)), [Some(500), Some(900), None]);
        let shrunk: Vec<_> = line([300, 500]).collect();
        assert_eq!([a, b, c].map(|ring| watermark(&shrunk, ring)), [Some(300), Some(300), None]);
    }
}
