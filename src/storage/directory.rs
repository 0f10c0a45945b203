//! A member's directory: whose it is and who has it open.
//!
//! Owns the directory itself, its lock, the ident file that names its owner, and the instance ids of the
//! member's peers. What always holds: at most one store has it open; its path is absolute, so that nothing depends on
//! later changes of the program's working directory; a directory is used only by the cluster and node that created it;
//! nothing is created in a directory that holds someone else's files; a first start that did not complete starts over,
//! and one that did is never wiped. The contents of `log/` and `data/` are left to the log store and the engine.
//!
//! ```text
//! LOCK    pid of the holder, as text; locked with flock, as is the directory itself
//! ident   cluster, node, instance, and whether the first start completed
//! peers   node id -> instance id, of every peer ever met
//! run     how many times the member was started
//! log/    the raft log
//! data/   the engine
//! ```

mod ident;
mod lock;
mod peers;
pub(super) mod record;
mod boot_count;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use self::boot_count::BOOT_COUNT;
pub(crate) use self::ident::Content;
use self::ident::Ident;
use self::lock::DirectoryLock;
pub(crate) use self::lock::LockGuard;
use self::peers::Peers;
use self::record::Format;
use crate::error::{Code, Error, Result};
use crate::storage::open_directory::OpenDirectory;
use crate::types::{ClusterId, InstanceId, NodeId};

const LOCK: &str = "LOCK";
const IDENT: &str = "ident";
const PEERS: &str = "peers";
const LOG: &str = "log";
const DATA: &str = "data";

/// The owner that a directory must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The cluster; [`NO_CLUSTER`] for a member that joins one, which its directory names once it has.
    pub cluster: ClusterId,
    /// The cluster's name, for messages.
    pub cluster_name: String,
    /// The member.
    pub node: NodeId,
}

/// The cluster of a member that is yet to be told it.
pub(crate) const NO_CLUSTER: ClusterId = ClusterId(0);

/// An open directory. Any thread may use it.
#[derive(Debug)]
pub(crate) struct Directory {
    identity: Identity,
    instance: InstanceId,
    content: Content,
    boot_count: u64,
    peers: Peers,
    lock: Arc<LockGuard>,
}

impl Directory {
    /// Opens the directory at `path` for `identity`, creating it if there is none; its parent must exist.
    /// Nothing in it is changed before its lock is held. What is to be done next depends on [`Directory::content`].
    ///
    /// # Errors
    /// `LOCKED` when a store has it open, `WRONG_CLUSTER` when it belongs to another cluster or node,
    /// `INVALID_ARGUMENT` when it is empty, not a directory or holds other files, `PERMISSION` when others may write to
    /// it, `INCOMPATIBLE_FORMAT` when a newer or a very old version wrote it, `CORRUPTION` when its files are damaged, `IO`
    /// or `NO_SPACE` from the disk.
    pub(crate) fn open(path: &Path, identity: &Identity) -> Result<Self> {
        let path = &absolute(path)?;
        ensure_directory(path)?;
        let lock = DirectoryLock::acquire(path)?;
        let ident = Ident::read(lock.directory())?;
        match &ident {
            Some(ident) => ident.check(path, identity)?,
            None => refuse_foreign_files(path)?,
        }
        let lock = Arc::new(LockGuard::acquire(lock)?);
        let ident = match ident {
            Some(ident) => ident,
            None => Ident::create(lock.directory(), identity)?,
        };
        let Ident { identity: found, instance, content } = ident;
        // What an unfinished first start said of its cluster counts as little as what else it left.
        let identity = if content == Content::Nothing { identity.clone() } else { found };
        match content {
            Content::Nothing => prepare_first_start(lock.directory())?,
            Content::Current | Content::Unversioned | Content::Converting => check_parts(path)?,
        }
        let peers = Peers::open(Arc::clone(&lock))?;
        // Until the conversion begins, the build that wrote the directory can open it.
        let format = if content == Content::Unversioned { Format::Unversioned } else { Format::Current };
        let boot_count = boot_count::begin(lock.directory(), format)?;
        Ok(Self { identity, instance, content, boot_count, peers, lock })
    }

    /// The cluster that it belongs to.
    #[must_use]
    pub(crate) fn cluster(&self) -> ClusterId {
        self.identity.cluster
    }

    /// This member has been let into `cluster`. The directory says so with [`Directory::finish`].
    ///
    /// # Panics
    /// When this is no first start.
    pub(crate) fn join(&mut self, cluster: ClusterId) {
        assert_eq!(self.content, Content::Nothing, "a member joins with an empty directory");
        self.identity.cluster = cluster;
    }

    /// What was in `log/` and `data/` when the directory was opened. With [`Content::Nothing`] this is a first start: both
    /// are empty, and the start must end with [`Directory::finish`]. [`Content::Unversioned`] and [`Content::Converting`]
    /// are to be converted before anything is read.
    #[must_use]
    pub(crate) fn content(&self) -> Content {
        self.content
    }

    /// From here on only builds that convert can open the directory, and will convert it.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`; whether anything has changed is then unknown.
    pub(crate) fn begin_conversion(&self) -> Result<()> {
        self.write_ident(Content::Converting)
    }

    /// Marks the first start, or the conversion, as complete. The very last step: until then the next open starts over, or
    /// goes on.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`; whether it is complete is then unknown.
    pub(crate) fn finish(&self) -> Result<()> {
        self.write_ident(Content::Current)
    }

    fn write_ident(&self, content: Content) -> Result<()> {
        let ident = Ident { identity: self.identity.clone(), instance: self.instance, content };
        ident.write(self.lock.directory())
    }

    /// This member's instance id, drawn when the directory was created.
    #[must_use]
    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The number of this start among all starts of the member.
    #[must_use]
    pub(crate) fn boot_count(&self) -> u64 {
        self.boot_count
    }

    /// The directory of the raft log.
    #[must_use]
    pub(crate) fn log(&self) -> PathBuf {
        self.lock.directory().path().join(LOG)
    }

    /// The directory itself.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        self.lock.directory().path()
    }

    /// The directory of the engine.
    #[must_use]
    pub(crate) fn data(&self) -> PathBuf {
        self.lock.directory().path().join(DATA)
    }

    /// The guard that keeps the directory locked. It must live as long as any file in it is open.
    #[must_use]
    pub(crate) fn lock_guard(&self) -> Arc<LockGuard> {
        Arc::clone(&self.lock)
    }

    /// Whether `node` may take part as `instance`. The first instance of a node is remembered, durably before
    /// this returns.
    ///
    /// # Errors
    /// A message for the user: why it may not, and what to do.
    pub(crate) fn admit(&self, node: NodeId, instance: InstanceId) -> std::result::Result<(), String> {
        self.peers.admit(node, instance)
    }
}

/// The absolute path as of now, because the program may change its working directory. Symbolic links in it are not
/// resolved.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err(Error::with_detail(Code::InvalidArgument, "the path of the directory is empty"));
    }
    path::absolute(path).map_err(|error| Error::io("find the working directory, which begins", path, &error))
}

fn ensure_directory(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            let detail = format!("{} is not a directory", path.display());
            Err(Error::with_detail(Code::InvalidArgument, detail))
        }
        Ok(found) => refuse_other_writers(path, found.permissions().mode()),
        Err(error) if error.kind() == ErrorKind::NotFound => make_directory(path),
        Err(error) => Err(Error::io("inspect", path, &error)),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    record::create_directory(path)?;
    let parent = path.parent().expect("the root exists");
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(|error| Error::io("sync directory", parent, &error))
}

fn refuse_other_writers(path: &Path, mode: u32) -> Result<()> {
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let (shown, mode) = (path.display(), mode & 0o7777);
    let detail =
        format!("{shown} has mode {mode:o}: group or others may write to it; run chmod go-w {shown}");
    Err(Error::with_detail(Code::Permission, detail).at(path))
}

/// A directory without an ident file may hold only what a start leaves before it writes one.
fn refuse_foreign_files(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("list", path, &error);
    let temporary = record::temporary(IDENT);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let ours = name == LOCK || name == *temporary || name == "lost+found";
        if !ours {
            return Err(Error::with_detail(
                Code::InvalidArgument,
                format!(
                    "{} is not empty and not an Almadia directory: it has {} but no ident file; choose an \
                     empty or a new directory",
                    path.display(),
                    Path::new(&name).display()
                ),
            ));
        }
    }
    Ok(())
}

/// Creates empty `log/` and `data/`. What an incomplete first start left in them was never visible to anyone.
fn prepare_first_start(directory: &OpenDirectory) -> Result<()> {
    for part in [LOG, DATA].map(|name| directory.path().join(name)) {
        match fs::remove_dir_all(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove what an unfinished first start left in", &part, &error));
            }
            _ => record::create_directory(&part)?,
        }
    }
    record::sync_directory(directory)
}

fn check_parts(path: &Path) -> Result<()> {
    for part in [LOG, DATA].map(|name| path.join(name)) {
        if !part.is_dir() {
            return Err(Error::corruption(&part, 0, "this part of the member's directory is gone"));
        }
    }
    let boot_count = path.join(BOOT_COUNT);
    if !boot_count.is_file() {
        return Err(Error::corruption(&boot_count, 0, "this file of the member's directory is gone"));
    }
    Ok(())
}
