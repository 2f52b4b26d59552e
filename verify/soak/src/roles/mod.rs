//! The work of each role.

mod changer;
mod copying;
mod evictable;
mod fleeting;
mod observer;
mod publisher;
mod reader;
mod redriver;
mod story;
mod stranger;
mod worker;

pub(crate) use changer::{FIRST as FIRST_SETTINGS, settings};
pub(crate) use fleeting::{GROUP as FLEETING_GROUP, first_of as first_of_file};
pub(crate) use stranger::can_be as can_be_another_user;

use crate::cast::{Cast, Role};
use crate::message::Stream;

/// Plays a role to its end.
pub(crate) fn play(cast: &Cast) {
    // SAFETY: no memory is passed. The child dies with the director, however that ends.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if cast.role.is_fleeting() || cast.role == Role::Stranger {
        let handled = slipring::handle_sigbus();
        handled.expect("a handler of SIGBUS can be installed");
    }
    match cast.role {
        Role::Publisher => publisher::publish(cast, Stream::Broadcast),
        Role::GroupPublisher => publisher::publish(cast, Stream::Groups),
        Role::Audit | Role::Durable => reader::read_durably(cast),
        Role::Plain => reader::read_plainly(cast),
        Role::Evictable => evictable::read(cast),
        Role::Observer => observer::observe(cast),
        Role::Worker | Role::FrailWorker => worker::work(cast),
        Role::Redriver => redriver::redrive(cast),
        Role::Changer => changer::change(cast),
        Role::Stranger => stranger::stay(cast),
        Role::FleetingPublisher => fleeting::publish(cast),
        Role::FleetingReader => fleeting::read(cast),
        Role::FleetingObserver => fleeting::observe(cast),
        Role::FleetingWorker => fleeting::work(cast),
    }
}
