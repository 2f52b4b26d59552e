//! The published stream: the input, cut into messages, and repeated until it is long enough.

use crate::common::Failure;
use crate::lines::pieces;
use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a block, unless asked for otherwise, are as many as the longest line needs, but not
/// more: longer lines become several messages.
const BLOCK_SIZE_MAX: usize = 1008;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The text that comes with the repository.
    Shipped,
    Stdin,
    File(PathBuf),
}

/// The whole input, in memory.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) name: String,
    bytes: Cow<'static, [u8]>,
}

impl Text {
    pub(crate) fn read(input: &Input) -> Result<Text, Failure> {
        let (name, bytes) = match input {
            Input::Shipped => {
                ("the shipped text".to_owned(), Cow::Borrowed(&include_bytes!("../data/harbour.txt")[..]))
            }
            Input::Stdin => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|error| format!("cannot read standard input: {error}"))?;
                ("standard input".to_owned(), Cow::Owned(bytes))
            }
            Input::File(path) => (path.display().to_string(), Cow::Owned(read_file(path)?)),
        };
        if bytes.is_empty() {
            return Err(format!("{name} is empty; it takes at least one line (an empty one will do)").into());
        }
        Ok(Text { name, bytes })
    }

    /// The lines, without their ends. A last line need not have one.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        bytes.split(|&byte| byte == b'\n')
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let advice = "name a readable text file, - for standard input, or nothing for the shipped text";
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}; {advice}", path.display()).into())
}

/// The stream to publish. The message at position `p` can be computed by every process that has the
/// script.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    /// The messages of one reading of the input: kind and bytes.
    messages: Vec<(u32, &'a [u8])>,
    pub(crate) lines_each: u64,
    pub(crate) times: u64,
    pub(crate) block_size: usize,
}

impl<'a> Script<'a> {
    /// Cuts `text` into messages, and repeats it until there are at least `lines_min` lines.
    pub(crate) fn new(text: &'a Text, block_size: Option<usize>, lines_min: u64) -> Script<'a> {
        let longest = text.lines().map(<[u8]>::len).max().unwrap_or(0);
        // A slot is 16 bytes and the block, in whole cache lines: fill them.
        let fitting = (longest + 16).next_multiple_of(64) - 16;
        let block_size = block_size.unwrap_or(fitting.min(BLOCK_SIZE_MAX));
        let messages = text.lines().flat_map(|line| pieces(line, block_size)).collect();
        let lines_each = text.lines().count() as u64;
        Script { messages, lines_each, times: lines_min.div_ceil(lines_each).max(1), block_size }
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines_each * self.times
    }

    /// Number of messages: the position after the last one.
    pub(crate) fn len(&self) -> u64 {
        self.messages.len() as u64 * self.times
    }

    /// All messages, in order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        self.messages.iter().copied().cycle().take(usize::try_from(self.len()).unwrap_or(usize::MAX))
    }
}
