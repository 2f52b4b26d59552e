//! One file per verb.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod consumers;
pub(crate) mod create;
pub(crate) mod dead;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod events;
pub(crate) mod group;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod latency;
pub(crate) mod ls;
pub(crate) mod metrics;
pub(crate) mod peek;
pub(crate) mod publish;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod stat;
pub(crate) mod subscribe;
pub(crate) mod top;
pub(crate) mod work;
