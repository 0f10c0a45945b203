//! Opens a store.
//!
//! Owns the order of recovery and the construction of a store's parts. What always holds: nothing is written before
//! the directory's locks are held; the threads start last. What a first start writes is left to
//! [`bootstrap`](super::bootstrap), and the order in which threads start and end to [`threads`](super::threads).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::address::Address;
use crate::completion::queue::CompletionQueue;
use crate::completion::store_events::StoreEvents;
use crate::config::{Config, Member};
use crate::core::applier::{Applier, ApplyTask};
use crate::core::appliers::Appliers;
use crate::core::apply_backlog::StoreBacklog;
use crate::core::elections::Elections;
use crate::core::forwarding::Origin;
use crate::core::limits::Limits;
use crate::core::log::LogState;
use crate::core::peer::{PROPOSE_BYTES_MAX, Peer, PeerOptions};
use crate::core::peers::Peers;
use crate::core::ports::LogReader;
use crate::core::region::Region;
use crate::core::windows::StoreWindows;
use crate::error::{Code, Error, Result};
use crate::pollers::health::Health;
use crate::pollers::inbox::Inbox;
use crate::pollers::mailbox::Mailbox;
use crate::pollers::members::{self, Acquaintances, Members, Own, Parts};
use crate::process::descriptors;
use crate::process::fork::ProcessId;
use crate::process::logging::raft_logger;
use crate::process::thread;
use crate::regions::{KeyRange, RegionMap};
use crate::storage::directory::{Content, Directory, Identity, NO_CLUSTER};
use crate::storage::engine::{Engine, EngineOptions, Floor};
use crate::storage::log_store::{LogOptions, LogStore, RecoveredLog};
use crate::storage::staging::Staging;
use crate::store::admission::Admission;
use crate::store::bootstrap::{self, cluster_id, first_regions, naming_split_keys};
use crate::store::closing::Ending;
use crate::store::leases::Leases;
use crate::store::lost_end;
use crate::store::open_files;
use crate::store::pending_installs::{self, Pending};
use crate::store::threads::Threads;
use crate::store::{Inner, Timeouts};
use crate::time::now;
use crate::transport::{self, JoinRequest, OpenSockets, Welcome, WelcomeRegion};
use crate::transport::{FRAME_BYTES_MAX, Transport, TransportOptions};
use crate::types::{
    ApplyState, BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, CONDITIONS_LEVEL, ClusterId, NEWEST_LEVEL, NodeId,
};

/// Each region gets at least this many bytes of a shared log option, however many regions there are; also the
/// option's own minimum.
const REGION_SHARE_BYTES_MIN: u64 = 64 << 10;

/// Maximum bytes of one region's forwarded writes in flight to the leader: enough for many round trips, and little
/// enough not to flood a slow leader with writes it will refuse.
const FORWARD_WINDOW_BYTES: usize = 8 << 20;

/// How many other members a member that has an address expects at least, where it counts descriptors.
const EXPECTED_OTHERS: usize = 6;

/// Members, each with where it is reached.
type Addresses = Vec<(NodeId, String)>;

/// Opens everything and starts the threads.
pub(super) fn open(path: &Path, config: &Config) -> Result<Arc<Inner>> {
    config.check()?;
    let members = config.members()?;
    let split_keys = config.split_keys();
    let identity = identity(config, &members, split_keys);
    let node = identity.node;
    let address = own_address(config, &members);
    // More members may come.
    let others = if address.is_empty() { 0 } else { (members.len() - 1).max(EXPECTED_OTHERS) };
    let engine_files = take_descriptors(others)?;
    // What is written here must not end the host when it limits the size of its files; and the engine starts its own
    // threads, on which the host's signal handlers must not run either.
    let (directory, opened, welcomed) = thread::without_signals(|| {
        let mut directory =
            Directory::open(path, &identity).map_err(|error| naming_split_keys(error, split_keys))?;
        let (first, welcomed) = first_regions_of(&mut directory, config, &members, split_keys)?;
        let storage = open_storage(&directory, config, engine_files, first)?;
        Ok((Arc::new(directory), storage, welcomed))
    })?;
    let Opened { engine, log, recovered, staging, pending } = opened;
    let regions = take_regions(&engine)?;
    let map = Arc::new(region_map(&regions)?);
    let log = Arc::new(log);
    let boot = RandomState::new().hash_one(now().0);
    let peers = make_peers(config, boot, &regions, &pending, &recovered, &log)?;

    let cluster = directory.cluster();
    let own = own(config, &address, cluster);
    let before = acquaintances(config, &members, &directory, welcomed);
    let shared = share(config, own, before, map, &peers, &engine);
    let appliers = make_appliers(Origin { node, boot }, regions, pending);

    let mut threads = Threads::new(&shared);
    if !address.is_empty() {
        let snapshots = threads.start_snapshots(engine.clone(), Arc::new(staging));
        let inbox = Inbox {
            raft: Arc::clone(&shared.raft),
            raft_poller: Arc::clone(&threads.raft_poller),
            health: Arc::clone(&shared.health),
            directory,
            members: Arc::clone(&shared.members),
            snapshots: snapshots.map_err(|error| thread::refused(&error))?,
            regions: Arc::clone(&shared.regions),
            cluster_name: identity.cluster_name.clone(),
        };
        threads.transport =
            Some(Arc::new(start_transport(config, boot, &members, (cluster, &address), inbox)?));
    }
    threads
        .start(engine, log, peers, appliers, config)
        .and_then(|()| shared.ending.begin(threads))
        .map_err(|error| thread::refused(&error))?;
    Ok(shared)
}

/// What all callers and threads share.
fn share(
    config: &Config,
    own: Own,
    before: Acquaintances,
    regions: Arc<RegionMap>,
    peers: &Peers,
    engine: &Engine,
) -> Arc<Inner> {
    let (health, completions) = (Arc::<Health>::default(), Arc::<CompletionQueue>::default());
    health.publish_all(peers.iter().map(|(region, peer)| (*region, peer.status())));
    health.tell(StoreEvents::new(config.on_event.clone(), Arc::clone(&completions)));
    let (node, raft) = (own.node, Arc::<Mailbox<_>>::default());
    let published = peers.iter().map(|(region, peer)| (*region, peer.members_now()));
    let parts = Parts { regions: Arc::clone(&regions), health: Arc::clone(&health), raft: Arc::clone(&raft) };
    let members = Members::new(own, before, parts, published);
    Arc::new(Inner {
        node,
        timeouts: timeouts(config),
        regions,
        leases: Leases::new(peers.iter().map(|(region, peer)| (*region, peer.published_lease()))),
        health,
        raft,
        members,
        completions,
        deadlines: Arc::default(),
        metrics: Arc::default(),
        read_pool: Arc::default(),
        admission: Arc::new(Admission::new(config.in_flight_ops, config.in_flight_bytes)),
        engine: Mutex::new(Some(engine.clone())),
        snapshots: Arc::default(),
        ending: Ending::default(),
    })
}

/// Sees to the process's descriptors; how many files the engine may keep open in a cluster with so many `others`.
fn take_descriptors(others: usize) -> Result<u16> {
    ProcessId::for_store()?;
    descriptors::fill_standard().map_err(no_standard_descriptors)?;
    let available =
        descriptors::available().map_err(|error| Error::io("list", Path::new("/proc/self/fd"), &error))?;
    open_files::engine_files(available, others)
}

/// Where the others reach this member; empty if they cannot.
fn own_address(config: &Config, members: &[Member]) -> String {
    let node = NodeId(config.node_id);
    let own = members.iter().find(|member| member.node == node);
    own.map_or_else(String::new, |own| own.address.clone())
}

fn own(config: &Config, address: &str, cluster: ClusterId) -> Own {
    Own {
        node: NodeId(config.node_id),
        address: address.to_owned(),
        cluster,
        election_timeout_ms: config.election_timeout_ms,
        tick_ms: config.tick_ms,
        spread_leaders: config.spread_leaders,
        insecure: config.insecure,
    }
}

fn acquaintances(
    config: &Config,
    members: &[Member],
    directory: &Directory,
    welcomed: Addresses,
) -> Acquaintances {
    let addresses = config.join_addresses();
    if addresses.is_empty() {
        let configured = members.iter().map(|member| (member.node, member.address.clone())).collect();
        return Acquaintances { configured, ..Acquaintances::default() };
    }
    let joining = Some((addresses.to_vec(), join_request(directory, config, members)));
    Acquaintances { configured: Vec::new(), welcomed, joining }
}

/// The regions with which a first start begins: those of a new cluster, or, without data, those of the cluster that lets
/// this member in, with whom it says are its members. Not used at later starts.
fn first_regions_of(
    directory: &mut Directory,
    config: &Config,
    members: &[Member],
    split_keys: &[Vec<u8>],
) -> Result<(Vec<Region>, Addresses)> {
    let addresses = config.join_addresses();
    // Also later they are asked, as long as there is nothing of the first region.
    refuse_open_plaintext(config, addresses.iter().map(String::as_str))?;
    if addresses.is_empty() || directory.content() != Content::Nothing {
        return Ok((first_regions(members, split_keys), Vec::new()));
    }
    let request = join_request(directory, config, members);
    let give_up_at = now() + Duration::from_millis(config.join_timeout_ms);
    let welcome = transport::ask(addresses, &request, give_up_at, &OpenSockets::default())?;
    check_welcome(&welcome)?;
    directory.join(welcome.cluster);
    let region = |region: WelcomeRegion| {
        Region::without_data(region.id, region.start_key, region.end_key, region.version)
    };
    Ok((welcome.regions.into_iter().map(region).collect(), welcome.members))
}

/// What a member says that is to be let in.
fn join_request(directory: &Directory, config: &Config, members: &[Member]) -> JoinRequest {
    JoinRequest {
        node: NodeId(config.node_id),
        instance: directory.instance(),
        level: NEWEST_LEVEL,
        election_timeout_ms: config.election_timeout_ms,
        tick_ms: config.tick_ms,
        announced: own_address(config, members),
        cluster_name: config.cluster_name.meaning().0.clone(),
    }
}

/// Before anything of it is written: what cannot be right must not bind the directory.
fn check_welcome(welcome: &Welcome) -> Result<()> {
    let region = |region: &WelcomeRegion| {
        (region.id, KeyRange { start: region.start_key.clone(), end: region.end_key.clone() })
    };
    let ids: BTreeSet<_> = welcome.regions.iter().map(|region| region.id).collect();
    let is_possible = welcome.cluster != NO_CLUSTER
        && ids.len() == welcome.regions.len()
        && ids.contains(&BOOTSTRAP_REGION)
        && welcome.regions.iter().all(|region| region.version >= BOOTSTRAP_EPOCH.version)
        && RegionMap::new(welcome.regions.iter().map(region).collect()).is_some();
    let senseless =
        || Error::with_detail(Code::Network, "the cluster's regions, as it tells them, make no sense");
    is_possible.then_some(()).ok_or_else(senseless)
}

fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        write: Duration::from_millis(config.write_timeout_ms),
        read: Duration::from_millis(config.read_timeout_ms),
        election: Duration::from_millis(config.election_timeout_ms),
    }
}

fn identity(config: &Config, members: &[Member], split_keys: &[Vec<u8>]) -> Identity {
    let cluster_name = config.cluster_name.meaning().0.clone();
    let joins = !config.join_addresses().is_empty();
    let cluster = if joins { NO_CLUSTER } else { cluster_id(&cluster_name, members, split_keys) };
    Identity { cluster, cluster_name, node: NodeId(config.node_id) }
}

/// What a store's directory holds.
struct Opened {
    engine: Engine,
    log: LogStore,
    recovered: Vec<RecoveredLog>,
    staging: Staging,
    /// Raft snapshots that are to be installed.
    pending: Pending,
}

/// Opens engine and log, creating both at a first start. A log of a later format is refused before anything is written.
/// Then the engine comes first: its lock is the last of those that exclude other processes, and opening the log seals its
/// end, which may write. What a build without versions wrote is converted once it is known that the store can be opened:
/// from then on that build cannot come back to it.
fn open_storage(
    directory: &Directory,
    config: &Config,
    engine_files: u16,
    first: Vec<Region>,
) -> Result<Opened> {
    let options = EngineOptions {
        block_cache_bytes: bytes(config.block_cache_bytes),
        memtable_bytes: bytes(config.memtable_bytes),
        open_files_max: engine_files,
    };
    let log_options = LogOptions { segment_bytes: config.log_segment_bytes.0, ..LogOptions::default() };
    if directory.content() != Content::Nothing {
        LogStore::check_formats(&directory.log())?;
        let engine = Engine::open(&directory.data(), &options, directory.lock_guard())?;
        let found = LogStore::read(&directory.log(), log_options)?;
        let regions = engine.regions()?;
        let staging = Staging::open(directory.path())?;
        let mut pending = pending_installs::find(&staging, &found.logs(), &regions)?;
        let to_be = with_pending(&regions, &pending);
        check_levels(&regions)?;
        check_levels(&to_be)?;
        let verdict = lost_end::judge(&found, &to_be, config)?;
        convert(directory, &engine)?;
        let (log, mut recovered) = found.open()?;
        pending_installs::settle(&engine, &staging, &log, &mut recovered, &mut pending)?;
        lost_end::reconcile(&log, &mut recovered, &regions, verdict)?;
        return Ok(Opened { engine, log, recovered, staging, pending });
    }
    let engine = Engine::create(&directory.data(), &options, directory.lock_guard())?;
    let (log, _) = LogStore::open(&directory.log(), log_options)?;
    let recovered = bootstrap::first_start(directory, &engine, &log, first)?;
    let staging = Staging::open(directory.path())?;
    Ok(Opened { engine, log, recovered, staging, pending: Pending::new() })
}

/// The regions as they are once what is pending is installed.
fn with_pending(regions: &[(Region, ApplyState)], pending: &Pending) -> Vec<(Region, ApplyState)> {
    let with = |(region, state): &(Region, ApplyState)| {
        let head = pending.get(&region.id);
        (head.map_or(region, |head| &head.region).clone(), *state)
    };
    regions.iter().map(with).collect()
}

/// Converts the values of a directory of the format before, or what an earlier start has left of them. Each step is
/// durable before the next one begins, so that the directory is at no time one that somebody takes for what it is not.
fn convert(directory: &Directory, engine: &Engine) -> Result<()> {
    match directory.content() {
        Content::Nothing | Content::Current => return Ok(()),
        Content::Unversioned => {
            engine.prepare_conversion()?;
            directory.begin_conversion()?;
        }
        Content::Converting => {}
    }
    engine.convert()?;
    directory.finish()
}

/// The regions on disk. What the engine shows of their values depends on them.
fn take_regions(engine: &Engine) -> Result<Vec<(Region, ApplyState)>> {
    let regions = engine.regions()?;
    check_levels(&regions)?;
    engine.set_floors(regions.iter().map(|(region, _)| (region.start_key.as_slice(), floor_of(region))));
    Ok(regions)
}

/// From where on the values of a region have versions of their own.
fn floor_of(region: &Region) -> Floor {
    if region.level < CONDITIONS_LEVEL { Floor::Unknown } else { Floor::At(region.floor_index) }
}

/// A log of a higher level holds what this build cannot read.
fn check_levels(regions: &[(Region, ApplyState)]) -> Result<()> {
    let Some((region, _)) = regions.iter().find(|(region, _)| region.level > NEWEST_LEVEL) else {
        return Ok(());
    };
    let detail = format!(
        "region {} is at feature level {}, and this release knows levels up to {NEWEST_LEVEL}: run a later release",
        region.id, region.level
    );
    Err(Error::with_detail(Code::IncompatibleFormat, detail))
}

/// The routing table of the regions on disk. After the first start, these are authoritative, not the configuration.
fn region_map(regions: &[(Region, ApplyState)]) -> Result<RegionMap> {
    let range = |region: &Region| KeyRange { start: region.start_key.clone(), end: region.end_key.clone() };
    let ranges = regions.iter().map(|(region, _)| (region.id, range(region))).collect();
    let broken =
        || Error::with_detail(Code::Corruption, "the regions in the engine do not cover all keys once");
    RegionMap::new(ranges).ok_or_else(broken)
}

fn make_peers(
    config: &Config,
    boot: u64,
    regions: &[(Region, ApplyState)],
    pending: &Pending,
    recovered: &[RecoveredLog],
    log: &Arc<LogStore>,
) -> Result<Peers> {
    let random = RandomState::new();
    let options = peer_options(config, boot, regions.len());
    let logger = raft_logger();
    let logs: BTreeMap<_, _> = recovered.iter().map(|found| (found.region, found)).collect();
    let mut peers = Vec::with_capacity(regions.len());
    for (region, applied) in regions {
        let found = *logs.get(&region.id).ok_or_else(|| {
            Error::with_detail(Code::Corruption, format!("the raft log has nothing of region {}", region.id))
        })?;
        let RecoveredLog { hard_state, truncated, last, lost_end, .. } = found.clone();
        let stretches = log.stretches(region.id)?;
        let state = LogState { hard_state, truncated, last, lost_end, stretches };
        let reader = Arc::clone(log) as Arc<dyn LogReader>;
        // A different random seed for every region, so that one member does not end up leading them all.
        let elections = Elections::Drawn(random.hash_one((options.boot, region.id)));
        let options = PeerOptions { elections, ..options.clone() };
        let pending = pending.get(&region.id);
        let shown = pending.map_or(region, |head| &head.region).clone();
        peers.push((region.id, Peer::new(options, shown, *applied, pending, state, reader, &logger)?));
    }
    Ok(peers.into_iter().collect())
}

fn peer_options(config: &Config, boot: u64, regions: usize) -> PeerOptions {
    let share = |bytes: u64| (bytes / regions as u64).max(REGION_SHARE_BYTES_MIN);
    PeerOptions {
        node: NodeId(config.node_id),
        boot,
        known_level: NEWEST_LEVEL,
        elections: Elections::Drawn(boot),
        tick: Duration::from_millis(config.tick_ms),
        heartbeat_ticks: config.ticks(config.heartbeat_ms),
        election_ticks: config.ticks(config.election_timeout_ms),
        lease_max: config.lease_max(),
        group_bytes_max: bytes(config.group_bytes),
        forward_window_bytes: FORWARD_WINDOW_BYTES,
        propose_bytes_max: PROPOSE_BYTES_MAX,
        log_cache_bytes: bytes(share(config.log_cache_bytes)),
        uncommitted_bytes_max: config.in_flight_bytes,
        log_retain_bytes: share(config.log_retain_bytes),
        log_behind_bytes: share(config.log_behind_bytes),
        apply_stall_ticks: config.apply_stall().as_millis().div_ceil(u128::from(config.tick_ms)) as u64,
        backlog: StoreBacklog::default(),
        windows: StoreWindows::default(),
        limits: Limits::default(),
    }
}

fn make_appliers(origin: Origin, regions: Vec<(Region, ApplyState)>, mut pending: Pending) -> Appliers {
    let applier = |(region, state): (Region, _)| {
        let id = region.id;
        let mut applier = Applier::new(origin, NEWEST_LEVEL, region, state);
        if let Some(head) = pending.remove(&id) {
            applier.queue(ApplyTask::install(head));
        }
        (id, applier)
    };
    Appliers::new(regions.into_iter().map(applier).collect())
}

fn start_transport(
    config: &Config,
    boot: u64,
    members: &[Member],
    (cluster, address): (ClusterId, &str),
    inbox: Inbox,
) -> Result<Transport> {
    let node = NodeId(config.node_id);
    let listen = config.listen.meaning().0.clone().unwrap_or_else(|| address.to_owned());
    let addresses = members.iter().map(|member| member.address.as_str());
    refuse_open_plaintext(config, addresses.chain([&*listen]))?;
    let options = TransportOptions {
        cluster,
        node,
        instance: inbox.directory.instance(),
        boot_count: inbox.directory.boot_count(),
        boot,
        listen,
        // What the configuration names, each member names for itself: behind a translation of addresses, or a proxy, the
        // others have another address than this one.
        announce: config.announce.meaning().0.clone().unwrap_or_default(),
        peers: inbox.members.peers(),
        election_timeout_ms: config.election_timeout_ms,
        tick_ms: config.tick_ms,
        frame_bytes_max: FRAME_BYTES_MAX,
        queue_bytes_max: bytes(config.queue_bytes),
        snapshot_bytes_per_second: config.snapshot_bytes_per_second,
    };
    Transport::start(options, Arc::new(inbox))
}

/// Peers authenticate each other only by their configuration, so untrusted hosts must not reach them.
fn refuse_open_plaintext<'a>(config: &Config, mut addresses: impl Iterator<Item = &'a str>) -> Result<()> {
    let is_loopback = |text: &str| Address::parse(text).is_ok_and(|address| address.is_loopback());
    match addresses.find(|address| !is_loopback(address)) {
        Some(address) if !config.insecure => {
            Err(Error::with_detail(Code::InvalidConfig, members::open_plaintext(address)))
        }
        _ => Ok(()),
    }
}

fn bytes(configured: u64) -> usize {
    usize::try_from(configured).unwrap_or(usize::MAX)
}

fn no_standard_descriptors(error: io::Error) -> Error {
    let what =
        "one of standard input, output and error is closed, and /dev/null cannot be opened in its place";
    Error::system(what, &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_must_cover_all_keys_once() {
        let members = [Member { node: NodeId(1), address: String::new() }];
        let regions = first_regions(&members, &[b"g".to_vec(), b"p".to_vec()]);
        let stored: Vec<_> = regions.into_iter().map(|region| (region, ApplyState::BOOTSTRAP)).collect();

        assert!(region_map(&stored).is_ok());
        assert_eq!(region_map(&stored[1..]).expect_err("a gap").code(), Code::Corruption);
    }

    #[test]
    fn a_region_of_a_later_level_is_refused_by_its_number() {
        let members = [Member { node: NodeId(1), address: String::new() }];
        let region = first_regions(&members, &[]).remove(0);
        let of_level = |level| [(Region { level, ..region.clone() }, ApplyState::BOOTSTRAP)];

        assert!(check_levels(&of_level(0)).is_ok() && check_levels(&of_level(NEWEST_LEVEL)).is_ok());
        let error = check_levels(&of_level(NEWEST_LEVEL + 1)).expect_err("nobody can read it");
        assert_eq!(error.code(), Code::IncompatibleFormat);
    }

    #[test]
    fn regions_share_the_bytes_of_the_log_options() {
        let config = Config::default();

        let (one, many) = (peer_options(&config, 1, 1), peer_options(&config, 1, 1024));

        assert_eq!(one.log_retain_bytes, config.log_retain_bytes);
        assert_eq!(many.log_retain_bytes, config.log_retain_bytes / 1024);
        assert_eq!(many.log_cache_bytes, 64 << 10);
    }
}
