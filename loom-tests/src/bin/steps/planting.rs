//! Plants bugs in a copy of the source: all of them at once, each behind a question to the
//! environment, so that the copy is built once, and each bug is there in the processes that are
//! told so.
//!
//! A [`Plant`] says which text is replaced by which. Text is found without regard to white space
//! and comments, in whichever file it stands, and must stand there exactly once: a plant survives a
//! move, and one whose text is gone is an error.

use crate::plants::Plant;
use loom_tests::campaign::executable;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says by its number which bug is there; 0 and nothing: none.
pub(crate) const PLANT_VARIABLE: &str = "SLIPRING_PLANT";

/// The folders whose files are searched, each with the root of its crate.
const SEARCHED: [(&str, &str); 2] = [("crates/core/src", "crates/core/src/lib.rs"), ("src", "src/lib.rs")];

/// The function by which planted crates ask for the active bug.
const QUESTION: &str = r#"
#[doc(hidden)]
pub mod planted {
    extern crate std;
    pub fn is(number: u32) -> bool {
        static NUMBER: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        let told = || std::env::var("SLIPRING_PLANT").ok().and_then(|told| told.parse().ok());
        *NUMBER.get_or_init(|| told().unwrap_or(0)) == number
    }
}
"#;

/// A source without white space and comments, and where each byte of it came from.
struct Bare {
    text: Vec<u8>,
    from: Vec<usize>,
}

impl Bare {
    fn new(source: &str) -> Bare {
        let bytes = source.as_bytes();
        let mut bare = Bare { text: Vec::new(), from: Vec::new() };
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at..].starts_with(b"//") {
                at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at);
            } else {
                if !bytes[at].is_ascii_whitespace() {
                    bare.text.push(bytes[at]);
                    bare.from.push(at);
                }
                at += 1;
            }
        }
        bare
    }

    /// Where the text stands in the source, each time.
    fn find(&self, wanted: &Bare) -> Vec<(usize, usize)> {
        let len = wanted.text.len();
        let starts = (0..(self.text.len() + 1).saturating_sub(len))
            .filter(|&at| self.text[at..at + len] == wanted.text);
        starts.map(|at| (self.from[at], self.from[at + len - 1] + 1)).collect()
    }
}

/// One file with what is replaced in it.
#[derive(Default)]
struct Edits(BTreeMap<(usize, usize), Vec<(usize, &'static Plant)>>);

/// The copy of the source, built.
#[derive(Debug)]
pub(crate) struct Copy {
    tree: PathBuf,
    build: PathBuf,
}

impl Copy {
    /// Copies the source into `folder`, and plants the bugs there.
    pub(crate) fn plant(folder: &Path, plants: &'static [Plant]) -> Result<Copy, String> {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        // Cargo is started inside the copy, where a relative path would be another folder.
        let folder = std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let copy = Copy { tree: folder.join("tree"), build: folder.join("build") };
        copy.take(root)?;
        let mut edits: BTreeMap<PathBuf, Edits> = BTreeMap::new();
        let sources = copy.sources()?;
        for (number, plant) in (1..).zip(plants) {
            let (path, place) = place_of(&sources, plant)?;
            edits.entry(path).or_default().0.entry(place).or_default().push((number, plant));
        }
        for (path, edits) in edits {
            let planted =
                apply(&sources[&path], &edits).map_err(|why| format!("{}: {why}", path.display()))?;
            write(&path, &planted)?;
        }
        for (_, crate_root) in SEARCHED {
            let path = copy.tree.join(crate_root);
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            write(&path, &(text + QUESTION))?;
        }
        Ok(copy)
    }

    /// Copies every file that belongs to the project. A file that has not changed since the
    /// last copy is left alone.
    fn take(&self, root: &Path) -> Result<(), String> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("git: {error}"))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names: BTreeSet<&str> = listed.split('\0').filter(|name| root.join(name).is_file()).collect();
        for gone in files(&self.tree)? {
            if gone.strip_prefix(&self.tree).is_ok_and(|name| !names.contains(&*name.to_string_lossy())) {
                let _ = std::fs::remove_file(gone);
            }
        }
        for name in names {
            let Ok(bytes) = std::fs::read(root.join(name)) else { continue };
            let to = self.tree.join(name);
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            std::fs::create_dir_all(to.parent().unwrap_or(&self.tree)).map_err(|error| error.to_string())?;
            std::fs::write(&to, bytes).map_err(|error| format!("{}: {error}", to.display()))?;
        }
        Ok(())
    }

    fn sources(&self) -> Result<BTreeMap<PathBuf, String>, String> {
        let mut sources = BTreeMap::new();
        for (folder, _) in SEARCHED {
            for path in files(&self.tree.join(folder))? {
                let text = std::fs::read_to_string(&path);
                sources.insert(path, text.map_err(|error| error.to_string())?);
            }
        }
        Ok(sources)
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.build);
        // Planted choices stand in parentheses that rustc finds unnecessary.
        cargo.env("RUSTFLAGS", "-A unused");
        cargo
    }

    /// Builds the models; the program that runs one.
    pub(crate) fn build_models(&self) -> Result<PathBuf, String> {
        let built = self.cargo().args(["build", "--release", "-p", "loom-tests", "--bin", "steps"]).status();
        match built {
            Ok(status) if status.success() => Ok(self.build.join("release/steps")),
            _ => Err("the copy with the planted bugs cannot be built".to_owned()),
        }
    }

    /// Builds a test; the program that runs it.
    pub(crate) fn build_test(&self, package: &str, test: &str) -> Result<PathBuf, String> {
        let args = ["test", "--release", "--no-run", "--message-format=json", "-p", package, "--test", test];
        executable(self.cargo().args(args)).ok_or_else(|| format!("the test {test} cannot be built"))
    }
}

/// Every file in a folder and in those inside it; none, if it is not there.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop().filter(|folder| folder.is_dir()) {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn place_of(sources: &BTreeMap<PathBuf, String>, plant: &Plant) -> Result<(PathBuf, (usize, usize)), String> {
    let wanted = Bare::new(plant.from);
    let files = sources.iter().filter(|(path, _)| path.to_string_lossy().ends_with(plant.file));
    let places: Vec<(PathBuf, (usize, usize))> = files
        .flat_map(|(path, text)| Bare::new(text).find(&wanted).into_iter().map(|place| (path.clone(), place)))
        .collect();
    match &places[..] {
        [place] => Ok(place.clone()),
        _ => Err(format!(
            "{}: its text stands {} times in {}: {}",
            plant.name,
            places.len(),
            plant.file,
            plant.from
        )),
    }
}

fn apply(source: &str, edits: &Edits) -> Result<String, String> {
    let mut planted = String::new();
    let mut done = 0;
    for (&(start, end), plants) in &edits.0 {
        if start < done {
            return Err(format!("{} overlaps with another plant: give both the same text", plants[0].1.name));
        }
        planted += &source[done..start];
        planted += &choice(&source[start..end], plants);
        done = end;
    }
    Ok(planted + &source[done..])
}

/// The original or one of the bugs, by what the environment says.
fn choice(original: &str, plants: &[(usize, &Plant)]) -> String {
    // Of a `let` the value is chosen.
    let is_let = original.starts_with("let ") && original.ends_with(';');
    let split = |text: &str| match text.split_once('=') {
        Some((pattern, value)) if is_let => (pattern.to_owned(), value.trim_end_matches(';').to_owned()),
        _ => (String::new(), text.to_owned()),
    };
    let (pattern, value) = split(original);
    let bugs: String = plants
        .iter()
        .map(|(number, plant)| format!("if crate::planted::is({number}) {{ {} }} else ", split(plant.to).1))
        .collect();
    let whole = format!("{bugs}{{ {value} }}");
    let is_statement = original.ends_with(';') || original.ends_with('}');
    match is_statement {
        true if is_let => format!("{pattern}= {whole};"),
        true => whole,
        false => format!("({whole})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_whatever_its_line_breaks_and_comments_are() {
        let source = "fn f() {\n    // a(b)\n    a( // no\n        b,\n    );\n}";
        let places = Bare::new(source).find(&Bare::new("a(b,);"));
        assert_eq!(places.len(), 1);
        assert!(source[places[0].0..places[0].1].starts_with("a( // no"));
    }
}
