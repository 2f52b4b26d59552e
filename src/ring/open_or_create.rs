//! Opening a ring, or creating it, in programs that start in any order.

use crate::error::{AtPath, CreateError, OpenError};
use crate::ring::place::{Kind, Place};
use crate::ring::{Ring, RingOptions};
use crate::system;
use slipring_core::protocol::furnish::Staff;
use std::fmt::Display;
use std::time::Duration;

/// How often to try a path at which other programs create and remove rings meanwhile.
const TRIES: u32 = 100;
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(1);

impl RingOptions {
    /// Opens the ring at `place`, or creates it if the path is free: for programs that start in any
    /// order. A ring that exists must match these options.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("slipring-either-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("quotes");
    /// use slipring::{CreateError, RingOptions};
    ///
    /// let first = RingOptions::new(48, 1024).durable("audit").open_or_create(&path)?;
    /// let second = RingOptions::new(48, 1024).durable("audit").open_or_create(&path)?;
    /// assert_eq!(first.id(), second.id());
    ///
    /// let error = RingOptions::new(64, 1024).durable("backup").open_or_create(&path).unwrap_err();
    /// let CreateError::Differs { differences, .. } = error.error else { panic!("{error}") };
    /// assert_eq!(differences, [
    ///     "block size is 48, not 64",
    ///     "durable consumer \"backup\" is not declared",
    /// ]);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// The call compares the numbers that the options set, the type, the declared consumers, and
    /// the declared groups with their settings. It does not compare the permission bits and the
    /// first position, and accepts further consumers and groups.
    ///
    /// # Errors
    ///
    /// [`CreateError::Differs`] names the differences; otherwise as [`Ring::open`] and
    /// [`create`](Self::create).
    pub fn open_or_create(&self, place: impl Place) -> Result<Ring, AtPath<CreateError>> {
        let at = place.at();
        let mut tries = 0;
        loop {
            match Ring::open(&at) {
                Ok(ring) => return self.matching(ring),
                Err(AtPath { error: OpenError::NotFound, .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let Kind::File { path, .. } = &at.source.0 else {
                return Err(at.at_path(CreateError::AlreadyExists));
            };
            // No new ring has the id of an old one.
            if at.demands.ring_id.or(at.demands.continuing).is_some() {
                return Err(at.at_path(OpenError::NotFound.into()));
            }
            match self.make(path) {
                // Opened on the conditions of `at`.
                Ok(id) => return Ok(Ring::open(at.only_ring(id))?),
                // Another program creates the ring at this moment, or did so meanwhile.
                Err(AtPath { error: CreateError::AlreadyExists, .. }) if tries < TRIES => {
                    tries += 1;
                    system::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn matching(&self, ring: Ring) -> Result<Ring, AtPath<CreateError>> {
        let differences = self.differences(&ring).map_err(|error| ring.attachment.at_path(error))?;
        if differences.is_empty() {
            return Ok(ring);
        }
        Err(ring.attachment.at_path(CreateError::Differs { differences }))
    }

    /// The differences between a ring and these options, in words.
    fn differences(&self, ring: &Ring) -> Result<Vec<String>, CreateError> {
        let (wanted, raw) = self.plan()?;
        let (header, found) = (&ring.attachment.header, ring.attachment.geometry());
        let mut differences = Vec::new();
        let mut compare = |what: &str, found: &dyn Display, wanted: &dyn Display| {
            let (found, wanted) = (found.to_string(), wanted.to_string());
            if found != wanted {
                differences.push(format!("{what} is {found}, not {wanted}"));
            }
        };
        let kind = |schema: &str| if schema.is_empty() { "untyped".to_owned() } else { schema.to_owned() };
        compare("block size", &found.block_size(), &wanted.block_size());
        compare("capacity", &found.capacity(), &wanted.capacity());
        compare("type", &kind(&header.schema), &kind(self.schema()));
        compare("number of consumer entries", &found.consumers(), &wanted.consumers());
        compare("number of group entries", &found.groups(), &wanted.groups());
        compare("number of worker entries", &found.workers(), &wanted.workers());
        compare("durable inactive threshold in ms", &header.durable_inactive_ms, &self.durable_inactive_ms);
        if found.groups() > 0 && wanted.groups() > 0 {
            let (capacity, policy) = header.dead_letters.to_header(found.capacity());
            compare("dead-letter capacity", &capacity, &raw.dead_capacity);
            compare("dead-letter policy", &policy, &raw.dead_policy);
        }
        differences.extend(self.undeclared(ring));
        Ok(differences)
    }

    /// The consumers and groups that these options declare and the ring does not have.
    fn undeclared(&self, ring: &Ring) -> Vec<String> {
        let (consumers, groups) = (ring.consumers(), ring.groups());
        let is_there = |name: &str| consumers.iter().any(|info| info.durable && info.name == name);
        let durables = self.durable.iter().map(|durable| &durable.name).filter(|name| !is_there(name));
        let missing = durables.map(|name| format!("durable consumer {name:?} is not declared"));
        let other_groups =
            self.declared_groups.iter().filter_map(|Staff { name, settings: wanted, .. }| {
                match groups.iter().find(|group| group.name == *name) {
                    None => Some(format!("group {name:?} is not declared")),
                    Some(group) if group.settings != *wanted => {
                        Some(format!("group {name:?} has {}, not {wanted}", group.settings))
                    }
                    Some(_) => None,
                }
            });
        missing.chain(other_groups).collect()
    }
}
