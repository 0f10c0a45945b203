//! Lease reads on their callers' threads, in their four steps.
//!
//! Owns what each such read has seen so far. What always holds: it does what `store` does in production, with a stop
//! between any two steps: check the lease, take the view, read the clock, check the lease again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::lease::{Glimpse, PublishedRegion};
use crate::sim::disk::Data;
use crate::sim::member::Member;
use crate::sim::script::describe::describe_data;
use crate::time::Timestamp;

/// See the module.
#[derive(Default)]
pub(crate) struct Looks {
    by_name: BTreeMap<String, Look>,
}

struct Look {
    lease: Arc<PublishedRegion>,
    glimpse: Option<Glimpse>,
    view: Option<Data>,
}

impl Looks {
    /// Step 1.
    pub(crate) fn glimpse(&mut self, name: &str, member: &Member) -> String {
        let lease = member.peer().published_lease();
        let glimpse = lease.glimpse();
        self.by_name.insert(name.to_owned(), Look { lease, glimpse, view: None });
        match glimpse.map(|glimpse| glimpse.position()) {
            Some(seen) => format!("{name} sees a leader of term {} at {}", seen.term, seen.index),
            None => format!("{name} sees no leader"),
        }
    }

    /// Step 2.
    pub(crate) fn view(&mut self, name: &str, member: &Member) {
        self.by_name.get_mut(name).expect("it glimpsed").view = Some(member.engine().data().clone());
    }

    /// Steps 3 and 4.
    pub(crate) fn look(&mut self, name: &str, now: Timestamp) -> String {
        let Look { lease, glimpse, view } = self.by_name.remove(name).expect("it glimpsed");
        let view = view.expect("it took a view");
        let holds = glimpse.is_some_and(|glimpse| lease.still_holds(glimpse, now));
        let may = if holds { "shows" } else { "must not show" };
        format!("{name} {may} [{}]", describe_data(&view).join(", "))
    }
}
