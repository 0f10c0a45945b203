//! The instance of each peer that this member has met.
//!
//! Owns the `peers` file. What always holds: a node's instance id never changes once it is remembered, and it is
//! remembered durably before it is used. A node that returns as another instance has lost what it promised to
//! keep: its votes and the entries it acknowledged.
//!
//! ```text
//! ( node u64 | instance u64 ) ...        (little-endian, ascending)
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::record::Format;
use super::{LockGuard, PEERS, record};
use crate::error::{Error, Result};
use crate::types::{InstanceId, NodeId};

const MAGIC: [u8; 8] = *b"almpeers";
const PEER_BYTES: usize = 16;

/// Node ids with their instance ids, in memory and on disk.
#[derive(Debug)]
pub(super) struct Peers {
    lock: Arc<LockGuard>,
    known: Mutex<BTreeMap<NodeId, InstanceId>>,
}

impl Peers {
    /// Reads the file in the directory that `lock` keeps; there may be none yet.
    ///
    /// # Errors
    /// `INCOMPATIBLE_FORMAT` or `CORRUPTION`, `IO` or `PERMISSION`.
    pub(crate) fn open(lock: Arc<LockGuard>) -> Result<Self> {
        let body = record::read(lock.directory(), PEERS, MAGIC)?.map_or_else(Vec::new, |record| record.body);
        let (peers, rest) = body.as_chunks::<PEER_BYTES>();
        if !rest.is_empty() {
            let path = lock.directory().path().join(PEERS);
            return Err(Error::corruption(&path, record::HEADER_BYTES as u64, "the content makes no sense"));
        }
        let known = peers.iter().map(decode).collect();
        Ok(Self { lock, known: Mutex::new(known) })
    }

    /// See [`Directory::admit`](super::Directory::admit).
    pub(crate) fn admit(&self, node: NodeId, instance: InstanceId) -> std::result::Result<(), String> {
        // No foreign code runs under this lock, and the map changes only as the last step.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&node) {
            Some(remembered) if *remembered == instance => Ok(()),
            Some(remembered) => Err(format!(
                "node {node} was instance {:016x} and is now {:016x}: the member seems to have lost its disk, \
                 and with it entries it acknowledged; remove node {node} from the cluster and add the machine \
                 under a new node id with an empty directory",
                remembered.get(),
                instance.get()
            )),
            None => {
                let mut more = known.clone();
                more.insert(node, instance);
                self.save(&more).map_err(|error| format!("cannot remember node {node}: {error}"))?;
                *known = more;
                Ok(())
            }
        }
    }

    fn save(&self, peers: &BTreeMap<NodeId, InstanceId>) -> Result<()> {
        let numbers = peers.iter().flat_map(|(node, instance)| [node.get(), instance.get()]);
        let body: Vec<_> = numbers.flat_map(u64::to_le_bytes).collect();
        record::write(self.lock.directory(), PEERS, MAGIC, Format::Current, &body)
    }
}

fn decode(peer: &[u8; PEER_BYTES]) -> (NodeId, InstanceId) {
    let number = |at| u64::from_le_bytes(*peer[at..].first_chunk().expect("sixteen bytes hold two numbers"));
    (NodeId(number(0)), InstanceId(number(8)))
}
