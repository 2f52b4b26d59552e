//! A consumer's entry in the table: how it is taken, and how it is left.

use super::ConsumerOptions;
use crate::error::{AtPath, AttachError, NameError, OpenError, RecvError};
use crate::region::{Access, Region};
use crate::ring::attach::{Attachment, patiently};
use crate::ring::place::At;
use crate::system;
use crate::wait::Wait;
use slipring_core::protocol::after;
use slipring_core::protocol::follow::{Followed, Upstream};
use slipring_core::protocol::membership::{self, ConsumerKind, EnterError, Entered, Identity};
use slipring_core::protocol::recorder::EventKind;
use std::io;

/// An entry of the consumer table, held by its lock. Leaves the table when dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) attachment: Attachment,
    pub(crate) entry: u32,
    /// The tail at which the consumer entered.
    pub(crate) tail: u64,
    pub(crate) wait: Wait,
    /// The parties that the consumer follows, with their names.
    pub(crate) after: Vec<Followed>,
    after_names: Vec<String>,
    kind: ConsumerKind,
    name: String,
    notice_producer_away: bool,
}

impl Membership {
    pub(crate) fn take(
        at: At,
        options: &ConsumerOptions,
        evictable: bool,
    ) -> Result<Membership, AtPath<AttachError>> {
        if options.durable || !options.name.is_empty() {
            NameError::check(&options.name).map_err(|error| at.at_path(AttachError::from(error)))?;
        }
        if options.durable && evictable {
            return Err(at.at_path(AttachError::EvictableDurable { name: options.name.clone() }));
        }
        let attachment = Attachment::open(at, Access::Readers)?;
        attachment
            .check_start(options.start)
            .map_err(|error| attachment.at_path(AttachError::from(error)))?;
        let kind = match evictable {
            true => ConsumerKind::Evictable,
            false if options.durable => ConsumerKind::Durable,
            false => ConsumerKind::Ephemeral,
        };
        let (Entered { entry, tail, after, .. }, after_names) = attachment.with_table(|| {
            let entered = enter(&attachment, options, kind)?;
            let names = after::names(&attachment.region, attachment.geometry(), &entered.after);
            Ok::<_, AttachError>((entered, names))
        })?;
        Ok(Membership {
            attachment,
            entry,
            tail,
            wait: options.wait,
            after,
            after_names,
            kind,
            name: options.name.clone(),
            notice_producer_away: options.notice_producer_away,
        })
    }

    /// An error if the ring's file was replaced, or if the producer died, the options ask for
    /// notice, and the consumer has read all that is published. Frees the entries of upstreams that
    /// died, so that the next look finds them gone.
    pub(crate) fn check_up(&self, upstreams: &[Upstream<Region>], is_at_end: bool) -> Result<(), RecvError> {
        self.attachment.check_up(self.notice_producer_away && is_at_end)?;
        self.reap(upstreams);
        Ok(())
    }

    fn reap(&self, upstreams: &[Upstream<Region>]) {
        let Attachment { region, locks, .. } = &self.attachment;
        for (upstream, name) in upstreams.iter().zip(&self.after_names) {
            if upstream.reap_if_dead(region, locks) {
                self.attachment.try_record(EventKind::Died, upstream.passed(), name, 0);
            }
        }
    }

    /// The error for an upstream that is gone.
    pub(crate) fn lost(&self, upstream: &Upstream<Region>) -> RecvError {
        let which = self.after.iter().position(|followed| *followed == upstream.followed());
        let name = which.and_then(|which| self.after_names.get(which)).cloned();
        RecvError::UpstreamLost { name: name.unwrap_or_default(), at: upstream.passed() }
    }

    /// The same, if the last one is a while ago.
    pub(crate) fn check_up_at_times(
        &self,
        upstreams: &[Upstream<Region>],
        is_at_end: bool,
    ) -> Result<(), RecvError> {
        if self.attachment.check_up_at_times(self.notice_producer_away && is_at_end)? {
            self.reap(upstreams);
        }
        Ok(())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.attachment.is_foreign() {
            return;
        }
        let Attachment { region, locks, .. } = &self.attachment;
        let (geometry, now) = (self.attachment.geometry(), system::unix_now_ms());
        let tail = membership::leave(region, geometry, locks, self.entry, self.kind, now);
        let pid = u64::from(system::process_id());
        self.attachment.try_record(EventKind::Detached, tail, &self.name, pid);
    }
}

/// Enters the table; the caller holds the table's right.
fn enter(
    attachment: &Attachment,
    options: &ConsumerOptions,
    kind: ConsumerKind,
) -> Result<Entered, AttachError> {
    let Attachment { region, locks, .. } = attachment;
    let (pid, unix_ms) = (u64::from(system::process_id()), system::unix_now_ms());
    let who = Identity { name: &options.name, pid, unix_ms, after: &options.after };
    let entered = patiently(
        || membership::enter(region, attachment.geometry(), locks, kind, options.start, &who),
        |error| matches!(error, EnterError::NameInUse { .. } | EnterError::TableFull),
    );
    let entered = entered.map_err(|error| refusal(attachment, &options.name, error))?;
    let event = if entered.resumed { EventKind::Resumed } else { EventKind::Attached };
    attachment.record(event, entered.tail, &options.name, pid);
    Ok(entered)
}

fn refusal(attachment: &Attachment, name: &str, error: EnterError<io::Error>) -> AttachError {
    let name = name.to_owned();
    match error {
        EnterError::NameInUse { pid } => AttachError::NameInUse { name, pid },
        EnterError::NameIsDurable => AttachError::NameIsDurable { name },
        EnterError::TableFull => {
            let geometry = attachment.geometry();
            let name = |entry| format!("{:?}", membership::name(&attachment.region, geometry, entry));
            let names: Vec<String> = geometry.consumer_entries().map(name).collect();
            AttachError::TableFull { entries: geometry.consumers(), names: names.join(", ") }
        }
        EnterError::Start(error) => error.into(),
        EnterError::After(error) => AttachError::After(error.into()),
        EnterError::Unknown(error) => OpenError::io("lock a consumer entry", error).into(),
    }
}
