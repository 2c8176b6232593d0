//! Who leads, and which appends share a request.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::batch::{AppendBatch, Caller, Follower, MANY};
use super::message::Append;
use super::sharing::can_share;

/// After a request of many appends, the next one goes out when no append has arrived for this long …
const QUIET: Duration = Duration::from_micros(5);
/// … or after this time.
const LONGEST_GATHERING: Duration = Duration::from_micros(50);

/// The appends of one handle: at most one leader sends at a time, and the followers that arrive meanwhile wait here.
///
/// For every append, call [`Group::arrive`]. An append that leads goes out at once, by itself; one that follows waits.
/// When the leader's own request has ended, call [`Group::leader_ends`].
///
/// Before a leader waits for the application (which computes a header, say), call [`Group::leader_waits`], since the
/// application may append to the same stream and wait for that. Then call [`Group::leader_continues`]: the leader
/// finishes what it has begun, whether it leads again or not.
///
/// Either call may name a new leader. For that one, start a loop that does what [`Group::poll_next`] says, until it says
/// [`LeaderAction::End`].
#[derive(Debug)]
pub struct Group<C> {
    waiting: VecDeque<Follower<C>>,
    leader: Option<Leader>,
    /// How many leaders there have been.
    leaders: u64,
    /// The leaders that wait for the application, and for how many things each.
    paused: Vec<(Leader, u32)>,
    gathering: Gathering,
}

/// A leader of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader(u64);

/// What an append does that arrives.
#[derive(Debug)]
pub enum Arrival<'a, C> {
    /// It leads.
    Leads(Leader),
    /// It waits for its turn here.
    Follows(Queue<'a, C>),
}

impl<C> Arrival<'_, C> {
    /// The leader that it is, if it leads. If not, it does not wait either: it may arrive again.
    pub fn leader(self) -> Option<Leader> {
        match self {
            Arrival::Leads(leader) => Some(leader),
            Arrival::Follows(_) => None,
        }
    }
}

/// Where followers wait.
#[derive(Debug)]
pub struct Queue<'a, C>(&'a mut VecDeque<Follower<C>>);

impl<C> Queue<'_, C> {
    /// Adds a follower.
    pub fn push(self, append: Append, caller: C) {
        self.0.push_back(Follower { append, caller });
    }
}

/// What a leader does next.
#[derive(Debug)]
pub enum LeaderAction<C> {
    /// Send this batch and tell its callers, as [`AppendBatch`] says. Then poll again.
    Send(AppendBatch<C>),
    /// Let others run for a moment, then poll again: appends are about to arrive.
    Gather,
    /// Nothing more: no follower waits, or somebody else leads.
    End,
}

/// Whether the leader waits for followers before the next request. Many threads that were just told their outcomes come
/// back with their next appends, and one request for them all costs less than several.
#[derive(Clone, Copy, Debug)]
enum Gathering {
    /// It does not wait.
    Off,
    /// It will, once the batch that is out has ended.
    AfterBatch,
    /// It does.
    Since {
        began: Instant,
        /// How many followers waited when one was last seen to arrive, and when that was.
        seen: usize,
        last: Instant,
    },
}

impl<C> Default for Group<C> {
    fn default() -> Group<C> {
        Group {
            waiting: VecDeque::new(),
            leader: None,
            leaders: 0,
            paused: Vec::new(),
            gathering: Gathering::Off,
        }
    }
}

impl<C: Caller> Group<C> {
    /// An append arrives. It leads if nobody else does.
    pub fn arrive(&mut self) -> Arrival<'_, C> {
        match self.leader {
            None => Arrival::Leads(self.new_leader()),
            Some(_) => Arrival::Follows(Queue(&mut self.waiting)),
        }
    }

    /// `leader` is about to wait for the application, and does not lead meanwhile. If followers wait, gives the new
    /// leader.
    #[must_use]
    pub fn leader_waits(&mut self, leader: Leader) -> Option<Leader> {
        match self.paused.iter_mut().find(|(paused, _)| *paused == leader) {
            Some((_, reasons)) => *reasons += 1,
            None => self.paused.push((leader, 1)),
        }
        self.hand_over(leader)
    }

    /// `leader` has what it waited for. If it waits for nothing else and nobody leads, it leads again.
    pub fn leader_continues(&mut self, leader: Leader) {
        if let Some(index) = self.paused.iter().position(|(paused, _)| *paused == leader) {
            self.paused[index].1 -= 1;
            if self.paused[index].1 == 0 {
                self.paused.swap_remove(index);
                self.leader.get_or_insert(leader);
            }
        }
    }

    /// The request of `leader` has ended, or was cancelled. If followers wait and nobody else leads, gives the new leader.
    #[must_use]
    pub fn leader_ends(&mut self, leader: Leader) -> Option<Leader> {
        self.paused.retain(|(paused, _)| *paused != leader);
        self.hand_over(leader)
    }

    /// What `leader` does next. [`LeaderAction::End`] ends it.
    pub fn poll_next(&mut self, leader: Leader, now: Instant) -> LeaderAction<C> {
        if self.leader != Some(leader) {
            self.paused.retain(|(paused, _)| *paused != leader);
            return LeaderAction::End;
        }
        if self.gathers(now) {
            return LeaderAction::Gather;
        }
        match self.next_batch() {
            Some(batch) => LeaderAction::Send(batch),
            None => {
                self.leader = None;
                LeaderAction::End
            }
        }
    }

    fn hand_over(&mut self, leader: Leader) -> Option<Leader> {
        if self.leader != Some(leader) {
            return None;
        }
        self.leader = None;
        (!self.waiting.is_empty()).then(|| self.new_leader())
    }

    fn new_leader(&mut self) -> Leader {
        self.leaders += 1;
        self.gathering = Gathering::Off;
        *self.leader.insert(Leader(self.leaders))
    }

    fn gathers(&mut self, now: Instant) -> bool {
        let (began, mut seen, mut last) = match self.gathering {
            Gathering::Off => return false,
            Gathering::AfterBatch => (now, 0, now),
            Gathering::Since { began, seen, last } => (began, seen, last),
        };
        if self.waiting.len() > seen {
            (seen, last) = (self.waiting.len(), now);
        }
        let is_over =
            now.saturating_duration_since(last) >= QUIET || now.saturating_duration_since(began) >= LONGEST_GATHERING;
        self.gathering = match is_over {
            true => Gathering::Off,
            false => Gathering::Since { began, seen, last },
        };
        !is_over
    }

    /// The appends that go out next: those that may share a request, in the order of their arrival, without those whose
    /// callers have left.
    fn next_batch(&mut self) -> Option<AppendBatch<C>> {
        let mut followers: Vec<Follower<C>> = Vec::new();
        let mut size = 0;
        while let Some(next) = self.waiting.front() {
            let has_abandoned = next.caller.has_abandoned();
            let fits = followers
                .first()
                .is_none_or(|first| can_share(&first.append, size, &next.append));
            if !has_abandoned && !fits {
                break;
            }
            let next = self.waiting.pop_front().filter(|_| !has_abandoned);
            size += next.as_ref().map_or(0, |next| next.append.data.len() + 1);
            followers.extend(next);
        }
        self.gathering = match followers.len() >= MANY {
            true => Gathering::AfterBatch,
            false => Gathering::Off,
        };
        (!followers.is_empty()).then(|| AppendBatch::new(followers))
    }
}
