//! Appends of a stream handle.

use std::sync::Arc;

use durable_streams_client::append::{AppendOutcome, Appender, PendingAppend};
use durable_streams_client::endpoint::Endpoint;
use durable_streams_client::events::Owner;
use durable_streams_client::requests;
use durable_streams_protocol::append::{Append, Batching};
use durable_streams_protocol::error::{Operation, Result as CoreResult};
use durable_streams_protocol::operations::AppendSuccess;
use magnus::value::ReprValue;
use magnus::{Error, RHash, RString, Ruby, Symbol, Value};

use super::{Stream, frozen};
use crate::caller_work::wait_for_call;
use crate::errors::{self, guard};
use crate::events;
use crate::nested::{computing, is_computing};
use crate::ruby_calls::ApplicationCode;
use crate::wait::wait_soon;

impl Stream {
    /// `append(data, content_type, json, seq, batching, details)` -> the new tail (nil if the response to a duplicate
    /// does not have it), and whether the server had stored the data already. JSON data is one value and is checked.
    /// `batching` is true, false or `:shared_values`. If `details` is a Hash, its `:together` becomes the number of
    /// appends in the request, also if the append fails.
    #[expect(
        clippy::too_many_arguments,
        reason = "Ruby's positional arguments, which cost less than a Hash"
    )]
    pub(super) fn append(
        ruby: &Ruby,
        this: &Self,
        data: RString,
        content_type: String,
        json: bool,
        seq: Option<String>,
        batching: Value,
        details: Option<RHash>,
    ) -> Result<(Option<RString>, bool), Error> {
        let alone = !this.shares_requests(ruby, batching);
        let AppendOutcome { outcome, together } = if alone && !this.exactly_once {
            let body = this.payload(ruby, Operation::Append, data, json)?;
            this.outcome(ruby, move |endpoint| {
                requests::append(endpoint, &content_type, body, seq.as_deref())
            })
            .map(alone_in_request)?
        } else {
            let data = this.checked(ruby, Operation::Append, data, json)?;
            let append = Append {
                data,
                content_type: content_type.into(),
                json,
                seq,
                alone,
                closes: false,
            };
            this.append_in_group(ruby, append)?
        };
        if let Some(details) = details {
            details.aset(ruby.to_symbol("together"), together)?;
        }
        let appended = outcome.map_err(|error| errors::raise(ruby, error))?;
        let tail = appended.next_offset.map(|text| frozen(ruby, &text));
        Ok((tail, appended.duplicate))
    }

    /// Sends an append by the handle's group, and waits for its outcome.
    pub(super) fn append_in_group(&self, ruby: &Ruby, append: Append) -> Result<AppendOutcome, Error> {
        guard(ruby, || {
            events::keep_served(ruby)?;
            let (endpoint, todo) = self.call_endpoint(Owner::Call);
            match self.start_append(ruby, endpoint, append) {
                Ok(PendingAppend::Leader(job)) => self.run(ruby, todo, job).map(alone_in_request),
                Ok(PendingAppend::Follower(shared)) => match (todo, self.application.as_ref()) {
                    (None, _) if shared.is_soon() => wait_soon(ruby, shared),
                    (todo, None) => wait_for_call(ruby, None, todo, shared),
                    // The request may wait for this thread to run Ruby calls. A trap handler that interrupts the wait
                    // must not append by the same request.
                    (todo, application) => computing(ruby, || wait_for_call(ruby, application, todo, shared)),
                },
                Err(error) => Ok(alone_in_request(Err(error))),
            }
        })
    }

    fn start_append(&self, ruby: &Ruby, endpoint: Arc<Endpoint>, append: Append) -> CoreResult<PendingAppend> {
        let make = || Appender::new(Arc::clone(&self.endpoint), self.exactly_once);
        let appender = self.appender.get_or_try_make(make)?;
        match self.is_nested(ruby) {
            true => Ok(PendingAppend::Leader(appender.append_apart(endpoint, append))),
            false => appender.append(endpoint, append),
        }
    }

    /// Whether a value callable or `trusted_origins` makes the append, or a trap handler that interrupts an append. A
    /// request of the handle may be waiting for that.
    fn is_nested(&self, ruby: &Ruby) -> bool {
        self.application.is_some() && is_computing(ruby)
    }

    /// Whether an append that the caller makes now may share a request with others.
    fn shares_requests(&self, ruby: &Ruby, batching: Value) -> bool {
        let batching = match Symbol::from_value(batching) {
            Some(_) => Batching::SharedValues,
            None if batching.to_bool() => Batching::On,
            None => Batching::Off,
        };
        let has_values = self.application.as_ref().is_some_and(ApplicationCode::has_values);
        batching.shares(has_values, self.is_nested(ruby))
    }
}

/// The outcome of an append whose request had no other one.
fn alone_in_request(outcome: CoreResult<AppendSuccess>) -> AppendOutcome {
    let was_sent = outcome.as_ref().err().is_none_or(|error| error.attempts().is_some());
    AppendOutcome {
        outcome,
        together: was_sent.then_some(1),
    }
}
