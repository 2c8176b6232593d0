//! The producer ids under which the appends of a handle are stored once, although they are sent again: [`OnceIds`] and
//! [`OnceId`].
//!
//! A request has the next sequence number of an id. The server stores a number once. So a request whose outcome is not
//! known may be sent again, with the same number and the same bytes.
//!
//! An id has one request at a time. Almost always one id is enough. While a request waits for code of the application,
//! other requests of the handle go out: those have another id.

use std::time::Duration;

use http::HeaderValue;

use crate::error::{Error, Kind, Operation, Result};
use crate::operations::AppendSuccess;
use crate::protocol::{PRODUCER_EPOCH, PRODUCER_ID, PRODUCER_SEQ};
use crate::request::{Repeat, Request};
use crate::retry::patience::Patience;

/// How long after its arrival an append is sent again: as long as a producer's batch by default.
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// The epoch of every id. No other producer knows the ids, so none claims another epoch.
const EPOCH: u64 = 0;

/// The ids of a handle in one process.
#[derive(Debug)]
pub(super) struct OnceIds {
    random: u128,
    /// The number of ids so far.
    made: u64,
    /// The ids that no request uses now.
    idle: Vec<OnceId>,
    /// Whether the number of retries is unlimited after the first success, because nobody has chosen a retry policy.
    patient: bool,
    /// Whether an append was stored.
    has_succeeded: bool,
}

/// A producer id, used by one request at a time.
#[derive(Debug)]
pub(super) struct OnceId {
    name: String,
    /// How often a new id has taken the place of this one.
    renewals: u64,
    seq: u64,
    /// Whether a request with the number `seq` may have reached the server, and its outcome is not known.
    pending: bool,
    /// As of the handle.
    patient: bool,
    has_succeeded: bool,
}

/// What follows the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterRequest {
    /// Its outcome is that of its appends.
    Done,
    /// The server has forgotten the id and stored nothing. Send the appends again, with the new id.
    SendAgain,
}

impl OnceIds {
    /// Ids that nobody else uses, because they contain `random`.
    pub(super) fn new(random: u128, patient: bool) -> Self {
        Self {
            random,
            made: 0,
            idle: Vec::new(),
            patient,
            has_succeeded: false,
        }
    }

    /// An id that no other request uses.
    pub(super) fn take(&mut self) -> OnceId {
        let id = self.idle.pop().unwrap_or_else(|| {
            self.made += 1;
            OnceId {
                name: format!("append-{:032x}-{}", self.random, self.made),
                renewals: 0,
                seq: 0,
                pending: false,
                patient: self.patient,
                has_succeeded: false,
            }
        });
        OnceId {
            has_succeeded: self.has_succeeded,
            ..id
        }
    }

    /// The request has ended, or will not be sent again. An id whose last number has an unknown outcome is never used
    /// again.
    pub(super) fn give_back(&mut self, id: OnceId) {
        self.has_succeeded |= id.has_succeeded;
        if !id.pending {
            self.idle.push(id);
        }
    }
}

impl OnceId {
    /// Gives `request` the next number. From now on it may be sent.
    ///
    /// # Errors
    /// `Kind::Internal` if a header cannot have the id, which is a bug.
    pub(super) fn number(&mut self, mut request: Request) -> Result<Request> {
        let id = match self.renewals {
            0 => HeaderValue::from_str(&self.name),
            renewals => HeaderValue::try_from(format!("{}.{renewals}", self.name)),
        };
        let id = id.map_err(|error| Error::plain(Kind::Internal, format!("internal error: {error}")))?;
        request.headers.insert(PRODUCER_ID, id);
        request.headers.insert(PRODUCER_EPOCH, EPOCH.into());
        request.headers.insert(PRODUCER_SEQ, self.seq.into());
        request.repeat = Repeat::Safe;
        request.operation = match request.operation {
            Operation::CloseWithData => Operation::CloseOnce,
            operation => Operation::AppendOnce {
                with_seq: operation == Operation::AppendWithSeq,
            },
        };
        self.pending = true;
        Ok(request)
    }

    /// How long the next request is sent again, if its newest append has `waited` before.
    pub(super) fn patience(&self, waited: Duration) -> Patience {
        Patience {
            without_limit: self.patient && self.has_succeeded,
            timeout: Some(DELIVERY_TIMEOUT.saturating_sub(waited)),
        }
    }

    /// A try has ended, and surely no try of the request was carried out. Its appends may change before the next one.
    pub(super) fn surely_not_stored(&mut self) {
        self.pending = false;
    }

    /// The request has ended with this outcome.
    ///
    /// | outcome | the number | the appends |
    /// | --- | --- | --- |
    /// | a success | the next one | done |
    /// | an error, and the server may have stored the request | a new id | done |
    /// | the server does not know the id any more, and knew it before (`seq` > 0) | a new id | sent again |
    /// | the server does not accept the id for another reason | a new id | done |
    /// | any other error: nothing was stored | the same one | done |
    ///
    /// A server can forget an id only after it has stored a request with it, and then `seq` is above 0. If it rejects
    /// the first number of an id, it rejects those of a new id too: to send the appends again would have no end.
    pub(super) fn ended(&mut self, outcome: &Result<AppendSuccess>) -> AfterRequest {
        let was_used = self.seq > 0;
        match outcome {
            Ok(_) => {
                self.pending = false;
                self.seq += 1;
                self.has_succeeded = true;
                AfterRequest::Done
            }
            Err(error) if error.outcome_unknown() || (self.pending && proves_nothing(error)) => {
                self.renew();
                AfterRequest::Done
            }
            Err(error) if is_about_id(error) => {
                self.renew();
                match was_used && is_forgotten(error) {
                    true => AfterRequest::SendAgain,
                    false => AfterRequest::Done,
                }
            }
            Err(_) => {
                self.pending = false;
                AfterRequest::Done
            }
        }
    }

    /// The request will not be sent again, and its appends are abandoned.
    pub(super) fn abandoned(&mut self) {
        if self.pending {
            self.renew();
        }
    }

    fn renew(&mut self) {
        self.renewals += 1;
        self.seq = 0;
        self.pending = false;
    }
}

/// Whether the error is not from the server: an in-memory transport may raise after it has stored the appends.
fn proves_nothing(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Application(_) | Kind::Abandoned | Kind::Closed | Kind::Internal
    )
}

fn is_about_id(error: &Error) -> bool {
    matches!(error.kind(), Kind::SequenceGap { .. } | Kind::StaleEpoch { .. })
}

/// Whether the server has only forgotten the id: it expects an earlier number, or says that the epoch has expired. If
/// it has a higher epoch, another producer uses the id.
fn is_forgotten(error: &Error) -> bool {
    match error.kind() {
        Kind::SequenceGap { .. } => true,
        Kind::StaleEpoch { current_epoch } => current_epoch.is_none_or(|epoch| epoch == EPOCH),
        _ => false,
    }
}
