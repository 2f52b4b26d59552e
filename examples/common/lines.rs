//! A line becomes one message, or several if it is longer than a block.

use crate::kinds::CONTINUES;

/// The pieces of a line, each with its kind. An empty line is one empty piece.
pub(crate) fn pieces(line: &[u8], block_size: usize) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = Some(line);
    std::iter::from_fn(move || match rest? {
        line if line.len() > block_size => {
            let (piece, more) = line.split_at(block_size);
            rest = Some(more);
            Some((CONTINUES, piece))
        }
        line => {
            rest = None;
            Some((0, line))
        }
    })
}
