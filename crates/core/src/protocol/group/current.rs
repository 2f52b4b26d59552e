//! The settings of a group in its entry, which may change while workers use them.
//!
//! The entry has two places for settings, and a version, whose lowest bit says which of the places
//! is in use. A change writes to the other place, then stores the next version. So a reader finds
//! the old settings or the new ones as a whole, and a process that is killed during a change has
//! changed nothing, or everything.
//!
//! A reader that was stopped while it read one place, until two changes had passed, finds another
//! version afterwards, and reads again.
//!
//! Example: version 4, so place 0 is in use. A change writes place 1, and stores version 5. The
//! change after that writes place 0. A reader that had found version 4, and reads words of that
//! change, finds version 5 or 6 afterwards.
//!
//! # A worker that has not taken up a change
//!
//! A worker takes up a change when it sweeps, extends a lease or fails. Until then it goes by what
//! it knows, and finds leases of colleagues that go by the new settings. A lease that looks too
//! long makes it look at the version before it judges: the exchange that wrote such a deadline
//! released the version that allowed it.

use super::Group;
use crate::format::{group, group_settings};
use crate::memory::{Memory, Word};
use crate::protocol::settings::{CurrentSettings, GroupSettings, WAIT_MAX_MS};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Changes that may come in between before a reader stops reading again.
const ATTEMPTS: usize = 16;

impl<M: Memory> Group<M> {
    /// The settings in use. `None` if they change all the time.
    pub fn current_settings(&self) -> Option<CurrentSettings> {
        let mut version = self.load(group::SETTINGS_VERSION);
        for _ in 0..ATTEMPTS {
            self.memory.fence(Acquire); // SET
            let read = self.read_place(version);
            self.memory.fence(Acquire); // REPLACE
            let latest = self.load(group::SETTINGS_VERSION);
            if latest == version {
                return Some(read);
            }
            version = latest;
        }
        None
    }

    /// The settings in use; those of one place if they change all the time, which only a damaged
    /// ring does.
    pub fn settings(&self) -> CurrentSettings {
        self.current_settings().unwrap_or_else(|| self.read_place(self.load(group::SETTINGS_VERSION)))
    }

    /// The settings, if they are not of this version any more.
    pub fn settings_after(&self, version: u64) -> Option<CurrentSettings> {
        if self.load(group::SETTINGS_VERSION) == version { None } else { self.current_settings() }
    }

    /// Changes the settings, which are in range. The caller holds the table right.
    pub fn change_settings(&self, settings: &GroupSettings) {
        let before = self.settings();
        self.store_settings(settings, settings.ack_wait_ms.max(before.longest_ack_wait_ms));
    }

    /// Stores the settings of a group and the length of its longest lease. The caller holds the
    /// table right.
    pub(super) fn store_settings(&self, settings: &GroupSettings, longest_ack_wait_ms: u32) {
        let Group { memory, .. } = self;
        let version = self.load(group::SETTINGS_VERSION).wrapping_add(1);
        memory.fence(Release); // REPLACE
        settings.store(memory, |at| self.settings_word(version, at));
        let longest = self.settings_word(version, group_settings::LONGEST_ACK_WAIT_MS);
        memory.store(longest, longest_ack_wait_ms.into(), Relaxed);
        memory.store(self.entry_word(group::SETTINGS_VERSION), version, Release); // SET
    }

    fn read_place(&self, version: u64) -> CurrentSettings {
        let settings = GroupSettings::load(&self.memory, |at| self.settings_word(version, at));
        let longest =
            self.memory.load(self.settings_word(version, group_settings::LONGEST_ACK_WAIT_MS), Relaxed);
        let longest = u32::try_from(longest).unwrap_or(WAIT_MAX_MS).min(WAIT_MAX_MS);
        CurrentSettings { settings, version, longest_ack_wait_ms: longest.max(settings.ack_wait_ms) }
    }

    fn settings_word(&self, version: u64, at: u64) -> Word {
        self.entry_word(group::SETTINGS + (version & 1) * group_settings::LEN + at)
    }
}
