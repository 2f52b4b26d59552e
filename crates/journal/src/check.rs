//! Looking at all of a journal, and moving aside what is damaged.

use crate::description::Description;
use crate::history::HistoryError;
use crate::home::Home;
use crate::scan::{End, OpenSegmentError, Place, Verdict};
use crate::system;
use std::io;
use std::path::PathBuf;

/// Something that is wrong with a journal, or only worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Messages that had been confirmed are damaged.
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The offset of the first damaged frame.
        offset: u64,
        /// The first position that is lost.
        from: u64,
        /// The first position that is there again.
        to: u64,
    },
    /// The first page of a segment is damaged, so that none of its frames can be told.
    Head {
        /// The segment.
        path: PathBuf,
        /// Its first position, by its name.
        first: u64,
        /// The first position of the next segment, if there is one.
        to: Option<u64>,
    },
    /// A segment is missing, or the journal was begun again further on.
    Hole {
        /// The first position that is missing.
        from: u64,
        /// The first position that is there again.
        to: u64,
    },
    /// A later version wrote there.
    Unknown {
        /// The segment.
        path: PathBuf,
        /// What was found.
        text: String,
    },
    /// The description of the ring is missing or damaged: the messages are not affected, but the
    /// ring cannot be made again by itself.
    Description {
        /// What is wrong.
        text: String,
    },
    /// Harmless: the segment reaches further than the next one's beginning. A write that was
    /// reported as failed had reached the disk.
    Overlap {
        /// The segment.
        path: PathBuf,
        /// Where the next segment begins.
        to: u64,
        /// Where this one ends.
        end: u64,
    },
    /// A frame of marks is damaged: no message is lost, and yet the disk has changed what it held.
    Marks {
        /// The segment.
        path: PathBuf,
        /// The offset of the frame.
        offset: u64,
    },
    /// Harmless: the last commit was never whole.
    Torn {
        /// The newest segment.
        path: PathBuf,
        /// The offset of the commit.
        offset: u64,
    },
}

impl Finding {
    /// True if nothing is lost.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Finding::Overlap { .. } | Finding::Torn { .. })
    }

    /// The segment that [`repair`](Report::repair) moves aside, if it does.
    fn to_be_moved(&self) -> Option<PathBuf> {
        match self {
            Finding::Head { path, .. } => Some(path.clone()),
            _ => None,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Damaged { path, offset, from, to } => write!(
                f,
                "{}: damaged at byte {offset}: positions {from} to {} are lost",
                path.display(),
                to - 1
            ),
            Finding::Head { path, first, to: Some(to) } => write!(
                f,
                "{}: its first page is damaged: positions {first} to {} cannot be read",
                path.display(),
                to.saturating_sub(1)
            ),
            Finding::Head { path, first, to: None } => write!(
                f,
                "{}: its first page is damaged: what it holds from position {first} on cannot be read",
                path.display()
            ),
            Finding::Hole { from, to } => write!(f, "positions {from} to {} are missing", to - 1),
            Finding::Unknown { path, text } => write!(f, "{}: {text}", path.display()),
            Finding::Description { text } => write!(f, "ring.json: {text}"),
            Finding::Overlap { path, to, end } => write!(
                f,
                "{}: it reaches to position {end}, and the next segment begins at {to}: harmless, a write that was \
                 reported as failed had reached the disk",
                path.display()
            ),
            Finding::Marks { path, offset } => write!(
                f,
                "{}: damaged at byte {offset}: no message is lost, but the disk has changed what it held",
                path.display()
            ),
            Finding::Torn { path, offset } => write!(
                f,
                "{}: a commit at byte {offset} was never whole: harmless, none of it was released",
                path.display()
            ),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The directory.
    pub home: Home,
    /// The number of segments.
    pub segments: usize,
    /// The number of messages that can be read.
    pub messages: u64,
    /// The first position that is there.
    pub first: u64,
    /// One past the last position.
    pub end: u64,
    /// What was found, in the order of positions.
    pub findings: Vec<Finding>,
}

impl Report {
    /// True if nothing is lost.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(Finding::is_harmless)
    }

    /// Moves each segment that no reader can open into the folder `aside`, if `really`; returns the
    /// segments. What is lost is lost before and after: readers then find a hole where they found
    /// damage. Nothing is removed, and nothing is cut.
    ///
    /// # Errors
    ///
    /// Those of moving; `ResourceBusy` if a journal writes there.
    pub fn repair(&self, really: bool) -> io::Result<Vec<PathBuf>> {
        let moved: Vec<PathBuf> = self.findings.iter().filter_map(Finding::to_be_moved).collect();
        if !really || moved.is_empty() {
            return Ok(moved);
        }
        let lock = std::fs::File::options().read(true).write(true).open(self.home.path().join("lock"))?;
        if !system::try_lock(&lock)? {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "a journal writes there; stop it first"));
        }
        let aside = self.home.path().join("aside");
        std::fs::create_dir_all(&aside)?;
        for path in &moved {
            let name = path.file_name().unwrap_or_default();
            system::rename_no_replace(path, &aside.join(name))?;
        }
        system::sync_directory(&aside)?;
        system::sync_directory(self.home.path())?;
        Ok(moved)
    }
}

/// Reads every frame of every segment, one frame in memory at a time, and compares each checksum.
/// Changes nothing. `progress` is called after each segment, with the number that is left.
///
/// # Errors
///
/// [`HistoryError::Io`] if something cannot be read.
pub fn check(home: &Home, mut progress: impl FnMut(usize)) -> Result<Report, HistoryError> {
    let io_error =
        |path: PathBuf| move |source| HistoryError::Io { path, source: std::sync::Arc::new(source) };
    let firsts = home.segments().map_err(io_error(home.path().to_path_buf()))?;
    let first = firsts.first().copied().unwrap_or(0);
    let mut report = Report {
        home: home.clone(),
        segments: firsts.len(),
        messages: 0,
        first,
        end: first,
        findings: Vec::new(),
    };
    if let Err(error) = Description::load(home) {
        report.findings.push(Finding::Description { text: error.to_string() });
    }
    for (n, &first) in firsts.iter().enumerate() {
        let path = home.segment(first);
        let next = firsts.get(n + 1).copied();
        if first > report.end {
            report.findings.push(Finding::Hole { from: report.end, to: first });
        }
        let segment = match home.open(first) {
            Ok(Some(segment)) => segment,
            // Retired meanwhile.
            Ok(None) => continue,
            Err(OpenSegmentError::Head(crate::format::HeadError::Damaged)) => {
                report.findings.push(Finding::Head { path, first, to: next });
                report.end = next.unwrap_or(first);
                continue;
            }
            Err(OpenSegmentError::Head(error)) => {
                report.findings.push(Finding::Unknown { path, text: error.to_string() });
                report.end = next.unwrap_or(first);
                continue;
            }
            Err(OpenSegmentError::Io(error)) => return Err(io_error(path)(error)),
        };
        let limit = next.unwrap_or(u64::MAX);
        let mut place = segment.start();
        loop {
            let (end, verdict) = segment
                .walk_from(place, |head, _| {
                    report.messages += head.next().min(limit).saturating_sub(head.position.max(first));
                })
                .map_err(io_error(path.clone()))?;
            match verdict {
                // The writer is at work there: from here on again.
                Verdict::Frame => place = end,
                Verdict::Damaged { behind } => {
                    let at_itself = behind.offset == end.offset;
                    let to = if at_itself { behind.next() } else { behind.position };
                    let (path, offset, from) = (path.clone(), end.offset, end.next);
                    report.findings.push(match to > from {
                        true => Finding::Damaged { path, offset, from, to },
                        false => Finding::Marks { path, offset },
                    });
                    let offset = if at_itself { behind.offset + behind.padded_len() } else { behind.offset };
                    place = Place { offset, next: to };
                }
                Verdict::Unknown(unknown) => {
                    report.findings.push(Finding::Unknown { path: path.clone(), text: unknown.to_string() });
                    report.end = next.unwrap_or(end.next);
                    break;
                }
                Verdict::End(how) => {
                    report.end = end.next;
                    match next {
                        Some(to) if to < end.next => {
                            report.findings.push(Finding::Overlap { path: path.clone(), to, end: end.next });
                        }
                        // The last frame of a segment that has a successor: no torn commit.
                        Some(to) if to > end.next && how != End::Full => {
                            let (offset, from) = (end.offset, end.next);
                            report.findings.push(Finding::Damaged { path: path.clone(), offset, from, to });
                            report.end = to;
                        }
                        None if how == End::Torn => {
                            report.findings.push(Finding::Torn { path: path.clone(), offset: end.offset });
                        }
                        _ => {}
                    }
                    break;
                }
            }
        }
        progress(firsts.len() - n - 1);
    }
    Ok(report)
}
