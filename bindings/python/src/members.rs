//! The members of a cluster and their changes, as Python passes and gets them.
//!
//! Owns the conversion between the tuples of `almadia.membership` and the types of the library. What always holds: an
//! argument of the wrong type raises `TypeError` and one out of range `ValueError`, before anything is done; nothing here
//! waits. Whether changes fit the list of members is left to the store, which says why not.

use almadia::{MemberChange, MemberRole, MemberStatus, MemberTable, NodeId};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::arguments::{unsigned, wrong_type};

/// A change of the members: a tuple of its kind, the member, a new member, an address, and what it is to do or whether it
/// is preferred. Which of them matter depends on the kind.
pub struct Change(MemberChange);

impl Change {
    /// What the store takes.
    pub fn all(changes: Vec<Self>) -> Vec<MemberChange> {
        changes.into_iter().map(|change| change.0).collect()
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Change {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        type Given<'py> = Bound<'py, PyAny>;
        let (kind, node, by, address, choice): (Given<'_>, Given<'_>, Given<'_>, Given<'_>, Given<'_>) =
            given.extract()?;
        let by = || number(&by, "by");
        let address = || text(&address, "address is a str such as '10.0.0.4:7001'");
        let node = number(&node, "node")?;
        Ok(Self(match text(&kind, "the kind of a change is a str")?.as_str() {
            "add" => MemberChange::Add { node, address: address()?, role: role(&choice)? },
            "remove" => MemberChange::Remove { node },
            "replace" => MemberChange::Replace { node, by: by()?, address: address()? },
            "promote" => MemberChange::Promote { node },
            "demote" => MemberChange::Demote { node },
            "move" => MemberChange::Move { node, address: address()? },
            "prefer" => MemberChange::Prefer { node, is_preferred: choice.is_truthy()? },
            "drain" => MemberChange::Drain { node, is_drained: choice.is_truthy()? },
            other => return Err(PyTypeError::new_err(format!("there is no change of members '{other}'"))),
        }))
    }
}

/// The fields of `almadia.membership.MemberTable`.
pub fn table<'py>(py: Python<'py>, table: MemberTable) -> PyResult<Bound<'py, PyTuple>> {
    let members = PyTuple::new(py, table.members.iter().map(fields).collect::<Vec<_>>())?;
    let unsettled = PyTuple::new(py, table.unsettled)?;
    (table.version, members, unsettled).into_pyobject(py)
}

/// The fields of `almadia.membership.Member`.
type Fields<'a> = (u64, &'a str, &'static str, bool, bool, u64, u64, bool, u64, u64, Option<f64>, &'a str);

fn fields(member: &MemberStatus) -> Fields<'_> {
    let role = match member.role {
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
    };
    (
        member.node.get(),
        member.address.as_str(),
        role,
        member.is_preferred,
        member.is_drained,
        member.settled_regions,
        member.seen_regions,
        member.is_live,
        member.lag_entries,
        member.led_regions,
        member.last_heard.map(|ago| ago.as_secs_f64()),
        member.version.as_str(),
    )
}

fn number(given: &Bound<'_, PyAny>, name: &str) -> PyResult<NodeId> {
    unsigned(given.as_borrowed(), name, "a whole number").map(NodeId)
}

fn role(given: &Bound<'_, PyAny>) -> PyResult<MemberRole> {
    let expected = "role is 'voter' or 'learner'";
    match text(given, expected)?.as_str() {
        "voter" => Ok(MemberRole::Voter),
        "learner" => Ok(MemberRole::Learner),
        other => Err(PyValueError::new_err(format!("{expected}, not '{other}'"))),
    }
}

/// A `str`; `expected` says what it is, for the exception.
fn text(given: &Bound<'_, PyAny>, expected: &str) -> PyResult<String> {
    let Ok(text) = given.cast::<PyString>() else { return Err(wrong_type(given.as_borrowed(), expected)) };
    Ok(text.to_cow()?.into_owned())
}
