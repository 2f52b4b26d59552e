//! Changes the settings of both groups under their workers.

use super::worker::ATTEMPTS;
use crate::board::{Entry, Global, Team};
use crate::cast::{Cast, Wrong};
use crate::message::Stream;
use crate::options::Plant;
use slipring::{Backoff, GroupSettings, Ring};
use std::time::Duration;

/// Settings number `n` of a team: each field follows from the number, so that a mixture of two is
/// told.
pub(crate) fn settings(team: Team, n: u32) -> GroupSettings {
    let settings = GroupSettings::new()
        .ack_wait(Duration::from_millis(u64::from(60 + n)))
        .max_ack_pending(u64::from(16 + n))
        .backoff(Backoff::steps(&[Duration::from_millis(u64::from(n % 20))]));
    match team {
        Team::Steady => settings.max_deliver(None),
        Team::Frail => settings.max_deliver(if n % 2 == 0 { ATTEMPTS } else { ATTEMPTS - 1 }),
    }
}

/// The number of the settings that a group begins with.
pub(crate) const FIRST: u32 = 40;
const LAST: u32 = 120;

/// True for settings that have a number.
pub(crate) fn are_whole(team: Team, found: &GroupSettings) -> bool {
    found.ack_wait_ms.checked_sub(60).is_some_and(|n| n < LAST && *found == settings(team, n))
}

pub(crate) fn change(cast: &Cast) {
    let mut dice = cast.dice();
    cast.arrived();
    while !cast.board.is_set(Global::Stop) {
        let team = dice.pick(&[Team::Steady, Team::Frail]);
        // No settings come again soon: a worker that finds the same ones twice was given no others
        // in between. 7 and the number of settings have no common divisor.
        let n = cast.noted(Entry::Changes) * 7 % u64::from(LAST);
        let wanted = settings(team, u32::try_from(n).unwrap_or(0));
        let torn = cast.plants(Plant::Tear, cast.noted(Entry::Changes) * 200);
        let changed = cast.insist("change the settings", || {
            let ring = Ring::open(cast.ring(Stream::Groups))?;
            let change = |old: GroupSettings| {
                if torn { old.ack_wait(Duration::from_millis(wanted.ack_wait_ms.into())) } else { wanted }
            };
            ring.change_group(team.name(), change).map_err(slipring::Error::from)
        });
        if !torn && changed != wanted {
            cast.fail(Wrong::Failed, format_args!("settings are {changed}, not {wanted}"));
        }
        cast.count(Entry::Changes, 1);
        std::thread::sleep(Duration::from_millis(dice.roll(100)));
    }
}
