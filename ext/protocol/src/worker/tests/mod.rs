use std::time::{Instant, SystemTime};

use super::WorkerMachine;
use crate::error::{About, Operation};
use crate::request::{Context, RequestFailure, Response};
use crate::retry::policy::RetryPolicy;
use crate::subscriptions::SubscriptionOperation;

mod failure_rules;
mod rig;
mod rules;
mod simulation;

/// Ends the machine's request.
fn end_request(
    machine: &mut WorkerMachine,
    now: Instant,
    operation: SubscriptionOperation,
    outcome: Result<Response, RequestFailure>,
) {
    let context = Context {
        about: About {
            operation: Operation::Subscription(operation),
            url: "http://h",
        },
        policy: &RetryPolicy::for_tests(),
        now: SystemTime::UNIX_EPOCH,
    };
    machine.handle_outcome(now, &context, outcome);
}
