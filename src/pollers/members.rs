//! What this member knows of the members of its cluster.
//!
//! Owns the configurations of its regions and the list of members, as its peers publish them, and what follows from them
//! for the outside: whom the transport knows, who is let in, who may join, and when this member is out. What always holds:
//! it decides nothing for a region; who was a member before there was a list cannot be joined again; a member that is out
//! of every region says so to its callers, and its peers go on voting, because others may not know yet; the transport is told
//! of the members in the order in which this one came to know of them. How the list is changed is left to [`changing`], who
//! the others are where a member knows nobody to [`finding`], who leads to [`spreading`].

pub(crate) mod changing;
mod finding;
mod spreading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use self::changing::Task;
use crate::core::input::Input;
use crate::core::member_list::{FOUNDER, ListedMember, MemberList, MemberRole, NOT_JOINED};
use crate::core::next_change::Waits;
use crate::core::region_members::RegionMembers;
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::regions::RegionMap;
use crate::time::now;
use crate::transport::{BUILD, JoinRequest, OpenSockets, Standing, Transport, Welcome, WelcomeRegion};
use crate::types::{BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, ClusterId, InstanceId, LogIndex, NodeId, RegionId};

/// This member, to the others.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// Its number.
    pub node: NodeId,
    /// Where the others reach it; empty if they cannot.
    pub address: String,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its election timeout, in milliseconds.
    pub election_timeout_ms: u64,
    /// Its tick, in milliseconds.
    pub tick_ms: u64,
    /// Whether it hands leaderships over so that they are spread.
    pub spread_leaders: bool,
    /// Whether others may be reached over networks where everybody can listen.
    pub insecure: bool,
}

/// Whom a member knows before its regions say more, and whom it asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acquaintances {
    /// The members that the configuration names, with their addresses; none where this one joins a cluster.
    pub configured: Vec<(NodeId, String)>,
    /// Those of whom this member was told when it was let in, at this start.
    pub welcomed: Vec<(NodeId, String)>,
    /// What a member that joins asks, and at which addresses.
    pub joining: Option<(Vec<String>, JoinRequest)>,
}

/// See the module.
pub(crate) struct Members {
    own: Own,
    before: Acquaintances,
    regions: Arc<RegionMap>,
    health: Arc<Health>,
    raft: Arc<Mailbox<(RegionId, Input)>>,
    known: Mutex<Known>,
    news: Condvar,
    transport: OnceLock<Weak<Transport>>,
    /// Held while the transport is told of the members, so that it hears of the newest last.
    telling: Mutex<()>,
    /// Those on which this member asks who the others are.
    asking: OpenSockets,
}

/// What it uses of the store.
pub(crate) struct Parts {
    /// The regions.
    pub regions: Arc<RegionMap>,
    /// Who leads them; told when this member is out.
    pub health: Arc<Health>,
    /// Where lists are written, and leaders hand over.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
}

/// What changes.
#[derive(Default)]
struct Known {
    regions: BTreeMap<RegionId, RegionMembers>,
    list: Option<Arc<MemberList>>,
    /// Addresses of members that are in no list any more, or not yet.
    addresses: BTreeMap<NodeId, String>,
    /// What the transport was told last.
    peers: Vec<(NodeId, String)>,
    /// Changes of the list that somebody waits for.
    tasks: Vec<Task>,
    /// The list has had this member's own address.
    has_own_address: bool,
    is_closing: bool,
    /// The system gave the transport no thread for one of them.
    is_refused: bool,
}

/// A member as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its number.
    pub node: NodeId,
    /// Where its peers reach it; empty if that is not known.
    pub address: String,
    /// What it is to do.
    pub role: MemberRole,
    /// Whether it is to lead rather than others.
    pub is_preferred: bool,
    /// Whether it is not to lead, as long as others can.
    pub is_drained: bool,
    /// In how many regions it does what it is to do, as far as this member has applied.
    pub settled_regions: u64,
    /// How many regions this member leads and of which it so knows how far that member has come.
    pub seen_regions: u64,
    /// Whether it was heard of lately in each of these.
    pub is_live: bool,
    /// Entries that it lacks, of all of these.
    pub lag_entries: u64,
    /// How many regions it leads, as far as this member knows.
    pub led_regions: u64,
    /// For how long this member has heard nothing of it, on any connection; zero of itself, and `None` if it never has since
    /// it was opened. Members that do not lead have little to say to each other.
    pub last_heard: Option<Duration>,
    /// The version of the library that it runs, as it said when it connected last; empty if it has not since this member
    /// was opened, or runs a release that does not say.
    pub version: String,
}

impl Members {
    /// What is known at the start.
    pub(crate) fn new(
        own: Own,
        before: Acquaintances,
        Parts { regions, health, raft }: Parts,
        published: impl IntoIterator<Item = (RegionId, RegionMembers)>,
    ) -> Arc<Self> {
        let mut known = Known { addresses: before.configured.iter().cloned().collect(), ..Known::default() };
        published.into_iter().for_each(|(region, members)| known.take(region, members));
        known.meet(&before.welcomed);
        known.peers = known.peers_of(&own, &before.configured);
        let (news, transport) = (Condvar::new(), OnceLock::new());
        let (telling, asking) = (Mutex::default(), OpenSockets::default());
        let known = Mutex::new(known);
        Arc::new(Self { own, before, regions, health, raft, known, news, transport, telling, asking })
    }

    /// The other members, with the addresses to begin with.
    pub(crate) fn peers(&self) -> Vec<(NodeId, String)> {
        self.lock().peers.clone()
    }

    /// From now on `transport` is told of the members.
    pub(crate) fn connect(&self, transport: &Arc<Transport>) {
        assert!(self.transport.set(Arc::downgrade(transport)).is_ok(), "a store has one transport");
        // It was made with what was known before.
        let _telling = self.telling();
        self.set_peers(transport, self.peers());
    }

    /// A region has other members, or another list of them, or its leader knows that others have come further. A region that
    /// this member is no part of is looked at each time: it may be out of all.
    pub(crate) fn on_moved(&self, region: RegionId, members: RegionMembers) {
        let mut known = self.lock();
        if known.names_the_same(region, &members) && members.has(self.own.node) {
            known.regions.insert(region, members);
            drop(known);
            return self.news.notify_all();
        }
        drop(known);
        self.tell_transport(|known| known.take(region, members));
        let known = self.lock();
        let (is_out, has_list) = (known.is_out(self.own.node), known.list.is_some());
        drop(known);
        if has_list {
            self.asking.close();
        }
        if is_out {
            self.on_removed();
        }
        self.news.notify_all();
    }

    /// Takes in what `change` brings, and tells the transport of the members if they are others now.
    fn tell_transport(&self, change: impl FnOnce(&mut Known)) {
        let _telling = self.telling();
        let mut known = self.lock();
        let before = known.peers.clone();
        change(&mut known);
        known.peers = known.peers_of(&self.own, &self.before.configured);
        let changed = (known.peers != before).then(|| known.peers.clone());
        drop(known);
        if let (Some(peers), Some(transport)) = (changed, self.transport()) {
            self.set_peers(&transport, peers);
        }
    }

    /// Not to be called under the lock of what is known: this may end raft snapshots.
    fn set_peers(&self, transport: &Transport, peers: Vec<(NodeId, String)>) {
        let is_refused = !transport.set_peers(peers);
        self.lock().is_refused = is_refused;
    }

    fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transport(&self) -> Option<Arc<Transport>> {
        self.transport.get().and_then(Weak::upgrade)
    }

    /// This member belongs to the cluster no more.
    pub(crate) fn on_removed(&self) {
        self.health.remove(self.own.node);
        // Nobody tells it of others any more, and those who call wait for the thread that asks.
        self.asking.close();
        self.news.notify_all();
    }

    /// What `node` is to this member.
    pub(crate) fn standing(&self, node: NodeId) -> Standing {
        let known = self.lock();
        let is_configured = known.regions.values().any(|region| region.has(node));
        let knows_all = known.knows_all();
        let is_named = self.before.configured.iter().any(|(named, _)| *named == node);
        match &known.list {
            _ if is_configured => Standing::Member,
            Some(list) if list.get(node).is_some() => Standing::Member,
            Some(list) if list.is_removed(node) && knows_all => Standing::Removed,
            None if is_named => Standing::Member,
            _ => Standing::Unknown,
        }
    }

    /// Whether the directory `instance` may speak for `node`.
    ///
    /// # Errors
    /// The text for the operators of both sides.
    pub(crate) fn check_instance(&self, node: NodeId, instance: InstanceId) -> Result<(), String> {
        let known = self.lock();
        let listed = known.list.as_ref().and_then(|list| list.get(node));
        match listed.map(|member| member.instance) {
            None | Some(NOT_JOINED | FOUNDER) => Ok(()),
            Some(joined) if joined == instance => Ok(()),
            Some(_) => Err(taken(node)),
        }
    }

    /// What a member that wants to join is told.
    ///
    /// # Errors
    /// Why it is not let in, or not yet; for the operators of both sides.
    pub(crate) fn welcome(&self, request: &JoinRequest) -> Result<Welcome, String> {
        let mut known = self.lock();
        let node = request.node;
        let Some(list) = known.list.clone() else { return Err(not_listed(node)) };
        match list.get(node).map(|member| member.instance) {
            _ if [NOT_JOINED, FOUNDER].contains(&request.instance) => {
                Err("a directory has an instance of its own".to_owned())
            }
            None => Err(not_listed(node)),
            Some(FOUNDER) => Err(taken(node)),
            Some(NOT_JOINED) => {
                known.let_in(node, request.instance);
                drop(known);
                self.news.notify_all();
                Err(format!("node {node} is being let in"))
            }
            Some(joined) if joined != request.instance => Err(taken(node)),
            Some(_) => Ok(self.welcome_to(&list)),
        }
    }

    fn welcome_to(&self, list: &MemberList) -> Welcome {
        let region = |(at, id): (usize, &RegionId)| {
            let (start_key, end_key) = self.regions.range_at(at);
            let (start_key, end_key) = (start_key.to_vec(), end_key.to_vec());
            WelcomeRegion { id: *id, version: BOOTSTRAP_EPOCH.version, start_key, end_key }
        };
        Welcome {
            cluster: self.own.cluster,
            election_timeout_ms: self.own.election_timeout_ms,
            tick_ms: self.own.tick_ms,
            regions: self.regions.ids().iter().enumerate().map(region).collect(),
            members: list.members.iter().map(|member| (member.node, member.address.clone())).collect(),
        }
    }

    /// The members as this one sees them, and the version of their list; 0 if nobody has changed it yet.
    pub(crate) fn list(&self) -> (u64, Vec<MemberStatus>) {
        let leaders: Vec<_> =
            self.regions.ids().iter().filter_map(|region| self.health.status(*region).leader).collect();
        let lasts: BTreeMap<_, _> = self
            .regions
            .ids()
            .iter()
            .map(|&region| (region, self.health.status(region).last_index))
            .collect();
        let known = self.lock();
        let list = known.base(&self.own, &self.before.configured);
        let status = |member: &ListedMember| known.status(member, self.own.node, &leaders, &lasts);
        let mut members: Vec<_> = list.members.iter().map(status).collect();
        drop(known);
        members
            .iter_mut()
            .for_each(|member| (member.last_heard, member.version) = self.heard_of(member.node));
        (list.version, members)
    }

    /// How long ago `node` was heard last, and which version of the library it runs.
    fn heard_of(&self, node: NodeId) -> (Option<Duration>, String) {
        if node == self.own.node {
            return (Some(Duration::ZERO), BUILD.to_owned());
        }
        let heard = self.transport().and_then(|transport| transport.heard_of(node));
        heard.map_or_else(Default::default, |(at, build)| (Some(now().since(at)), build))
    }

    /// For what the regions wait that this member leads, and which have not followed, as sentences.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let known = self.lock();
        let Some(list) = &known.list else { return Vec::new() };
        let late = known.regions.iter().filter(|(_, members)| members.settled_version < list.version);
        late.map(|(region, members)| match members.waits {
            Some(waits) => Waits::describe(waits, *region),
            None => format!("region {region} has yet to follow"),
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No foreign code runs under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take(&mut self, region: RegionId, members: RegionMembers) {
        if let Some(list) = &members.list {
            let named = list.members.iter().map(|member| (member.node, member.address.clone()));
            self.addresses.extend(named.filter(|(_, address)| !address.is_empty()));
            self.list = Some(Arc::clone(list));
        }
        self.regions.insert(region, members);
    }

    /// Whether nobody comes or goes by what a region publishes. That is nearly always so, and all that follows from it takes
    /// a look at every region.
    fn names_the_same(&self, region: RegionId, now: &RegionMembers) -> bool {
        let before = self.regions.get(&region);
        before.is_some_and(|before| (&before.members, &before.list) == (&now.members, &now.list))
    }

    /// Takes in members of whom this one was told otherwise than by its regions.
    fn meet(&mut self, members: &[(NodeId, String)]) {
        for (node, address) in members {
            self.peers.push((*node, String::new()));
            if !address.is_empty() {
                self.addresses.insert(*node, address.clone());
            }
        }
    }

    /// Whether this member was let in, has nothing of the first region yet, and knows of nobody where to reach him.
    fn knows_nobody(&self) -> bool {
        let first = self.regions.get(&BOOTSTRAP_REGION);
        first.is_none_or(|region| region.members.is_empty())
            && self.list.is_none()
            && self.peers.iter().all(|(_, address)| address.is_empty())
    }

    /// Whether this member was given all regions. Of others it cannot say who belongs to them.
    fn knows_all(&self) -> bool {
        self.regions.values().all(|region| !region.members.is_empty())
    }

    /// Whether every region has members, and `node` is none of them nor to be one.
    fn is_out(&self, node: NodeId) -> bool {
        let is_gone = |region: &RegionMembers| !region.members.is_empty() && !region.has(node);
        let is_removed = self.list.as_ref().is_some_and(|list| list.is_removed(node));
        is_removed && self.regions.values().all(is_gone)
    }

    /// All other members that this one is to be connected with: those of the list, and those who still belong to a region.
    fn peers_of(&self, own: &Own, configured: &[(NodeId, String)]) -> Vec<(NodeId, String)> {
        let named = match &self.list {
            Some(list) => list.members.iter().map(|member| member.node).collect::<Vec<_>>(),
            None => configured.iter().map(|(node, _)| *node).collect(),
        };
        let configured =
            self.regions.values().flat_map(|region| region.members.iter().map(|(node, _)| *node));
        let before = self.peers.iter().map(|(node, _)| *node).filter(|_| !self.knows_all());
        let all = named.into_iter().chain(configured).chain(before);
        let all: BTreeSet<_> = all.filter(|node| *node != own.node).collect();
        let address = |node: NodeId| {
            let listed = self.list.as_ref().and_then(|list| list.get(node)).map(|member| &member.address);
            let listed = listed.filter(|address| !address.is_empty());
            listed.or(self.addresses.get(&node)).cloned().unwrap_or_default()
        };
        all.into_iter().map(|node| (node, address(node))).collect()
    }

    /// The list, or what stands in for it while there is none.
    fn base(&self, own: &Own, configured: &[(NodeId, String)]) -> MemberList {
        if let Some(list) = &self.list {
            return (**list).clone();
        }
        let address = |node: NodeId| match node {
            node if node == own.node => own.address.clone(),
            node => configured
                .iter()
                .find(|(named, _)| *named == node)
                .map_or_else(String::new, |it| it.1.clone()),
        };
        let members = self.regions.get(&BOOTSTRAP_REGION).map_or(&[][..], |region| &region.members);
        MemberList::of_founders(members.iter().map(|(node, votes)| (*node, *votes, address(*node))))
    }

    fn status(
        &self,
        member: &ListedMember,
        own: NodeId,
        leaders: &[NodeId],
        lasts: &BTreeMap<RegionId, LogIndex>,
    ) -> MemberStatus {
        let node = member.node;
        let wanted = (node, member.role == MemberRole::Voter);
        let settled =
            self.regions.values().filter(|region| !region.is_joint && region.members.contains(&wanted));
        let seen: Vec<_> = self
            .regions
            .iter()
            .filter_map(|(region, members)| {
                let (_, matched, is_live) = members.progress.iter().find(|(other, ..)| *other == node)?;
                let last = lasts.get(region).copied().unwrap_or_default();
                Some((last.get().saturating_sub(matched.get()), *is_live))
            })
            .collect();
        MemberStatus {
            node,
            address: member.address.clone(),
            role: member.role,
            is_preferred: member.is_preferred,
            is_drained: member.is_drained,
            settled_regions: settled.count() as u64,
            seen_regions: seen.len() as u64,
            is_live: node == own || (!seen.is_empty() && seen.iter().all(|(_, is_live)| *is_live)),
            lag_entries: seen.iter().map(|(lag, _)| lag).sum(),
            led_regions: leaders.iter().filter(|leader| **leader == node).count() as u64,
            // The transport knows.
            last_heard: None,
            version: String::new(),
        }
    }
}

fn not_listed(node: NodeId) -> String {
    format!("node {node} is not in the list of members: add it on a member of the cluster")
}

fn taken(node: NodeId) -> String {
    format!(
        "the number {node} belongs to another directory: if that is lost, replace node {node} by a new member under a \
         new number"
    )
}

/// Why an address is refused.
pub(crate) fn open_plaintext(address: &str) -> String {
    format!(
        "{address} is not a loopback address and peer traffic is neither encrypted nor authenticated: set \
         transport.insecure = true if every host that can reach it is trusted"
    )
}
