use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::error::{About, Kind};
use crate::operations;
use crate::retry::policy::RetryPolicy;

/// How a try ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    NotSent,
    /// The response is lost, after the server has acted or not.
    Lost {
        acted: bool,
    },
    /// A gateway's response, after the server has acted or not.
    Gateway {
        acted: bool,
    },
    /// The server's own response.
    Status(u16),
    Final,
}

use End::{Final, Gateway, Lost, NotSent, Status};

const ENDS: [End; 13] = [
    NotSent,
    Lost { acted: false },
    Lost { acted: true },
    Gateway { acted: false },
    Gateway { acted: true },
    Status(204),
    Status(307),
    Status(401),
    Status(404),
    Status(408),
    Status(409),
    Status(429),
    Final,
];

const OPERATIONS: [(Operation, Repeat); 8] = [
    (Operation::Create, Repeat::Safe),
    (Operation::Head, Repeat::Safe),
    (Operation::Read, Repeat::Safe),
    (Operation::Append, Repeat::UnlessSent),
    (Operation::AppendWithSeq, Repeat::Safe),
    (Operation::Close, Repeat::Safe),
    (Operation::CloseWithData, Repeat::UnlessSent),
    (Operation::Delete, Repeat::Safe),
];

impl End {
    fn outcome(self, about: About<'_>) -> std::result::Result<Response, RequestFailure> {
        let error = || about.error(Kind::Connection, "lost");
        let status = match self {
            NotSent => return Err(RequestFailure::NotSent(error())),
            Lost { .. } => return Err(RequestFailure::ResponseLost(error())),
            Final => return Err(RequestFailure::Final(error())),
            Gateway { .. } => 503,
            Status(status) => status,
        };
        Ok(Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            tries: TriesSoFar::default(),
            redirected: None,
        })
    }

    fn acts(self) -> bool {
        matches!(self, Lost { acted: true } | Gateway { acted: true } | Status(204))
    }
}

/// One operation, by a policy of two retries that names 408, 409 and 429 too.
struct Trial {
    began: Instant,
    seconds: u64,
    tries: Tries,
    operation: Operation,
    repeat: Repeat,
    policy: RetryPolicy,
}

impl Trial {
    fn new((operation, repeat): (Operation, Repeat)) -> Self {
        let began = Instant::now();
        Self {
            began,
            seconds: 0,
            tries: Tries::new(began, false),
            operation,
            repeat,
            policy: RetryPolicy {
                max_retries: 2,
                statuses: vec![408, 409, 429, 503],
                ..RetryPolicy::for_tests()
            },
        }
    }

    fn context(&self) -> Context<'_> {
        let operation = self.operation;
        Context {
            about: About {
                operation,
                url: "http://h/s",
            },
            policy: &self.policy,
            now: SystemTime::UNIX_EPOCH,
        }
    }

    /// What follows a try that ends so, a second after the one before.
    fn after(&mut self, end: End) -> RetryDecision {
        self.seconds += 1;
        let now = self.began + Duration::from_secs(self.seconds);
        let mut tries = self.tries.clone();
        let decision = tries.handle_outcome(
            now,
            &self.context(),
            self.repeat,
            end.outcome(self.context().about),
            1.0,
        );
        self.tries = tries;
        decision
    }

    fn is_retried_after(&mut self, end: End) -> bool {
        matches!(self.after(end), RetryDecision::RetryAfter { .. })
    }

    /// The operation's outcome after tries that ended so. All but the last one are retried.
    fn outcome(&mut self, ends: &[End]) -> Result<()> {
        let (last, before) = ends.split_last().unwrap();
        for end in before {
            assert!(self.is_retried_after(*end), "{:?} after {end:?}", self.operation);
        }
        match self.after(*last) {
            RetryDecision::RetryAfter { .. } => panic!("{:?} is retried after {ends:?}", self.operation),
            RetryDecision::Done(outcome) => self.meaning(outcome?),
        }
    }

    fn meaning(&self, response: Response) -> Result<()> {
        match self.operation {
            Operation::Delete => operations::deleted(response, &self.context()),
            _ => self.context().expect(response, &[204]).map(drop),
        }
    }
}

fn unknown(operation: (Operation, Repeat), ends: &[End]) -> bool {
    Trial::new(operation).outcome(ends).unwrap_err().outcome_unknown()
}

#[test]
fn what_is_retried_is_as_the_table_says() {
    for operation in OPERATIONS {
        let repeated: Vec<End> = ENDS
            .into_iter()
            .filter(|end| Trial::new(operation).is_retried_after(*end))
            .collect();
        let lasting = matches!(
            operation.0,
            Operation::Create
                | Operation::Append
                | Operation::AppendWithSeq
                | Operation::Close
                | Operation::CloseWithData
        );
        let expected: Vec<End> = ENDS
            .into_iter()
            .filter(|end| match end {
                NotSent | Status(408 | 429) => true,
                Lost { .. } | Gateway { .. } => operation.1 == Repeat::Safe,
                Status(409) => !lasting,
                _ => false,
            })
            .collect();
        assert_eq!(repeated, expected, "{operation:?}");
    }
}

#[test]
fn retries_end_with_the_policy_and_the_error_says_how_many_there_were() {
    for (end, status) in [(NotSent, None), (Status(429), Some(429))] {
        for operation in OPERATIONS {
            let error = Trial::new(operation).outcome(&[end; 3]).unwrap_err();
            assert_eq!(error.status(), status);
            assert_eq!(
                (error.attempts(), error.elapsed()),
                (Some(3), Some(Duration::from_secs(3)))
            );
            assert!(error.message().ends_with("(3 tries in 3.00 s)"), "{error}");
            assert!(!error.outcome_unknown());
        }
    }
}

#[test]
fn the_error_of_a_single_try_does_not_mention_tries() {
    let error = Trial::new(OPERATIONS[0]).outcome(&[Status(404)]).unwrap_err();
    assert_eq!(error.attempts(), Some(1));
    assert!(!error.message().contains("tries"), "{error}");
}

#[test]
fn an_append_that_may_be_stored_is_an_unknown_outcome_at_once_and_the_error_says_how_to_retry() {
    for operation in OPERATIONS
        .into_iter()
        .filter(|(_, repeat)| *repeat == Repeat::UnlessSent)
    {
        for end in [Lost { acted: true }, Gateway { acted: true }, Status(500), Status(202)] {
            let error = Trial::new(operation).outcome(&[Status(429), end]).unwrap_err();
            assert!(error.outcome_unknown() && !error.is_safe_to_repeat(), "{error}");
            assert!(
                error.message().contains("Producer#append! and exactly_once: true"),
                "{error}"
            );
            assert_eq!(error.attempts(), Some(2));
        }
    }
}

#[test]
fn doubt_remains_until_a_success() {
    let writes = OPERATIONS.into_iter().filter(|(operation, _)| operation.writes());
    for operation in writes.filter(|(_, repeat)| *repeat == Repeat::Safe) {
        for doubt in [Lost { acted: true }, Gateway { acted: true }] {
            for last in [Status(307), Status(400), Status(401), Status(409), Status(413), Final] {
                let error = Trial::new(operation).outcome(&[doubt, NotSent, last]).unwrap_err();
                assert!(error.outcome_unknown(), "{operation:?} {doubt:?} {last:?}");
                assert!(error.is_safe_to_repeat());
                assert!(!error.message().contains("exactly_once"), "{error}");
            }
            assert!(unknown(operation, &[doubt, NotSent, NotSent]));
            assert!(unknown(operation, &[Status(429), NotSent, doubt]));
            assert!(Trial::new(operation).outcome(&[doubt, Status(204)]).is_ok());
        }
    }
}

#[test]
fn a_read_is_never_in_doubt() {
    for operation in [OPERATIONS[1], OPERATIONS[2]] {
        assert!(!unknown(
            operation,
            &[Lost { acted: false }, Gateway { acted: false }, Status(404)]
        ));
        assert!(!unknown(operation, &[Lost { acted: false }; 3]));
    }
}

#[test]
fn a_stream_that_is_gone_after_a_delete_in_doubt_was_deleted() {
    let delete = (Operation::Delete, Repeat::Safe);
    for doubt in [Lost { acted: true }, Gateway { acted: true }] {
        for gone in [Status(404), Status(410)] {
            assert!(Trial::new(delete).outcome(&[doubt, gone]).is_ok());
            assert!(Trial::new(delete).outcome(&[NotSent, gone]).is_err());
        }
    }
}

#[test]
fn a_sequence_conflict_after_a_try_in_doubt_may_be_with_that_try() {
    let append = (Operation::AppendWithSeq, Repeat::Safe);
    let conflict = Trial::new(append)
        .outcome(&[Gateway { acted: true }, Status(409)])
        .unwrap_err();
    assert!(matches!(conflict.kind(), Kind::SeqConflict) && conflict.outcome_unknown());
    let conflict = Trial::new(append).outcome(&[NotSent, Status(409)]).unwrap_err();
    assert!(!conflict.outcome_unknown());
}

#[test]
fn fresh_values_are_computed_once_and_only_for_reads() {
    for operation in OPERATIONS {
        let reads = !operation.0.writes();
        for status in [Status(401), Status(403)] {
            let mut trial = Trial::new(operation);
            trial.tries.fresh_values = true;
            let next = trial.after(status);
            assert_eq!(
                reads,
                matches!(
                    next,
                    RetryDecision::RetryAfter {
                        delay: Duration::ZERO,
                        ..
                    }
                )
            );
            assert!(!trial.is_retried_after(status));
            assert!(!Trial::new(operation).is_retried_after(status));
        }
    }
}

/// Every sequence of three tries: an append without `seq` is carried out once at most, and an outcome that is not
/// unknown is true.
#[test]
fn every_outcome_is_true() {
    for operation in OPERATIONS {
        let writes = operation.0.writes();
        for ends in (0..ENDS.len().pow(3)).map(|n| [n % 13, n / 13 % 13, n / 169].map(|n| ENDS[n])) {
            let mut trial = Trial::new(operation);
            let mut acted = 0;
            for end in ends {
                acted += u32::from(writes && end.acts());
                let RetryDecision::Done(outcome) = trial.after(end) else {
                    continue;
                };
                match outcome.and_then(|response| trial.meaning(response)) {
                    // A stream that was there no more may have been deleted by another client.
                    Ok(()) => assert!(
                        !writes || acted > 0 || operation.0 == Operation::Delete,
                        "{operation:?} {ends:?}"
                    ),
                    Err(error) => assert!(acted == 0 || error.outcome_unknown(), "{operation:?} {ends:?}"),
                }
                assert!(operation.1 == Repeat::Safe || acted <= 1, "{operation:?} {ends:?}");
                break;
            }
        }
    }
}
