//! The place of a ring: for verbs that show bytes of any type, and for verbs that wait for a ring.

use crate::parse;
use slipring::At;
use std::path::Path;
use std::time::Duration;

/// The ring at a path, with messages of any type: the command shows and moves their bytes.
pub(crate) fn of_any_type(path: &Path) -> At {
    At::path(path).any_type()
}

/// Trust in another user, for verbs that write.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Trust {
    /// Opens a ring that belongs to this user, by name or number, too: the owner of a file can
    /// change messages while they are read
    #[arg(long, value_name = "USER", value_parser = parse::user)]
    trust_owner: Option<u32>,
}

impl Trust {
    /// The ring at a path, whatever type of messages it carries.
    pub(crate) fn at(self, path: &Path) -> At {
        let at = of_any_type(path);
        match self.trust_owner {
            Some(user) => at.trust_owner(user),
            None => at,
        }
    }
}

/// Waiting for a ring that is not there yet.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Await {
    /// Waits so long for a ring that is not there yet
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    wait: Option<Duration>,
    /// Opens a ring that belongs to this user, by name or number, too: the owner of a file can
    /// change messages while they are read
    #[arg(long, value_name = "USER", value_parser = parse::user)]
    trust_owner: Option<u32>,
}

impl Await {
    /// The ring at a path, when it is there.
    pub(crate) fn at(self, path: &Path) -> At {
        let at = At::path(path).wait(self.wait.unwrap_or_default());
        match self.trust_owner {
            Some(user) => at.trust_owner(user),
            None => at,
        }
    }
}
