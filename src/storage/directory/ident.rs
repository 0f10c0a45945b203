//! The owner of a directory.
//!
//! Owns the ident file: cluster, node and instance, and what stands in `log/` and `data/`. What always holds:
//! the instance id is drawn once and never changes; the error of a mismatch names both sides and what to do; no build takes
//! a directory that is being converted for one that it can use: those of the format before refuse the file's format, and
//! those that do not convert refuse the content.
//!
//! ```text
//! content u8: 0 nothing yet, 1 a member's data, 2 the same while they are converted | cluster u64 | node u64 | instance u64 | cluster name, to the end        (little-endian)
//! ```

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::record::{Format, Record};
use super::{IDENT, Identity, NO_CLUSTER, record};
use crate::error::{Code, Error, Result};
use crate::storage::open_directory::OpenDirectory;
use crate::types::{ClusterId, InstanceId, NodeId};

const MAGIC: [u8; 8] = *b"almident";

const NOTHING: u8 = 0;
const COMPLETE: u8 = 1;
const CONVERTING: u8 = 2;

/// The content of an ident file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ident {
    pub identity: Identity,
    pub instance: InstanceId,
    pub content: Content,
}

/// What `log/` and `data/` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing of value: the first start has not completed.
    Nothing,
    /// A member's data in the format of this library.
    Current,
    /// A member's data as the format before had them: values without versions. Builds of that format can open it.
    Unversioned,
    /// A member's data, of which some values have a version and others not.
    Converting,
}

impl Ident {
    /// Draws an instance id and writes the ident file of a first start into `directory`.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`.
    pub(crate) fn create(directory: &OpenDirectory, identity: &Identity) -> Result<Self> {
        let ident =
            Self { identity: identity.clone(), instance: random_instance()?, content: Content::Nothing };
        ident.write(directory)?;
        Ok(ident)
    }

    /// Reads the ident file of `directory`; none when there is no such file.
    ///
    /// # Errors
    /// `INCOMPATIBLE_FORMAT` or `CORRUPTION`, `IO` or `PERMISSION`.
    pub(crate) fn read(directory: &OpenDirectory) -> Result<Option<Self>> {
        let Some(record) = record::read(directory, IDENT, MAGIC)? else { return Ok(None) };
        let senseless = || {
            let path = directory.path().join(IDENT);
            Error::corruption(&path, record::HEADER_BYTES as u64, "the content makes no sense")
        };
        Self::decode(&record).map(Some).ok_or_else(senseless)
    }

    /// Replaces the ident file of `directory`. It has the format of this library from then on.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`.
    pub(crate) fn write(&self, directory: &OpenDirectory) -> Result<()> {
        let content = match self.content {
            Content::Nothing => NOTHING,
            Content::Current => COMPLETE,
            Content::Converting => CONVERTING,
            Content::Unversioned => panic!("no directory goes back to an earlier format"),
        };
        let mut body = vec![content];
        for number in [self.identity.cluster.get(), self.identity.node.get(), self.instance.get()] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(self.identity.cluster_name.as_bytes());
        record::write(directory, IDENT, MAGIC, Format::Current, &body)
    }

    /// Refuses anyone but the owner of `directory`.
    ///
    /// # Errors
    /// `WRONG_CLUSTER`.
    pub(crate) fn check(&self, directory: &Path, expected: &Identity) -> Result<()> {
        let (found, directory) = (&self.identity, directory.display());
        // A member that has joined, or is about to, is told its cluster by others.
        let joins = expected.cluster == NO_CLUSTER && found.cluster_name == expected.cluster_name;
        let is_new = self.content == Content::Nothing && found.cluster == NO_CLUSTER;
        let detail = if found.cluster != expected.cluster && !joins && !is_new {
            format!(
                "{directory} belongs to cluster '{}' (id {:016x}), the configuration says '{}' (id {:016x}); \
                 the id covers the name, the initial members and the split keys: correct the configuration, or \
                 choose another directory; a member that has joined its cluster needs cluster.join",
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

    fn decode(record: &Record) -> Option<Self> {
        let (&content, mut body) = record.body.split_first()?;
        let content = match (content, record.format) {
            (NOTHING, _) => Content::Nothing,
            (COMPLETE, Format::Current) => Content::Current,
            (COMPLETE, Format::Unversioned) => Content::Unversioned,
            (CONVERTING, Format::Current) => Content::Converting,
            _ => return None,
        };
        let mut take = || {
            let (head, rest) = body.split_first_chunk::<8>()?;
            body = rest;
            Some(u64::from_le_bytes(*head))
        };
        let (cluster, node, instance) = (ClusterId(take()?), NodeId(take()?), InstanceId(take()?));
        let cluster_name = String::from_utf8(body.to_vec()).ok()?;
        let identity = Identity { cluster, cluster_name, node };
        Some(Self { identity, instance, content })
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
