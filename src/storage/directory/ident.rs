//! The owner of a directory.
//!
//! Owns the ident file: cluster, node and instance, and whether the first start completed. What always holds:
//! the instance id is drawn once and never changes; the error of a mismatch names both sides and what to do.
//!
//! ```text
//! complete u8 | cluster u64 | node u64 | instance u64 | cluster name, to the end        (little-endian)
//! ```

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::{IDENT, Identity, record};
use crate::error::{Code, Error, Result};
use crate::storage::open_directory::OpenDirectory;
use crate::types::{ClusterId, InstanceId, NodeId};

const MAGIC: [u8; 8] = *b"almident";

/// The content of an ident file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ident {
    pub identity: Identity,
    pub instance: InstanceId,
    /// Whether the first start completed, so that the contents of `log/` and `data/` must be kept.
    pub complete: bool,
}

impl Ident {
    /// Draws an instance id and writes the ident file of a first start into `directory`.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`.
    pub(crate) fn create(directory: &OpenDirectory, identity: &Identity) -> Result<Self> {
        let ident = Self { identity: identity.clone(), instance: random_instance()?, complete: false };
        ident.write(directory)?;
        Ok(ident)
    }

    /// Reads the ident file of `directory`; none when there is no such file.
    ///
    /// # Errors
    /// `INCOMPATIBLE_FORMAT` or `CORRUPTION`, `IO` or `PERMISSION`.
    pub(crate) fn read(directory: &OpenDirectory) -> Result<Option<Self>> {
        let Some(body) = record::read(directory, IDENT, MAGIC)? else { return Ok(None) };
        let senseless = || {
            let path = directory.path().join(IDENT);
            Error::corruption(&path, record::HEADER_BYTES as u64, "the content makes no sense")
        };
        Self::decode(&body).map(Some).ok_or_else(senseless)
    }

    /// Replaces the ident file of `directory`.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`.
    pub(crate) fn write(&self, directory: &OpenDirectory) -> Result<()> {
        let mut body = vec![u8::from(self.complete)];
        for number in [self.identity.cluster.get(), self.identity.node.get(), self.instance.get()] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(self.identity.cluster_name.as_bytes());
        record::write(directory, IDENT, MAGIC, &body)
    }

    /// Refuses anyone but the owner of `directory`.
    ///
    /// # Errors
    /// `WRONG_CLUSTER`.
    pub(crate) fn check(&self, directory: &Path, expected: &Identity) -> Result<()> {
        let (found, directory) = (&self.identity, directory.display());
        let detail = if found.cluster != expected.cluster {
            format!(
                "{directory} belongs to cluster '{}' (id {:016x}), the configuration says '{}' (id {:016x}); \
                 the id covers the name, the initial members and the split keys: correct the configuration, or \
                 choose another directory",
                found.cluster_name,
                found.cluster.get(),
                expected.cluster_name,
                expected.cluster.get()
            )
        } else if found.node != expected.node {
            format!(
                "{directory} belongs to node {}, the configuration says node {}; correct the node id, or choose \
                 the directory of node {}",
                found.node, expected.node, expected.node
            )
        } else {
            return Ok(());
        };
        Err(Error::with_detail(Code::WrongCluster, detail))
    }

    fn decode(mut body: &[u8]) -> Option<Self> {
        let (&complete, rest) = body.split_first()?;
        body = rest;
        let mut take = || {
            let (head, rest) = body.split_first_chunk::<8>()?;
            body = rest;
            Some(u64::from_le_bytes(*head))
        };
        let (cluster, node, instance) = (ClusterId(take()?), NodeId(take()?), InstanceId(take()?));
        let cluster_name = String::from_utf8(body.to_vec()).ok()?;
        let identity = Identity { cluster, cluster_name, node };
        (complete <= 1).then_some(Self { identity, instance, complete: complete == 1 })
    }
}

fn random_instance() -> Result<InstanceId> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 8];
    File::open(SOURCE)
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| Error::io("read", Path::new(SOURCE), &error))?;
    Ok(InstanceId(u64::from_le_bytes(bytes)))
}
