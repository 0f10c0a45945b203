//! `almadia_members`: the members of a cluster, as one of them sees them.
//!
//! Owns the handle, the C layout of a member and the numbers of the roles. What always holds: a list is a copy of its own
//! that does not change, whatever happens to the store it came from; it also works in a child process. How members are
//! changed is left to `members_change`.

use std::ffi::{CString, c_char};
use std::time::Duration;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::to_c_text;
use super::extensible::{self, Extensible};
use super::handle::{Boxed, HandleSlot, in_process, shared, taken};
use super::store::almadia_store;
use crate::core::member_list::MemberRole;
use crate::error::Code;
use crate::pollers::members::MemberStatus;
use crate::store::members::MemberTable;

/// What a member of a cluster is to do: ALMADIA_MEMBER_VOTER or ALMADIA_MEMBER_LEARNER. Later versions may add some.
pub type almadia_member_role = i32;

/// It votes: its copy counts towards the majority that a write needs, and it may lead.
pub const ALMADIA_MEMBER_VOTER: almadia_member_role = 0;
/// It has all data and serves its program, and counts towards no majority.
pub const ALMADIA_MEMBER_LEARNER: almadia_member_role = 1;

/// The members of a cluster, as one of them saw them at one moment. It does not change, and may outlive its store. Any
/// number of threads may use it at once.
pub struct almadia_members {
    version: u64,
    members: Vec<Listed>,
    unsettled: CString,
}

impl Boxed for almadia_members {}

/// A member with its texts.
struct Listed {
    status: MemberStatus,
    address: CString,
    version: CString,
}

impl From<MemberTable> for almadia_members {
    fn from(MemberTable { version, members, unsettled }: MemberTable) -> Self {
        let with_texts = |status: MemberStatus| {
            let (address, version) = (to_c_text(&status.address), to_c_text(&status.version));
            Listed { status, address, version }
        };
        let members = members.into_iter().map(with_texts).collect();
        Self { version, members, unsettled: to_c_text(&unsettled.join("\n")) }
    }
}

/// A member of a cluster, as almadia_members_at reports it. Begin with ALMADIA_MEMBER_INIT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_member {
    /// sizeof(almadia_member).
    pub struct_size: usize,
    /// Its number: from 1, never UINT64_MAX.
    pub node_id: u64,
    /// Where its peers reach it, as "host:port", NUL-terminated; "" if that is not known. It belongs to the
    /// almadia_members and is valid as long as that.
    pub address: *const c_char,
    /// What it is to do.
    pub role: almadia_member_role,
    /// 1 when it is to lead rather than others; otherwise 0.
    pub is_preferred: i32,
    /// In how many regions, of almadia_store_region_count(), it does what it is to do, as far as the asked member has
    /// applied.
    pub settled_regions: u64,
    /// How many regions the asked member leads, and of which it so knows how far this member has come: is_live and
    /// lag_entries are about these. 0 says that the asked member knows nothing of the kind: ask those that lead.
    pub seen_regions: u64,
    /// Entries of the logs of these regions that it lacks, of all together.
    pub lag_entries: u64,
    /// How many regions it leads, as far as the asked member knows.
    pub led_regions: u64,
    /// 1 when it was heard of lately in each of these regions, of which there is one at least, and for the asked member
    /// itself; otherwise 0.
    pub is_live: i32,
    /// 1 when it is not to lead as long as others can; otherwise 0.
    pub is_drained: i32,
    /// For how many milliseconds the asked member has heard nothing of it, on any connection; 0 of itself, and
    /// UINT64_MAX if it never has since it was opened, or is shut down. A leader and those that follow it hear each other
    /// all the time; members of which neither leads may have nothing to say to each other for long.
    pub last_heard_ms: u64,
    /// The version of the library that it runs, as almadia_version_string() gives it there, as it said when it connected last,
    /// NUL-terminated; "" if it has not since the asked member was opened, if that is shut down, and if it runs a release
    /// that does not say. It belongs to the almadia_members and is valid as long as that.
    pub version: *const c_char,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and pointers, which may be NULL.
unsafe impl Extensible for almadia_member {
    const NAME: &'static str = "member";
    const FIRST_SIZE: usize = size_of::<Self>();
}

impl almadia_member {
    fn lend(Listed { status, address, version }: &Listed) -> Self {
        let heard_ms = |ago: Duration| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX - 1);
        Self {
            struct_size: size_of::<Self>(),
            node_id: status.node.get(),
            address: address.as_ptr(),
            role: match status.role {
                MemberRole::Voter => ALMADIA_MEMBER_VOTER,
                MemberRole::Learner => ALMADIA_MEMBER_LEARNER,
            },
            is_preferred: status.is_preferred.into(),
            settled_regions: status.settled_regions,
            seen_regions: status.seen_regions,
            lag_entries: status.lag_entries,
            led_regions: status.led_regions,
            is_live: status.is_live.into(),
            is_drained: status.is_drained.into(),
            last_heard_ms: status.last_heard.map_or(u64::MAX, heard_ms),
            version: version.as_ptr(),
        }
    }
}

/// The members of the cluster as this one knows them now; other members may know of a change earlier or later. It also works
/// on a store that is poisoned, removed or shut down.
///
/// `members` receives the handle; free it with almadia_members_free. Blocks: no. Threads: any number at once; callbacks
/// too. Codes: ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `members` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_members_list(
    store: *mut almadia_store,
    members: *mut *mut almadia_members,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `members` is NULL or writable.
        let slot = unsafe { HandleSlot::new(members, "members") }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        slot.put(store.store.members().into());
        Ok(ALMADIA_OK)
    })
}

/// Counts the changes of the members of the cluster, those of members that joined included; 0 as long as there was none,
/// and for NULL. Lists with the same version that is not 0, also of different members, have the same members with the same
/// addresses and roles.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `members` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_members_version(members: *const almadia_members) -> u64 {
    // SAFETY: `members` is NULL or live.
    boundary::value(0, || unsafe { members.as_ref() }.map_or(0, |members| members.version))
}

/// The number of members. 0 for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `members` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_members_count(members: *const almadia_members) -> usize {
    // SAFETY: `members` is NULL or live.
    boundary::value(0, || unsafe { members.as_ref() }.map_or(0, |members| members.members.len()))
}

/// Reports the member at `index`, from 0 to almadia_members_count() - 1, in the order of their numbers. Begin `member` with
/// ALMADIA_MEMBER_INIT.
///
/// Blocks: no. Threads: any number at once. Codes: ALMADIA_END (there are fewer), ALMADIA_INVALID_ARGUMENT (struct_size).
///
/// # Safety
/// `members` is NULL or live; `member` is NULL or points to `struct_size` writable bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_members_at(
    members: *const almadia_members,
    index: usize,
    member: *mut almadia_member,
) -> almadia_code {
    boundary::call(ErrorSlot::NONE, || {
        // SAFETY: `members` is NULL or live.
        let members = unsafe { shared(members, "members") }?;
        let Some(listed) = members.members.get(index) else { return Ok(Code::End.number()) };
        // SAFETY: `member` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(member, &almadia_member::lend(listed)) }?;
        Ok(ALMADIA_OK)
    })
}

/// What the regions wait for that had not followed the last change yet, as far as the asked member knew: sentences in
/// English for an operator, one a line, NUL-terminated. "" when all had followed, and for NULL. It belongs to the
/// almadia_members and is valid as long as that.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `members` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_members_unsettled(members: *const almadia_members) -> *const c_char {
    boundary::value(c"".as_ptr(), || {
        // SAFETY: `members` is NULL or live.
        unsafe { members.as_ref() }.map_or(c"".as_ptr(), |members| members.unsettled.as_ptr())
    })
}

/// Frees a list, with the texts that it lent. NULL is fine.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `members` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_members_free(members: *mut almadia_members) {
    // SAFETY: `members` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken(members) }));
}
