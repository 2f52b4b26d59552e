//! The settings of a group change under its workers.

use super::leases::{self, LATER, NOW, lease, settle, worker};
use super::{publish, take_over};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, mortal};
use loom::thread;
use slipring_core::format::{Geometry, group as group_entry, group_settings};
use slipring_core::memory::Word;
use slipring_core::protocol::group::Kinds;
use slipring_core::protocol::settings::GroupSettings;
use std::time::Duration;

/// Settings that say in two words which ones they are.
fn numbered(n: u32) -> GroupSettings {
    leases::settings().ack_wait(Duration::from_millis((100 * n).into())).max_deliver(n)
}

fn is_whole(settings: &GroupSettings) -> bool {
    *settings == numbered(settings.max_deliver)
}

/// The version, and two words of each place.
fn words(geometry: &Geometry) -> Vec<Word> {
    let places = [group_entry::SETTINGS, group_entry::SETTINGS + group_settings::LEN];
    let words = places.map(|at| [at + group_settings::ACK_WAIT_MS, at + group_settings::MAX_DELIVER]);
    let all = words.into_iter().flatten().chain([group_entry::SETTINGS_VERSION]);
    all.map(|at| geometry.group_word(0, at)).collect()
}

fn ring() -> (Geometry, LoomMemory) {
    let geometry = leases::geometry(1);
    let memory = LoomMemory::with_words(&geometry, &words(&geometry));
    leases::create(&leases::group(&memory, &geometry)).expect("it begins at the first message");
    leases::group(&memory, &geometry).change_settings(&numbered(1));
    (geometry, memory)
}

/// Two changes while another party reads: it finds one of the three settings, and no mixture.
pub(super) fn settings(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring();
        let changing = leases::group(&memory, &geometry);
        let changing = thread::spawn(move || {
            for n in [2, 3] {
                changing.change_settings(&numbered(n));
            }
        });
        let group = leases::group(&memory, &geometry);
        let read = group.current_settings().expect("there are two changes");
        assert!(is_whole(&read.settings), "some of each: {read:?}");
        changing.join().expect("the changing one ends");
        assert_eq!(group.settings().settings, numbered(3));
    })
}

/// A party is killed before each of its accesses while it changes the settings; the next one
/// changes them again.
pub(super) fn settings_killed(bound: usize) -> usize {
    killed_at_each(bound, |accesses| {
        let (geometry, memory) = ring();
        let victim = leases::group(&memory.fatal_after(accesses), &geometry);
        let lived = mortal(|| victim.change_settings(&numbered(2))).is_some();
        let group = leases::group(&memory, &geometry);
        let left = group.settings().settings;
        assert!(left == numbered(2) || !lived && left == numbered(1), "half a change: {left}");
        group.change_settings(&numbered(3));
        assert_eq!(group.settings().settings, numbered(3));
        lived
    })
}

/// The leases of a group become longer, and a worker extends its own. A colleague that has not
/// taken up the change finds a lease that is longer than any that it knows of, and leaves it alone.
pub(super) fn longer_leases(bound: usize) -> usize {
    explore(bound, || {
        let geometry = leases::geometry(1);
        let version = geometry.group_word(0, group_entry::SETTINGS_VERSION);
        let memory = LoomMemory::with_words(&geometry, &[version]);
        leases::create(&leases::group(&memory, &geometry)).expect("it begins at the first message");
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        let held = lease(&here, NOW).expect("it is there");
        let extending = thread::spawn(move || {
            here.group().change_settings(&leases::settings().ack_wait(Duration::from_secs(10)));
            let Ok(held) = here.extend(held, NOW) else { return false };
            assert!(settle(&here, held), "a lease was taken from its owner, who had extended it");
            true
        });
        // Twice: what looks impossible is judged by the second look.
        let taken = (0..2).find_map(|_| {
            there.group().hint_returned(held.position);
            there.search(Kinds::Any, LATER, false).lease
        });
        let kept = extending.join().expect("the extending one ends");
        assert_ne!(kept, taken.is_some(), "one of the two has its way");
        if let Some(taken) = taken {
            assert!(settle(&there, taken), "the shorter lease had run out");
        }
    })
}
