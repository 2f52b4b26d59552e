//! Named readers of the history: how far each has come, so that retention keeps what they need.

use crate::home::Home;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A named reader of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reader {
    /// Its name.
    pub name: String,
    /// It has read all below this position.
    pub position: u64,
    /// When it said so.
    pub seen: SystemTime,
}

/// Notes how far a reader has come.
///
/// # Errors
///
/// Those of writing; `InvalidInput` if the name is none for a file.
pub fn note(home: &Home, name: &str, position: u64) -> io::Result<()> {
    let path = path(home, name)?;
    std::fs::create_dir_all(home.file("readers"))?;
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    // Another name than any reader's, and replaced whole: a reader that is killed here has the
    // position from before.
    let new = home.file("readers").join(format!(".{name}.new"));
    std::fs::write(&new, format!("{position} {ms}\n"))?;
    std::fs::rename(&new, path)
}

/// Every named reader, in the order of their positions.
///
/// # Errors
///
/// Those of reading. A file that nobody can understand stands for a reader at position 0.
pub fn all(home: &Home) -> io::Result<Vec<Reader>> {
    let entries = match std::fs::read_dir(home.file("readers")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut readers = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap_or(0));
        let (position, ms) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        readers.push(Reader { name, position, seen: UNIX_EPOCH + Duration::from_millis(ms) });
    }
    readers.sort_by(|a, b| (a.position, &a.name).cmp(&(b.position, &b.name)));
    Ok(readers)
}

/// The position of a reader, if it is known.
///
/// # Errors
///
/// As [`all`].
pub fn position(home: &Home, name: &str) -> io::Result<Option<u64>> {
    Ok(all(home)?.into_iter().find(|reader| reader.name == name).map(|reader| reader.position))
}

/// Forgets a reader: nothing is kept for it any more. False if it was not known.
///
/// # Errors
///
/// Those of removing; `InvalidInput` if the name is none for a file.
pub fn forget(home: &Home, name: &str) -> io::Result<bool> {
    match std::fs::remove_file(path(home, name)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn path(home: &Home, name: &str) -> io::Result<PathBuf> {
    let is_name = (1..=64).contains(&name.len()) && !name.starts_with('.') && !name.contains(['/', '\0']);
    match is_name {
        true => Ok(home.file("readers").join(name)),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{name:?} is no name of a reader: 1 to 64 bytes, without a slash, and no point at its beginning"
            ),
        )),
    }
}
