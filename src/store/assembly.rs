//! How a store comes up.
//!
//! Owns the order of recovery and what a store is made of. What always holds: a first start either finished or is begun
//! anew. In which order its threads start and end is [`threads`](super::threads)'s.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft::eraftpb::HardState;

use crate::completion::queue::CompletionQueue;
use crate::completion::store_events::StoreEvents;
use crate::config::{Config, Member};
use crate::core::applier::Applier;
use crate::core::appliers::Appliers;
use crate::core::apply_backlog::StoreBacklog;
use crate::core::elections::Elections;
use crate::core::forwarding::Origin;
use crate::core::limits::Limits;
use crate::core::log::LogState;
use crate::core::peer::{PROPOSE_BYTES_MAX, Peer, PeerOptions};
use crate::core::ports::{LogReader, LogWrite};
use crate::core::region::Region;
use crate::core::round::Peers;
use crate::descriptors;
use crate::error::{Code, Error, Result};
use crate::logging::raft_logger;
use crate::pollers::health::Health;
use crate::pollers::inbox::Inbox;
use crate::regions::{KeyRange, RegionMap, shown};
use crate::storage::directory::{Directory, Identity};
use crate::storage::engine::{Engine, EngineOptions};
use crate::storage::log_store::{LogOptions, LogStore, RecoveredLog};
use crate::store::Inner;
use crate::store::admission::Admission;
use crate::store::closing::Ending;
use crate::store::leases::Leases;
use crate::store::lost_end;
use crate::store::threads::Threads;
use crate::thread;
use crate::time::now;
use crate::transport::{FRAME_BYTES_MAX, Transport, TransportOptions};
use crate::types::{
    ApplyState, BOOTSTRAP_INDEX, BOOTSTRAP_REGION, BOOTSTRAP_TERM, ClusterId, NodeId, RegionId,
};

/// However many regions share a log option, each gets this many bytes, the least one can ask for.
const REGION_SHARE_BYTES_MIN: u64 = 64 << 10;

/// Bytes of forwarded writes of one region that may be under way to the leader: many round trips' worth, and little
/// enough that a slow leader is not buried under what it will refuse.
const FORWARD_WINDOW_BYTES: usize = 8 << 20;

/// A message names no more split keys than these.
const SHOWN_KEYS_MAX: usize = 8;

/// Opens everything and starts the threads.
pub(super) fn open(path: &Path, config: &Config) -> Result<Arc<Inner>> {
    config.check()?;
    let members = config.members()?;
    let split_keys = config.split_keys()?;
    let cluster = cluster_id(&config.cluster_name, &members, &split_keys);
    let (node, cluster_name) = (NodeId(config.node_id), config.cluster_name.clone());
    let identity = Identity { cluster, cluster_name, node };
    descriptors::fill_standard().map_err(no_standard_descriptors)?;
    let (directory, fresh) =
        Directory::open(path, &identity).map_err(|error| naming_split_keys(error, &split_keys))?;
    let directory = Arc::new(directory);
    // The engine starts threads of its own, on which no handler of the host may run either.
    let (engine, log, recovered) =
        thread::without_signals(|| open_storage(&directory, fresh, config, &members, &split_keys))?;
    let regions = engine.regions()?;
    let map = Arc::new(region_map(&regions)?);
    let log = Arc::new(log);
    let boot = RandomState::new().hash_one(now().0);
    let peers = make_peers(config, boot, &regions, &recovered, &log)?;

    let (health, completions) = (Arc::<Health>::default(), Arc::<CompletionQueue>::default());
    health.publish_all(peers.iter().map(|(region, peer)| (*region, peer.status())));
    health.tell(StoreEvents::new(config.on_event.clone(), Arc::clone(&completions)));
    let shared = Arc::new(Inner {
        node,
        write_timeout: Duration::from_millis(config.write_timeout_ms),
        read_timeout: Duration::from_millis(config.read_timeout_ms),
        election_timeout: Duration::from_millis(config.election_timeout_ms),
        regions: map,
        leases: Leases::new(peers.iter().map(|(region, peer)| (*region, peer.published_lease()))),
        health,
        raft: Arc::default(),
        completions,
        deadlines: Arc::default(),
        metrics: Arc::default(),
        read_pool: Arc::default(),
        admission: Arc::new(Admission::new(config.in_flight_ops, config.in_flight_bytes)),
        engine: Mutex::new(Some(engine.clone())),
        ending: Ending::default(),
    });
    let appliers = make_appliers(Origin { node, boot }, regions);

    let mut threads = Threads::new(&shared);
    let inbox = Inbox {
        raft: Arc::clone(&shared.raft),
        raft_poller: Arc::clone(&threads.raft_poller),
        health: Arc::clone(&shared.health),
        directory: Arc::clone(&directory),
        regions: Arc::clone(&shared.regions),
    };
    threads.transport = start_transport(config, boot, &members, cluster, inbox)?.map(Arc::new);
    threads.start(engine, log, peers, appliers, config).map_err(|error| no_thread(&error))?;
    shared.ending.begin(threads);
    Ok(shared)
}

/// Opens engine and log, both anew at a first start. The engine comes first: its lock is the last of those that keep
/// others away, and to open the log is to settle its end.
fn open_storage(
    directory: &Directory,
    fresh: bool,
    config: &Config,
    members: &[Member],
    split_keys: &[Vec<u8>],
) -> Result<(Engine, LogStore, Vec<RecoveredLog>)> {
    let options = EngineOptions {
        block_cache_bytes: bytes(config.block_cache_bytes),
        memtable_bytes: bytes(config.memtable_bytes),
        ..EngineOptions::default()
    };
    let log_options = LogOptions { segment_bytes: config.log_segment_bytes, ..LogOptions::default() };
    if !fresh {
        let engine = Engine::open(&directory.data(), &options, directory.lock_guard())?;
        let found = LogStore::read(&directory.log(), log_options)?;
        let regions = engine.regions()?;
        let verdict = lost_end::judge(&found, &regions, config)?;
        let (log, mut recovered) = found.settle()?;
        lost_end::settle(&log, &mut recovered, &regions, verdict)?;
        return Ok((engine, log, recovered));
    }
    let regions = first_regions(members, split_keys);
    let engine = Engine::create(&directory.data(), &options, directory.lock_guard())?;
    let (log, _) = LogStore::open(&directory.log(), log_options)?;
    log.append(&regions.iter().map(|region| first_write(region.id)).collect::<Vec<_>>())?;
    engine.bootstrap(&regions, ApplyState::BOOTSTRAP)?;
    directory.finish_bootstrap()?;
    let recovered = regions.iter().map(|region| first_log(region.id)).collect();
    Ok((engine, log, recovered))
}

/// What is refused as another cluster may be this one with other split keys, so the message names those of the
/// configuration.
fn naming_split_keys(error: Error, split_keys: &[Vec<u8>]) -> Error {
    if error.code() != Code::WrongCluster {
        return error;
    }
    let mut keys: Vec<_> = split_keys.iter().take(SHOWN_KEYS_MAX).map(|key| shown(key)).collect();
    if split_keys.len() > SHOWN_KEYS_MAX {
        keys.push(format!("and {} more", split_keys.len() - SHOWN_KEYS_MAX));
    }
    let detail = format!("{} (bootstrap.split_keys is '{}')", error.detail(), keys.join(","));
    Error::with_detail(Code::WrongCluster, detail)
}

/// The regions a cluster begins with, numbered in the order of their keys.
fn first_regions(members: &[Member], split_keys: &[Vec<u8>]) -> Vec<Region> {
    let voters: Vec<_> = members.iter().map(|member| member.node).collect();
    let whole = Region::bootstrap(&voters);
    let ends = split_keys.iter().cloned().chain([Vec::new()]);
    let starts = std::iter::once(Vec::new()).chain(split_keys.iter().cloned());
    let region =
        |((start_key, end_key), id)| Region { id: RegionId(id), start_key, end_key, ..whole.clone() };
    starts.zip(ends).zip(BOOTSTRAP_REGION.get()..).map(region).collect()
}

/// Makes a region's log: it begins behind the truncated entry that all members share.
fn first_write(region: RegionId) -> LogWrite {
    LogWrite {
        hard_state: Some(first_hard_state()),
        truncate_to: Some((BOOTSTRAP_INDEX, BOOTSTRAP_TERM)),
        ..LogWrite::new(region)
    }
}

/// What [`first_write`] leaves.
fn first_log(region: RegionId) -> RecoveredLog {
    let truncated = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM);
    RecoveredLog { region, hard_state: first_hard_state(), truncated, last: truncated, lost_end: None }
}

fn first_hard_state() -> HardState {
    let (term, commit) = (BOOTSTRAP_TERM.get(), BOOTSTRAP_INDEX.get());
    HardState { term, commit, ..HardState::default() }
}

/// The routing table of the regions on disk, which count from the first start on.
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
    recovered: &[RecoveredLog],
    log: &Arc<LogStore>,
) -> Result<Peers> {
    let random = RandomState::new();
    let options = peer_options(config, boot, regions.len());
    let logger = raft_logger();
    let logs: BTreeMap<_, _> = recovered.iter().map(|found| (found.region, found)).collect();
    let mut peers = Peers::new();
    for (region, applied) in regions {
        let found = *logs.get(&region.id).ok_or_else(|| {
            Error::with_detail(Code::Corruption, format!("the raft log has nothing of region {}", region.id))
        })?;
        let RecoveredLog { hard_state, truncated, last, lost_end, .. } = found.clone();
        let stretches = log.stretches(region.id)?;
        let state = LogState { hard_state, truncated, last, lost_end, stretches };
        let reader = Arc::clone(log) as Arc<dyn LogReader>;
        // Another draw for every region, so that one member does not come to lead them all.
        let elections = Elections::Drawn(random.hash_one((options.boot, region.id)));
        let options = PeerOptions { elections, ..options.clone() };
        peers.insert(region.id, Peer::new(options, region.clone(), *applied, state, reader, &logger)?);
    }
    Ok(peers)
}

fn peer_options(config: &Config, boot: u64, regions: usize) -> PeerOptions {
    let share = |bytes: u64| (bytes / regions as u64).max(REGION_SHARE_BYTES_MIN);
    PeerOptions {
        node: NodeId(config.node_id),
        boot,
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
        apply_stall_ticks: config.apply_stall().as_millis().div_ceil(u128::from(config.tick_ms)) as u64,
        backlog: StoreBacklog::default(),
        limits: Limits::default(),
    }
}

fn make_appliers(origin: Origin, regions: Vec<(Region, ApplyState)>) -> Appliers {
    let applier = |(region, state): (Region, _)| (region.id, Applier::new(origin, region, state));
    Appliers::new(regions.into_iter().map(applier).collect())
}

fn start_transport(
    config: &Config,
    boot: u64,
    members: &[Member],
    cluster: ClusterId,
    inbox: Inbox,
) -> Result<Option<Transport>> {
    if members.len() == 1 {
        return Ok(None);
    }
    let node = NodeId(config.node_id);
    let own = members.iter().find(|member| member.node == node).expect("members() checked it");
    let listen = if config.listen.is_empty() { own.address.clone() } else { config.listen.clone() };
    refuse_open_plaintext(config, members, &listen)?;
    let options = TransportOptions {
        cluster,
        node,
        instance: inbox.directory.instance(),
        boot_count: inbox.directory.boot_count(),
        boot,
        listen,
        peers: members.iter().map(|member| (member.node, member.address.clone())).collect(),
        election_timeout_ms: config.election_timeout_ms,
        tick_ms: config.tick_ms,
        frame_bytes_max: FRAME_BYTES_MAX,
        queue_bytes_max: bytes(config.queue_bytes),
    };
    Transport::start(options, Arc::new(inbox)).map(Some)
}

/// Peers authenticate each other by nothing but their configuration, so strangers must not reach them.
fn refuse_open_plaintext(config: &Config, members: &[Member], listen: &str) -> Result<()> {
    let addresses = members.iter().map(|member| member.address.as_str()).chain([listen]);
    match addresses.into_iter().find(|address| !is_loopback(address)) {
        Some(address) if !config.insecure => Err(Error::with_detail(
            Code::InvalidConfig,
            format!(
                "{address} is not a loopback address and peer traffic is neither encrypted nor authenticated: \
                 set transport.insecure = true if every host that can reach it is trusted"
            ),
        )),
        _ => Ok(()),
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// FNV-1a over the name, the members' numbers and the split keys. Addresses may change during a cluster's life,
/// members and regions of the first day may not.
fn cluster_id(name: &str, members: &[Member], split_keys: &[Vec<u8>]) -> ClusterId {
    let numbers = members.iter().flat_map(|member| member.node.get().to_le_bytes());
    let named = name.bytes().chain([0]).chain(numbers).fold(0xcbf2_9ce4_8422_2325_u64, digest);
    // No member has the number 0, so it stands between the members and the keys.
    let length = |key: &Vec<u8>| (key.len() as u64).to_le_bytes();
    let keys =
        split_keys.iter().flat_map(|key| [0; 8].into_iter().chain(length(key)).chain(key.iter().copied()));
    ClusterId(keys.fold(named, digest))
}

fn digest(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

fn bytes(configured: u64) -> usize {
    usize::try_from(configured).unwrap_or(usize::MAX)
}

fn no_standard_descriptors(error: io::Error) -> Error {
    let detail = format!(
        "one of standard input, output and error is closed, and /dev/null cannot be opened in its place: {error}"
    );
    Error::with_detail(Code::Io, detail).with_errno(error.raw_os_error())
}

fn no_thread(error: &io::Error) -> Error {
    Error::with_detail(Code::Io, format!("cannot start a thread: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(nodes: &[u64]) -> Vec<Member> {
        nodes.iter().map(|&node| Member { node: NodeId(node), address: String::new() }).collect()
    }

    #[test]
    fn the_id_of_a_cluster_without_split_keys_never_changes() {
        let id = cluster_id("almadia", &members(&[1, 2, 3]), &[]);

        assert_eq!(format!("{:016x}", id.get()), "6776cb91221fa5e0");
    }

    #[test]
    fn clusters_of_other_split_keys_have_other_ids() {
        let id = |keys: &[&[u8]]| {
            let keys: Vec<_> = keys.iter().map(|key| key.to_vec()).collect();
            cluster_id("almadia", &members(&[1]), &keys).get()
        };

        let mut ids = [id(&[]), id(&[b"ab"]), id(&[b"a", b"b"]), id(&[b"a"]), id(&[&[0; 8]])];
        ids.sort_unstable();

        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:x?}");
    }

    #[test]
    fn first_regions_cover_all_keys_in_order_of_their_ids() {
        let regions = first_regions(&members(&[1, 2]), &[b"g".to_vec(), b"p".to_vec()]);

        let ranges: Vec<_> = regions.iter().map(|r| (r.id.get(), &r.start_key[..], &r.end_key[..])).collect();
        assert_eq!(ranges, [(1, &b""[..], &b"g"[..]), (2, b"g", b"p"), (3, b"p", b"")]);
        assert!(regions.iter().all(|region| region.members.voters == [1, 2]));
        let stored: Vec<_> = regions.into_iter().map(|region| (region, ApplyState::BOOTSTRAP)).collect();
        assert!(region_map(&stored).is_ok());
        assert_eq!(region_map(&stored[1..]).expect_err("a gap").code(), Code::Corruption);
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
