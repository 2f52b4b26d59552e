//! The work of each role.

mod copying;
mod evictable;
mod observer;
mod publisher;
mod reader;
mod redriver;
mod story;
mod worker;

pub(crate) use worker::{ACK_WAIT, ATTEMPTS};

use crate::cast::{Cast, Role};
use crate::message::Stream;

/// Plays a role to its end.
pub(crate) fn play(cast: &Cast) {
    // SAFETY: no memory is passed. The child dies with the director, however that ends.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    match cast.role {
        Role::Publisher => publisher::publish(cast, Stream::Broadcast),
        Role::GroupPublisher => publisher::publish(cast, Stream::Groups),
        Role::Audit | Role::Durable => reader::read_durably(cast),
        Role::Plain => reader::read_plainly(cast),
        Role::Evictable => evictable::read(cast),
        Role::Observer => observer::observe(cast),
        Role::Worker | Role::FrailWorker => worker::work(cast),
        Role::Redriver => redriver::redrive(cast),
    }
}
