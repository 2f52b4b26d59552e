//! The operations: what there is before, what the victim does, and what may be there afterwards.

mod before;
mod consumer;
mod create;
mod dead;
mod durable;
mod group;
mod producer;
mod upkeep;

use crate::trace::Marks;
use crate::world::{Ending, Mode, World};
use std::fmt::Debug;
use std::path::Path;

type Before = fn(&Path, Mode) -> World;
type Act = fn(&Path, &Marks) -> String;
type Judge = fn(&mut World, &Ending);

/// One operation of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) name: &'static str,
    /// The world before the operation.
    pub(crate) before: Before,
    /// The victim's operation, and its result: `ok …` or `err …`.
    pub(crate) act: Act,
    /// Looks at the state that the victim left, before any other party goes on.
    pub(crate) judge: Judge,
    /// How its reports may begin when nothing happened to it.
    pub(crate) says: &'static [&'static str],
    /// And how besides when it was stopped meanwhile.
    pub(crate) says_late: &'static [&'static str],
    /// Other processes change the file meanwhile, so that the file does not tell the victim's
    /// states apart: every instruction is tried.
    pub(crate) beside_others: bool,
    /// While the victim is stopped, another tries to become a consumer of its name.
    pub(crate) contested: bool,
}

const OK: &[&str] = &["ok"];
const LOST: &[&str] = &["err LeaseLost", "err Empty"];
const EXISTS: &[&str] = &["err ProducerExists"];

impl Op {
    const fn new(name: &'static str, before: Before, act: Act, judge: Judge) -> Op {
        Op { name, before, act, judge, says: OK, says_late: &[], beside_others: false, contested: false }
    }
    const fn says(self, says: &'static [&'static str]) -> Op {
        Op { says, ..self }
    }
    const fn late(self, says_late: &'static [&'static str]) -> Op {
        Op { says_late, ..self }
    }
    const fn beside_others(self) -> Op {
        Op { beside_others: true, ..self }
    }
    const fn contested(self) -> Op {
        Op { contested: true, ..self }
    }
}

/// The matrix: name, what there is before, what the victim does, what may be there afterwards.
#[rustfmt::skip]
pub(crate) const OPS: &[Op] = &[
    Op::new("send",                    before::orphan,        producer::send,              producer::one_is_out),
    Op::new("send-to-groups",          before::orphan_group,  producer::send,              producer::one_is_out),
    Op::new("claim-publish",           before::orphan,        producer::claim_publish,     producer::one_is_out),
    Op::new("claim-abort",             before::orphan,        producer::claim_abort,       producer::none_is_out),
    Op::new("send-batch",              before::orphan,        producer::send_batch,        producer::three_are_out),
    Op::new("send-when-full",          producer::full,        producer::send_briefly,      producer::was_full)
        .says(&["err Full"]).late(OK),
    Op::new("send-ahead",              producer::claimed_ahead, producer::send,            producer::one_is_out),
    Op::new("abort-ahead",             before::orphan_ahead,  producer::claim_abort,       producer::none_is_out),
    Op::new("take-over-ahead",         producer::claimed_ahead, producer::open,            producer::none_is_out)
        .late(EXISTS),
    Op::new("send-past-a-dead-reader", producer::dead_reader, producer::try_send,          producer::one_is_out),
    Op::new("send-past-an-evictable",  producer::evictable,   producer::try_send,          producer::evicted),
    Op::new("send-to-a-sleeper",       producer::sleeper,     producer::send,              producer::one_is_out)
        .beside_others(),
    Op::new("close",                   before::orphan,        producer::close,             producer::is_closed),
    Op::new("producer-open",           before::orphan,        producer::open,              anything).late(EXISTS),
    Op::new("take-over",               producer::uncounted,   producer::open,              producer::is_counted)
        .late(EXISTS),
    Op::new("take-over-batched",        producer::batched,      producer::open,              producer::none_is_out)
        .late(EXISTS),
    Op::new("send-over-headers",         producer::batched,      producer::send,              producer::one_is_out),
    Op::new("send-batch-over-headers",   producer::batched,      producer::send_batch,        producer::three_are_out),
    Op::new("producer-drop",           before::orphan,        producer::leave,             anything),

    Op::new("take",                    before::reader,        consumer::take,              anything),
    Op::new("take-batch",              before::reader,        consumer::take_batch,        anything),
    Op::new("take-evictable",          before::reader,        consumer::take_evictable,    consumer::was_published)
        .late(&["err Lagged"]),
    Op::new("observe",                 before::reader,        consumer::observe,           consumer::was_published),
    Op::new("join-earliest",           before::reader,        consumer::join_earliest,     anything).contested(),
    Op::new("join-latest",             before::reader,        consumer::join_latest,       anything).contested(),
    Op::new("join-at",                 before::reader,        consumer::join_at,           anything)
        .late(&["err Start"]).contested(),
    Op::new("join-over-a-dead-one",    consumer::dead_one,    consumer::join_latest,       anything).contested(),
    Op::new("leave",                   before::reader,        consumer::leave,             anything),

    Op::new("durable-join",            before::reader,        durable::join,               durable::has_joined).contested(),
    Op::new("durable-resume",          durable::away,         durable::resume,             durable::nothing_released),
    Op::new("durable-take",            durable::away,         durable::take,               durable::one_released),
    Op::new("durable-read-ahead",      durable::away,         durable::read_ahead,         durable::one_released),
    Op::new("durable-leave",           durable::away,         durable::leave,              durable::nothing_released),
    Op::new("remove-consumer",         durable::unwanted,     durable::remove,             durable::is_removed),

    Op::new("worker-join",             before::group,         group::join,                 anything),
    Op::new("worker-join-new-group",   before::group,         group::join_new,             group::staff_second),
    Op::new("worker-join-over-a-dead-one", group::dead_one,   group::join,                 anything),
    Op::new("worker-leave",            before::group,         group::leave,                group::given_back),
    Op::new("claim-ack",               before::group,         group::claim_ack,            group::may_settle_one).late(LOST),
    Op::new("claim-all-ack-all",       before::group,         group::claim_all_ack_all,    group::may_settle_two).late(LOST),
    Op::new("ack-with-floor",          group::newer_settled,  group::ack,                  group::may_settle_one).late(LOST),
    Op::new("nack",                    before::group,         group::nack,                 group::given_back).late(LOST),
    Op::new("drop-delivery",           before::group,         group::drop_delivery,        group::given_back),
    Op::new("release",                 before::group,         group::release,              group::released).late(LOST),
    Op::new("extend",                  before::group,         group::extend,               group::given_back).late(LOST),
    Op::new("reject",                  before::group,         group::reject,               dead::may_be_given_up).late(LOST),
    Op::new("reject-without-dead-letter-ring", dead::no_dead_letter_ring, group::reject,               dead::may_be_given_up).late(LOST),
    Op::new("give-up-the-dead-ones",   dead::last_attempt,    group::release_next,         dead::both_may_be_given_up)
        .late(LOST),
    Op::new("take-over-an-expired-lease", group::expired,     group::claim_ack_next,       group::first_is_told).late(LOST),
    Op::new("reap-a-dead-worker",      group::dead_one,       group::claim_next,           group::taken_again).late(LOST),
    Op::new("remove-group",            upkeep::second_group,  upkeep::remove_group,        upkeep::group_is_removed)
        .late(&["err GroupInUse"]),
    Op::new("change-group",            before::group,         upkeep::change_group,        upkeep::settings_are_whole),

    Op::new("redrive",                 dead::letter_alone,    dead::redrive,               dead::is_redriven),
    Op::new("purge",                   dead::letter,          dead::purge,                 dead::is_purged),
    Op::new("dead-letters-open",       dead::letter,          dead::open,                  dead::is_there),
    Op::new("repair",                  upkeep::two_dead,      upkeep::repair,              group::given_back),
    Op::new("create",                  create::unborn,        create::reading,             create::reading_again)
        .late(&["err AlreadyExists"]),
    Op::new("create-with-groups",      create::unborn_group,  create::working,             create::working_again)
        .late(&["err AlreadyExists"]),
    Op::new("create-readable",         create::unborn_readable, create::create_readable,   create::readable_again)
        .late(&["err AlreadyExists"]),
    Op::new("create-readable-with-groups", create::unborn_readable_group, create::create_readable_group, create::readable_group_again)
        .late(&["err AlreadyExists"]),
    Op::new("create-over-a-lock-file", create::left_behind,   create::create_readable,     create::readable_again)
        .late(&["err AlreadyExists"]),
    Op::new("restore",                 create::unborn,        create::restore,             create::restored_again)
        .late(&["err AlreadyExists"]),
    Op::new("restore-with-groups",     create::unborn_group,  create::restore_with_groups, create::restored_with_groups_again)
        .late(&["err AlreadyExists"]),
    Op::new("remove",                  create::unused,        create::remove,              create::is_removed)
        .late(&["err NotFound"]),
];

/// Roles of parties that are dead or stopped before the operation.
#[rustfmt::skip]
pub(crate) const HELPERS: &[Op] = &[
    Op::new("nothing",                 World::empty,           |_, marks| say(marks.around(|| Ok::<_, ()>(()))), anything),
    Op::new("holds-a-lease",           World::empty,           group::ack,                  anything),
    Op::new("holds-the-second-group",  World::empty,           upkeep::ack_in_second,       anything),
    Op::new("reads",                   World::empty,           consumer::take,              anything),
    Op::new("claims-ahead",            World::empty,           producer::claim_abort,       anything),
];

fn anything(_: &mut World, _: &Ending) {}

/// The victim's reports.
fn say<T: Debug, E: Debug>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("ok {value:?}"),
        Err(error) => format!("err {}", name_of(&error)),
    }
}

/// The name of an error's variant. The fields that `{:#?}` prints end, for an error at a path, with
/// the error.
fn name_of(error: &impl Debug) -> String {
    let fields = format!("{error:#?}");
    let error = fields.split_once("\n    error: ").map_or(&*fields, |(_, error)| error);
    error.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn done() -> String {
    "ok".to_owned()
}
