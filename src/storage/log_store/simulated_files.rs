//! A disk in memory that remembers what was synced, loses power and fails on demand.
//!
//! Owns the model of everything a disk may do within its guarantees. What always holds: synced bytes and synced names
//! survive; bytes that were written but not synced survive a power loss sector by sector, independently, in any of the
//! versions a sector had; unsynced creations, renames and removals each take effect or not. A failed sync leaves bytes
//! that can be read but will never reach the disk, as on Linux. The same seed gives the same outcome.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::files::{Files, LogFile};

/// The unit that a disk writes atomically.
const SECTOR_BYTES: usize = 512;

/// A fault, and when it happens. Steps are the calls that change something, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The process crashes in this step: a write is partly done, anything else has not begun. Every later call fails.
    DieAt(u64),
    /// This step fails with `EIO`: half of a write is done, a sync loses what it should have made durable.
    FailAt(u64),
}

/// Which unsynced changes survive a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survival {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Each independently, drawn from this seed.
    Some(u64),
}

/// The disk. Clones of the `Arc` share it.
pub(crate) struct SimulatedFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Default)]
struct Disk {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    nodes: Vec<Node>,
    fault: Fault,
    steps: u64,
    is_dead: bool,
    salts: u64,
}

#[derive(Clone)]
enum NameChange {
    Add(String, usize),
    Move(String, String, usize),
    Drop(String),
}

#[derive(Clone, Default)]
struct Node {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync, oldest first: the sector's number and its bytes after the write.
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// Whether a step happens.
enum Step {
    Works,
    Dies,
    Fails,
}

impl SimulatedFiles {
    /// An empty disk without faults.
    #[must_use]
    pub(crate) fn new() -> Arc<Self> {
        Self::of(Disk::default())
    }

    fn of(disk: Disk) -> Arc<Self> {
        Arc::new(Self { disk: Arc::new(Mutex::new(disk)) })
    }

    /// Sets the fault, and counts steps from 0 again.
    pub(crate) fn set_fault(&self, fault: Fault) {
        let mut disk = self.lock();
        (disk.fault, disk.steps) = (fault, 0);
    }

    /// Steps taken since the fault was set.
    #[must_use]
    pub(crate) fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// How many files were ever created.
    #[must_use]
    pub(crate) fn files_created(&self) -> usize {
        self.lock().nodes.len()
    }

    /// The same disk for the next process: everything written is there, synced or not.
    #[must_use]
    pub(crate) fn after_restart(&self) -> Arc<Self> {
        let mut disk = self.lock().clone();
        (disk.fault, disk.steps, disk.is_dead) = (Fault::None, 0, false);
        Self::of(disk)
    }

    /// The disk after a power loss.
    #[must_use]
    pub(crate) fn after_power_loss(&self, survival: Survival) -> Arc<Self> {
        let disk = self.lock();
        let mut draw = Draw::new(survival);
        let names = disk.surviving_names(&mut draw);
        let nodes = disk.nodes.iter().map(|node| node.surviving(&mut draw)).collect();
        let salts = disk.salts;
        Self::of(Disk { durable_names: names.clone(), names, nodes, salts, ..Disk::default() })
    }

    /// Flips one bit of a file, on the disk.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub(crate) fn flip(&self, name: &str, offset: usize, bit: u8) {
        let mut disk = self.lock();
        let node = disk.names[name];
        disk.nodes[node].bytes[offset] ^= 1 << bit;
        disk.nodes[node].durable[offset] ^= 1 << bit;
    }

    /// The content of a file.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let disk = self.lock();
        disk.nodes[disk.names[name]].bytes.clone()
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.lock();
        let node = disk.nodes.len();
        disk.nodes.push(Node { durable: bytes.clone(), bytes, unsynced: Vec::new() });
        disk.names.insert(name.to_owned(), node);
        disk.durable_names.insert(name.to_owned(), node);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("nothing panics while it is held")
    }
}

impl Disk {
    fn step(&mut self) -> io::Result<Step> {
        self.refuse_if_dead()?;
        let now = self.steps;
        self.steps += 1;
        match self.fault {
            Fault::DieAt(at) if at == now => {
                self.is_dead = true;
                Ok(Step::Dies)
            }
            Fault::FailAt(at) if at == now => Ok(Step::Fails),
            _ => Ok(Step::Works),
        }
    }

    /// An atomic step.
    fn simple_step(&mut self) -> io::Result<()> {
        match self.step()? {
            Step::Works => Ok(()),
            Step::Dies | Step::Fails => Err(eio()),
        }
    }

    fn refuse_if_dead(&self) -> io::Result<()> {
        if self.is_dead { Err(eio()) } else { Ok(()) }
    }

    fn node(&self, name: &str) -> io::Result<usize> {
        self.refuse_if_dead()?;
        self.names.get(name).copied().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    fn surviving_names(&self, draw: &mut Draw) -> BTreeMap<String, usize> {
        let mut names = self.durable_names.clone();
        for change in &self.unsynced_names {
            if draw.one_of(2) == 1 {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Move(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
            Self::Drop(name) => {
                names.remove(name);
            }
        }
    }
}

impl Node {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let start = sector * SECTOR_BYTES;
            let end = self.bytes.len().min(start + SECTOR_BYTES);
            self.unsynced.push((sector, self.bytes[start..end].to_vec()));
        }
    }

    fn sync(&mut self) {
        for (sector, bytes) in std::mem::take(&mut self.unsynced) {
            put_sector(&mut self.durable, sector, &bytes);
        }
        self.durable.resize(self.bytes.len(), 0);
    }

    /// Versions of a sector reach the disk in order, but the last ones may be missing.
    fn surviving(&self, draw: &mut Draw) -> Self {
        let mut versions = BTreeMap::<usize, Vec<&[u8]>>::new();
        for (sector, bytes) in &self.unsynced {
            versions.entry(*sector).or_default().push(bytes);
        }
        let mut durable = self.durable.clone();
        if draw.one_of(2) == 1 {
            durable.resize(durable.len().max(self.bytes.len()), 0);
        }
        for (sector, versions) in versions {
            let survived = draw.one_of(versions.len() + 1);
            if survived > 0 {
                put_sector(&mut durable, sector, versions[survived - 1]);
            }
        }
        Self { bytes: durable.clone(), durable, unsynced: Vec::new() }
    }
}

fn put_sector(file: &mut Vec<u8>, sector: usize, bytes: &[u8]) {
    let start = sector * SECTOR_BYTES;
    let end = start + bytes.len();
    if end > file.len() {
        file.resize(end, 0);
    }
    file[start..end].copy_from_slice(bytes);
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

/// Draws from equally likely outcomes, of which the last is the most benign.
struct Draw {
    survival: Survival,
    state: u64,
}

impl Draw {
    fn new(survival: Survival) -> Self {
        let state = if let Survival::Some(seed) = survival { seed } else { 0 };
        Self { survival, state }
    }

    fn one_of(&mut self, count: usize) -> usize {
        match self.survival {
            Survival::Nothing => 0,
            Survival::Everything => count - 1,
            Survival::Some(_) => {
                let drawn = scramble(&mut self.state) % count as u64;
                usize::try_from(drawn).expect("less than count")
            }
        }
    }
}

/// The next number of a sequence that looks random (the finalizer of MurmurHash3 over a counter).
pub(super) fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

impl Files for SimulatedFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.lock();
        disk.refuse_if_dead()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let node = self.lock().node(name)?;
        Ok(Box::new(SimulatedFile { disk: Arc::clone(&self.disk), node }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut disk = self.lock();
        disk.simple_step()?;
        if disk.names.contains_key(name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let node = disk.nodes.len();
        disk.nodes.push(Node::default());
        disk.names.insert(name.to_owned(), node);
        disk.unsynced_names.push(NameChange::Add(name.to_owned(), node));
        Ok(Box::new(SimulatedFile { disk: Arc::clone(&self.disk), node }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        let node = disk.node(from)?;
        disk.simple_step()?;
        let change = NameChange::Move(from.to_owned(), to.to_owned(), node);
        change.apply(&mut disk.names);
        disk.unsynced_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.node(name)?;
        disk.simple_step()?;
        disk.names.remove(name);
        disk.unsynced_names.push(NameChange::Drop(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.simple_step()?;
        disk.durable_names = disk.names.clone();
        disk.unsynced_names.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }

    fn salt(&self) -> u64 {
        scramble(&mut self.lock().salts)
    }
}

struct SimulatedFile {
    disk: Arc<Mutex<Disk>>,
    node: usize,
}

impl SimulatedFile {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("nothing panics while it is held")
    }
}

impl LogFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        let disk = self.lock();
        disk.refuse_if_dead()?;
        Ok(disk.nodes[self.node].bytes.len() as u64)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.simple_step()?;
        let length = usize::try_from(bytes).expect("a simulated file fits in memory");
        disk.nodes[self.node].bytes.resize(length, 0);
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.lock();
        disk.refuse_if_dead()?;
        let start = usize::try_from(offset).expect("a simulated file fits in memory");
        let bytes = disk.nodes[self.node].bytes.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.lock();
        let step = disk.step()?;
        let offset = usize::try_from(offset).expect("a simulated file fits in memory");
        let node = &mut disk.nodes[self.node];
        match step {
            Step::Works => {
                node.write(bytes, offset);
                return Ok(());
            }
            Step::Dies => node.write(bytes, offset),
            Step::Fails => node.write(&bytes[..bytes.len() / 2], offset),
        }
        Err(eio())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.lock();
        match disk.step()? {
            Step::Works => {
                disk.nodes[self.node].sync();
                return Ok(());
            }
            Step::Dies => {}
            Step::Fails => disk.nodes[self.node].unsynced.clear(),
        }
        Err(eio())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_after(files: &SimulatedFiles, survival: Survival) -> Vec<u8> {
        files.after_power_loss(survival).content("a")
    }

    fn synced_file(bytes: usize) -> (Arc<SimulatedFiles>, Box<dyn LogFile>) {
        let files = SimulatedFiles::new();
        let file = files.create("a").unwrap();
        file.allocate(bytes as u64).unwrap();
        file.sync().unwrap();
        files.sync_dir().unwrap();
        (files, file)
    }

    #[test]
    fn a_power_loss_loses_what_was_not_synced() {
        let (files, file) = synced_file(1024);
        file.write_all_at(&[1; 1024], 0).unwrap();
        file.sync().unwrap();
        file.write_all_at(&[2; 1024], 0).unwrap();

        assert_eq!(content_after(&files, Survival::Nothing), [1; 1024]);
        assert_eq!(content_after(&files, Survival::Everything), [2; 1024]);
        assert_eq!(files.after_restart().content("a"), [2; 1024]);
    }

    #[test]
    fn a_torn_write_is_torn_at_sectors_and_out_of_order() {
        let (files, file) = synced_file(1024);
        file.write_all_at(&[2; 1024], 0).unwrap();

        let outcomes: std::collections::BTreeSet<_> = (0..64)
            .map(|seed| content_after(&files, Survival::Some(seed)))
            .map(|bytes| (bytes[0], bytes[511], bytes[512], bytes[1023]))
            .collect();

        assert_eq!(
            outcomes.into_iter().collect::<Vec<_>>(),
            [(0, 0, 0, 0), (0, 0, 2, 2), (2, 2, 0, 0), (2, 2, 2, 2)]
        );
    }

    #[test]
    fn an_unsynced_name_may_be_lost_and_an_old_one_reappear() {
        let (files, _) = synced_file(1);
        files.rename("a", "b").unwrap();

        assert_eq!(files.after_power_loss(Survival::Nothing).list().unwrap(), ["a"]);
        assert_eq!(files.after_power_loss(Survival::Everything).list().unwrap(), ["b"]);
        files.sync_dir().unwrap();
        assert_eq!(files.after_power_loss(Survival::Nothing).list().unwrap(), ["b"]);
    }

    #[test]
    fn what_a_failed_sync_lost_can_be_read_but_never_becomes_durable() {
        let (files, file) = synced_file(4);
        file.write_all_at(&[2; 4], 0).unwrap();
        files.set_fault(Fault::FailAt(0));

        assert!(file.sync().is_err());
        file.sync().unwrap();

        assert_eq!(files.content("a"), [2; 4]);
        assert_eq!(content_after(&files, Survival::Everything), [0; 4]);
    }

    #[test]
    fn after_a_crash_nothing_works_until_the_restart() {
        let (files, file) = synced_file(4);
        files.set_fault(Fault::DieAt(0));

        assert!(file.write_all_at(&[2; 4], 0).is_err());
        assert!(file.sync().is_err());
        assert!(files.list().is_err());

        assert_eq!(files.after_restart().list().unwrap(), ["a"]);
        assert_eq!(content_after(&files, Survival::Everything), [2; 4]);
    }
}
