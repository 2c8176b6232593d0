//! Whose batch does the server have? What a producer does to be sure of the first batch of an epoch that it has not
//! written in before: it learns where the stream ends, and reads back from there if the server says that it has the
//! batch already. See "An epoch that may not be new" in the module.

use std::time::Instant;

use super::answer::Answer;
use super::batch::{Body, State};
use super::claims::Settling;
use super::event::{Event, Failure};
use super::lookup::{Lookup, Tail};
use super::machine::{Machine, Phase, Sent};
use super::search::{Found, Wanted};

/// How many batches that were answered as duplicates are kept, to tell them from one that is looked for.
const MOST_SINCE: usize = 16;

/// Who stored what the server says that it has.
enum Author {
    ThisProducer,
    Another,
    /// This one or another: reading back tells.
    Either,
}

impl Machine {
    /// The next thing to look up, if there is one.
    pub fn poll_lookup(&mut self, now: Instant) -> Option<Lookup> {
        let to_send = !self.queue.is_empty() || self.filling.is_some();
        if matches!(self.phase, Phase::Running) && self.tail_is_missing() && to_send {
            let once = match &self.tail {
                Tail::NotAsked => false,
                Tail::ToAskAgain if self.next_try().is_none_or(|at| now >= at) => true,
                _ => return None,
            };
            self.tail = Tail::Asked;
            return Some(Lookup::Tail { once });
        }
        match self.queue.front().map(|batch| &batch.state) {
            Some(State::Disputed { looked_up: false, .. }) if self.sent.is_empty() => {}
            _ => return None,
        }
        let lookup = self.lookup_of_front();
        match self.queue.front_mut().map(|batch| &mut batch.state) {
            Some(State::Disputed { looked_up, .. }) if lookup.is_some() => *looked_up = true,
            _ => {
                self.undecided(now, self.base);
                self.settle(now);
            }
        }
        lookup
    }

    /// How to look up the oldest batch. There is no way if it is not known where the stream ended, or if other batches
    /// that this producer has sent since would be taken for it.
    fn lookup_of_front(&self) -> Option<Lookup> {
        let (front, Tail::Known(known)) = (self.queue.front()?, &self.tail) else {
            return None;
        };
        let wanted = Wanted {
            kind: self.config.body,
            closes: front.closes,
            body: front.body.clone(),
        };
        let later = self.queue.iter().skip(1).filter(|batch| batch.seq.is_some());
        let others = known.since.iter().chain(later.map(|batch| &batch.body));
        (!wanted.resembles(others)).then(|| Lookup::Batch {
            from: known.offset.clone(),
            wanted,
        })
    }

    /// The stream ends at `tail`; `None` if that cannot be known.
    pub fn handle_tail(&mut self, tail: Option<String>) {
        if matches!(self.tail, Tail::Asked) {
            self.tail = tail.map_or(Tail::Unknown, Tail::at);
        }
    }

    /// What a search for a batch has come to.
    pub fn handle_found(&mut self, now: Instant, found: Found) {
        let Some(State::Disputed {
            looked_up: true,
            next_offset,
        }) = self.queue.front().map(|batch| &batch.state)
        else {
            return;
        };
        match found {
            Found::Yes => self.landed_at(now, self.base, next_offset.clone(), true),
            Found::No if self.may_be_anothers() => {
                self.end_dispute(self.base, false);
                self.epoch_is_anothers(now);
            }
            Found::No | Found::Unknown => self.undecided(now, self.base),
        }
        self.settle(now);
    }

    /// A batch has come to the stream in its turn. What follows is needed where a later one may be disputed.
    pub(super) fn remember(&mut self, next_offset: Option<&String>, duplicate: bool, body: Body) {
        if !self.claims.any() {
            self.tail = Tail::NotAsked;
        } else if let (Some(offset), false) = (next_offset, duplicate) {
            self.tail = Tail::at(offset.clone());
        } else if let Tail::Known(known) = &mut self.tail {
            known.since.push(body);
            if known.since.len() > MOST_SINCE {
                self.tail = Tail::Unknown;
            }
        }
    }

    /// Before a new epoch: the end of the stream is asked for again, unless nothing was stored since it was last known.
    pub(super) fn forget_tail(&mut self) {
        if !matches!(&self.tail, Tail::Known(known) if known.since.is_empty()) {
            self.tail = Tail::NotAsked;
        }
    }

    /// Whether this producer has still to find out if the epoch is its own: it was not told by its owner where to go on,
    /// and no answer has said that it began the epoch.
    pub(super) fn may_be_anothers(&self) -> bool {
        !self.established && (self.claims.any() || self.config.next_seq.is_none())
    }

    /// Whether nothing may be sent for want of the tail.
    pub(super) fn tail_is_missing(&self) -> bool {
        self.may_be_anothers() && !self.tail.is_settled()
    }

    /// When the oldest batch may be tried again, if it waits for that.
    pub(super) fn next_try(&self) -> Option<Instant> {
        match self.queue.front()?.state {
            State::BackOff(until) => Some(until),
            _ => None,
        }
    }

    /// A request has surely not reached the server, or was surely refused.
    pub(super) fn ask_again(&mut self, doubt: bool) {
        if !doubt && self.may_be_anothers() && matches!(self.tail, Tail::Unknown) {
            self.tail = Tail::ToAskAgain;
        }
    }

    /// Whether the tail is being asked for, or will be as soon as somebody looks.
    pub(super) fn tail_is_on_its_way(&self) -> bool {
        self.tail_is_missing() && !matches!(self.tail, Tail::ToAskAgain)
    }

    /// An answer said that the server has the batch. Tells whether this is settled otherwise than by a delivery.
    pub(super) fn disputed(&mut self, now: Instant, sent: &Sent, answer: &Answer, duplicate: bool) -> bool {
        let author = self.author(sent, answer, duplicate);
        if matches!(author, Author::ThisProducer) {
            return false;
        }
        self.dispute(sent.number, answer.next_offset.clone());
        match author {
            Author::Another if self.may_be_anothers() => {
                self.end_dispute(sent.number, false);
                self.epoch_is_anothers(now);
            }
            Author::Another => self.undecided(now, sent.number),
            _ if matches!(self.tail, Tail::Known(_)) => {}
            _ => self.undecided(now, sent.number),
        }
        true
    }

    /// Who stored the batch that the server says it has.
    fn author(&mut self, sent: &Sent, answer: &Answer, duplicate: bool) -> Author {
        let (claimed, first) = (self.claims.any(), self.may_be_anothers());
        if !duplicate || (!claimed && self.config.next_seq.is_some()) {
            return Author::ThisProducer;
        }
        if answer.producer_seq.is_some_and(|seq| seq >= self.next_seq) {
            return Author::Another;
        }
        let Some(batch) = self.batch(sent) else {
            return Author::ThisProducer;
        };
        match batch.count {
            // A request that only closes is answered so the first time too. (That the stream is closed then, some servers
            // say even if it is not.)
            0 if !first => Author::ThisProducer,
            _ if first => Author::Either,
            // Never sent before, in an epoch that this producer has chosen by itself: others may have chosen it too.
            _ if claimed && !batch.doubt => Author::Either,
            _ => Author::ThisProducer,
        }
    }

    /// It is to be looked up whose the batch at `number` is.
    pub(super) fn dispute(&mut self, number: u64, next_offset: Option<String>) {
        let Some(batch) = self.queue.get_mut((number - self.base) as usize) else {
            return;
        };
        if batch.held() {
            self.held -= 1;
        }
        self.disputes += 1;
        batch.doubt = true;
        batch.state = State::Disputed {
            looked_up: false,
            next_offset,
        };
    }

    /// The batch at `number` is not known to be in the stream, or (`doubt`: false) known not to be.
    fn end_dispute(&mut self, number: u64, doubt: bool) {
        if let Some(batch) = self.queue.get_mut((number - self.base) as usize) {
            batch.state = State::Parked;
            batch.doubt = doubt;
            self.disputes -= 1;
            self.held += 1;
        }
    }

    /// The server has a batch of another under the first number of this epoch: nothing of this producer's was stored in
    /// it.
    fn epoch_is_anothers(&mut self, now: Instant) {
        let epoch = self.epoch;
        match self.phase {
            Phase::Running if self.config.auto_claim => {
                self.phase = Phase::Settling(Settling::Claim {
                    current_epoch: epoch,
                    response: None,
                });
            }
            Phase::Running => self.fail(now, Failure::EpochReused { epoch }),
            _ => {}
        }
    }

    /// Nobody can tell whose the batch is that the server has. In an epoch that the owner chose it is taken for this
    /// producer's, as far as anyone can tell, until an answer says whose the epoch is, and so is a request that only
    /// closes; otherwise others are in the epoch too.
    fn undecided(&mut self, now: Instant, number: u64) {
        let Some(batch) = self.queue.get((number - self.base) as usize) else {
            return;
        };
        let State::Disputed { next_offset, .. } = &batch.state else {
            return;
        };
        let (next_offset, first, count) = (next_offset.clone(), batch.first, batch.count);
        let (epoch, is_first) = (self.epoch, self.may_be_anothers());
        if is_first {
            self.tail = Tail::Unknown;
        }
        if is_first && !matches!(self.phase, Phase::Running) {
            self.end_dispute(number, true);
        } else if !is_first || (self.claims.any() && count > 0) {
            self.end_dispute(number, true);
            self.claims.collided = true;
            self.fail(now, Failure::StaleEpoch { current_epoch: epoch });
        } else {
            self.events.push_back(Event::Assumed { first, count, epoch });
            self.landed_at(now, number, next_offset, true);
            // The next batch travels alone too, and its answer is not trusted either.
            self.established = false;
        }
    }
}
