//! [`Group`] decides which append leads, and which appends share the next request.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::batch::{AppendBatch, Caller, Follower, MANY};
use super::message::Append;
use super::once::OnceIds;
use super::sharing::can_share;

/// After a request with many appends, the leader sends the next one when no append has arrived for this long …
const QUIET: Duration = Duration::from_micros(5);
/// … or after this time.
const LONGEST_GATHERING: Duration = Duration::from_micros(50);

/// The appends of one handle. One leader at a time sends requests. Followers wait in a queue.
///
/// Call [`Group::arrive`] for every append. A leader sends its own append at once, in a request of its own. A follower
/// is put into the queue. When the leader's own request has ended, call [`Group::leader_ends`].
///
/// Call [`Group::leader_waits`] before a leader waits for code of the application, such as a value callable. That code
/// may append to the same stream and wait for the outcome, so another leader has to send meanwhile. Afterwards, call
/// [`Group::leader_continues`]. The leader finishes the request that it has begun, even if it does not lead again.
///
/// `leader_ends` and `leader_waits` may return a new leader. Start a loop for it that carries out [`Group::poll_next`]
/// until [`LeaderAction::End`].
#[derive(Debug)]
pub struct Group<C> {
    waiting: VecDeque<Follower<C>>,
    leader: Option<Leader>,
    /// The number of leaders so far.
    leaders: u64,
    /// The leaders that wait for the application, each with the number of waits.
    paused: Vec<(Leader, u32)>,
    gathering: Gathering,
    /// With `exactly_once`: the ids that number the requests.
    once: Option<OnceIds>,
}

/// Identifies a leader of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader(u64);

/// The role of an append that arrives.
#[derive(Debug)]
pub enum Arrival<'a, C> {
    /// It leads.
    Leads(Leader),
    /// It follows: put it into this queue.
    Follows(Queue<'a, C>),
}

impl<C> Arrival<'_, C> {
    /// The leader, or `None` if the append follows. In that case it is not in the queue, and may arrive again.
    pub fn leader(self) -> Option<Leader> {
        match self {
            Arrival::Leads(leader) => Some(leader),
            Arrival::Follows(_) => None,
        }
    }
}

/// The queue of followers.
#[derive(Debug)]
pub struct Queue<'a, C>(&'a mut VecDeque<Follower<C>>);

impl<C> Queue<'_, C> {
    /// Adds a follower that arrives `now`.
    pub fn push(self, append: Append, caller: C, now: Instant) {
        self.0.push_back(Follower {
            append,
            caller,
            arrived: now,
        });
    }
}

/// What a leader does next.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a batch is moved once for each request, which costs less than a box"
)]
pub enum LeaderAction<C> {
    /// Send this batch and report to its callers, as [`AppendBatch`] describes. Then poll again.
    Send(AppendBatch<C>),
    /// Let other threads run for a moment, because they are about to append. Then poll again.
    Gather,
    /// Stop: no follower waits, or another leader leads.
    End,
}

/// Whether the leader waits for followers before the next request. When many threads have just got their outcomes, they
/// append again soon. One request for all of them costs less than several.
#[derive(Clone, Copy, Debug)]
enum Gathering {
    /// It does not wait.
    Off,
    /// It will, when the batch in flight has ended.
    AfterBatch,
    /// It waits.
    Since {
        began: Instant,
        /// The number of followers when the last one arrived.
        seen: usize,
        /// When the last one arrived.
        last: Instant,
    },
}

impl<C> Default for Group<C> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            leader: None,
            leaders: 0,
            paused: Vec::new(),
            gathering: Gathering::Off,
            once: None,
        }
    }
}

impl<C: Caller> Group<C> {
    /// The appends of a handle with `exactly_once`. `random` is in the producer ids, so that nobody else has the same.
    /// `patient`: nobody has chosen a retry policy, so appends outlast outages.
    pub fn exactly_once(random: u128, patient: bool) -> Self {
        Self {
            once: Some(OnceIds::new(random, patient)),
            ..Self::default()
        }
    }

    /// A leader with an append that must not wait for other requests, and for which no others wait. It may lead later,
    /// after [`Group::leader_continues`].
    pub fn arrive_apart(&mut self) -> Leader {
        self.leaders += 1;
        Leader(self.leaders)
    }

    /// The batch of a leader's own append, which arrives `now`. With `exactly_once`, a leader sends that too as
    /// [`AppendBatch`] describes.
    pub fn own_batch(&mut self, append: Append, caller: C, now: Instant) -> AppendBatch<C> {
        self.batch(vec![Follower {
            append,
            caller,
            arrived: now,
        }])
    }

    /// A batch has ended. If it is dropped instead, later requests have another producer id.
    pub fn batch_ends(&mut self, batch: AppendBatch<C>) {
        if let Some(ids) = &mut self.once
            && let Some(id) = batch.into_once()
        {
            ids.give_back(id);
        }
    }

    fn batch(&mut self, followers: Vec<Follower<C>>) -> AppendBatch<C> {
        AppendBatch::new(followers, self.once.as_mut().map(OnceIds::take))
    }

    /// An append arrives. It leads if there is no leader.
    pub fn arrive(&mut self) -> Arrival<'_, C> {
        match self.leader {
            None => Arrival::Leads(self.new_leader()),
            Some(_) => Arrival::Follows(Queue(&mut self.waiting)),
        }
    }

    /// `leader` is about to wait for the application, and does not lead meanwhile. Returns the new leader if followers
    /// wait.
    #[must_use]
    pub fn leader_waits(&mut self, leader: Leader) -> Option<Leader> {
        match self.paused.iter_mut().find(|(paused, _)| *paused == leader) {
            Some((_, reasons)) => *reasons += 1,
            None => self.paused.push((leader, 1)),
        }
        self.hand_over(leader)
    }

    /// One wait of `leader` has ended. If it was the last one and there is no leader, `leader` leads again.
    pub fn leader_continues(&mut self, leader: Leader) {
        if let Some(index) = self.paused.iter().position(|(paused, _)| *paused == leader) {
            self.paused[index].1 -= 1;
            if self.paused[index].1 == 0 {
                self.paused.swap_remove(index);
                self.leader.get_or_insert(leader);
            }
        }
    }

    /// The request of `leader` has ended, or was cancelled. Returns the new leader if followers wait and nobody else
    /// leads.
    #[must_use]
    pub fn leader_ends(&mut self, leader: Leader) -> Option<Leader> {
        self.paused.retain(|(paused, _)| *paused != leader);
        self.hand_over(leader)
    }

    /// What `leader` does next. After [`LeaderAction::End`] it is no leader any more.
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

    /// The appends of the next request: those that may share one, in the order of their arrival. Abandoned appends are
    /// dropped.
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
        (!followers.is_empty()).then(|| self.batch(followers))
    }
}
