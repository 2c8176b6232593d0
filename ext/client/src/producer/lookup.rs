//! A producer's lookups before it trusts an epoch: the stream's tail, and whether a batch is in the stream.

use durable_streams_protocol::error::{Kind, Operation, Result};
use durable_streams_protocol::operations;
use durable_streams_protocol::producer::{
    BodyKind, Lookup, MAX_READ_BACK_BYTES, READ_BACK_TIMEOUT, Search, SearchResult, WantedBatch,
};
use durable_streams_protocol::protocol;
use durable_streams_protocol::read::cursor::{Live, Position};
use durable_streams_protocol::read::event::ReadEvent;
use durable_streams_protocol::read::machine::ReadOptions;
use durable_streams_protocol::read::payload::{Format, Part};

use super::sender::RequestSender;
use crate::exchange::retry::send_with_policy;
use crate::reader::Session;

/// The result of a lookup.
pub(super) enum LookupResult {
    /// The stream's tail, if the server reported it.
    Tail(Option<String>),
    /// Whether the batch is in the stream.
    Batch(SearchResult),
}

impl RequestSender {
    /// Carries out one lookup.
    pub(super) async fn look_up(&self, lookup: Lookup) -> LookupResult {
        match lookup {
            Lookup::Tail { once } => LookupResult::Tail(self.tail(once).await),
            Lookup::Batch { from, wanted } => {
                let limit = self.endpoint.client().config().timeout.max(READ_BACK_TIMEOUT);
                let found = tokio::time::timeout(limit, self.read_back(&from, &wanted)).await;
                // If the search fails, the machine assumes that the batch was delivered, or fails the producer. It
                // reports either.
                LookupResult::Batch(found.map_or(SearchResult::Unknown, |found| found.unwrap_or(SearchResult::Unknown)))
            }
        }
    }

    /// The stream's tail, by a HEAD. It is retried unless `once`, but for no longer than one try may take, because
    /// batches wait for it. Errors are ignored: the requests of the batches will report them.
    async fn tail(&self, once: bool) -> Option<String> {
        let mut retry = self.retry.clone();
        if once {
            retry.max_retries = 0;
        }
        let request = operations::tail();
        let sending = send_with_policy(&retry, &self.endpoint, &self.pool, &request);
        let limit = self.endpoint.client().config().timeout;
        let response = tokio::time::timeout(limit, sending).await.ok()?.ok()?;
        let headers = response.status.is_success().then_some(&response.headers)?;
        protocol::next_offset(headers).ok().map(str::to_owned)
    }

    /// Reads from an offset on and searches for a batch.
    async fn read_back(&self, from: &str, wanted: &WantedBatch) -> Result<SearchResult> {
        let format = match wanted.kind {
            BodyKind::Json => Format::Json,
            BodyKind::Bytes => Format::Bytes,
        };
        let options = ReadOptions {
            live: Live::Off,
            position: Position::new(from, None),
            format,
            media: None,
            // A cached response may be older than the batch.
            no_cache: true,
            retry: None,
            patient: false,
            max_bytes: MAX_READ_BACK_BYTES,
            has_succeeded: false,
        };
        let session = Session::start(&self.endpoint, options)?;
        let mut events = session.lock_events().await;
        let (mut search, mut closed) = (wanted.search(), false);
        while !search.is_over()
            && let Some(event) = events.next(1).await.transpose()?
        {
            match event {
                ReadEvent::Part(part) => self.search_part(&mut search, &part)?,
                ReadEvent::End(last, progress) => {
                    closed = progress.closed;
                    last.iter().try_for_each(|part| self.search_part(&mut search, part))?;
                }
                ReadEvent::Length(_) | ReadEvent::Retry(_) | ReadEvent::Outage(_) => {}
            }
        }
        Ok(search.found(closed))
    }

    /// Searches one part of the stream.
    fn search_part(&self, search: &mut Search, part: &Part) -> Result<()> {
        match part {
            Part::Bytes(bytes) => search.bytes(bytes),
            Part::Items { text, .. } => search.items(text).map_err(|_| {
                let reason = "the stream's items are not JSON";
                self.endpoint.about(Operation::Read).error(Kind::Parse, reason)
            })?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use durable_streams_protocol::producer::{BatchResponse, ClaimLimits, ProducerConfig, ProducerMachine};
    use durable_streams_protocol::protocol::PRODUCER_EPOCH;
    use durable_streams_protocol::request;
    use durable_streams_protocol::retry::jitter::Jitter;
    use durable_streams_protocol::target::Values;
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;
    use crate::connections::{Client, Config};
    use crate::endpoint::Endpoint;
    use crate::transport::{ResponseFuture, Transport, TransportBody, TransportRequest, TransportResponse};

    /// A very long stream: each response has these bytes and says that there are more.
    struct EndlessStream(Bytes, Arc<AtomicUsize>);

    impl Transport for EndlessStream {
        fn execute(&self, _: TransportRequest) -> ResponseFuture {
            let count = self.1.fetch_add(1, Ordering::Relaxed);
            let mut headers = HeaderMap::new();
            headers.insert("content-type", "application/json".parse().unwrap());
            headers.insert("stream-next-offset", format!("{count:08}").parse().unwrap());
            if count > 20_000 {
                headers.insert("stream-up-to-date", "true".parse().unwrap());
            }
            let body = TransportBody::Whole(self.0.clone());
            let status = StatusCode::OK;
            Box::pin(async move { Ok(TransportResponse { status, headers, body }) })
        }
    }

    /// The lookup after a first batch whose response said duplicate.
    fn lookup(endpoint: &Endpoint) -> Lookup {
        let now = Instant::now();
        let config = ProducerConfig {
            body: BodyKind::Json,
            epoch: 0,
            next_seq: None,
            auto_claim: false,
            claims: ClaimLimits::default(),
            max_batch_bytes: 1 << 20,
            max_batch_items: usize::MAX,
            linger: Duration::ZERO,
            max_in_flight: 5,
            max_buffered_bytes: 64 << 20,
            retry: endpoint.client().config().retry.clone(),
            patient: false,
            delivery_timeout: None,
        };
        let mut machine = ProducerMachine::new(config, Jitter::new(|| 0.5)).unwrap();
        machine.append(b"1").unwrap();
        machine.poll_lookup(now);
        machine.handle_tail(Some("0".to_owned()));
        let sent = machine.poll_transmit(now).unwrap();
        let duplicate = request::Response {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::from_iter([(PRODUCER_EPOCH, HeaderValue::from_static("0"))]),
            body: Bytes::new(),
            tries: Default::default(),
            redirected: None,
        };
        let duplicate = BatchResponse::new(&endpoint.context(Operation::Produce), duplicate);
        machine.handle_response(now, sent.id, duplicate);
        machine.poll_lookup(now).unwrap()
    }

    /// The result of looking up a batch in such a stream, and after how many responses.
    async fn look_up(body: Bytes) -> (SearchResult, usize) {
        let responses = Arc::new(AtomicUsize::new(0));
        let endpoint = Endpoint::new(Client::new(Config::for_tests()), "http://h/s", Values::default(), None).unwrap();
        let endpoint = Arc::new(endpoint.with_transport(Arc::new(EndlessStream(body, Arc::clone(&responses)))));
        let sender = RequestSender {
            pool: endpoint.pool(Operation::Produce).unwrap(),
            headers: HeaderMap::new(),
            retry: endpoint.client().config().retry.clone(),
            endpoint,
        };
        let lookup = lookup(&sender.endpoint);
        match sender.look_up(lookup).await {
            LookupResult::Batch(found) => (found, responses.load(Ordering::Relaxed)),
            LookupResult::Tail(tail) => panic!("{tail:?}"),
        }
    }

    #[tokio::test]
    async fn limits_the_bytes_that_are_read_back() {
        let whitespace = [b"[7", &vec![b' '; MAX_READ_BACK_BYTES / 4][..], b"]"].concat();
        let (found, responses) = look_up(whitespace.into()).await;
        assert_eq!(found, SearchResult::Unknown);
        assert!(responses <= 5, "{responses}");
    }

    #[tokio::test(start_paused = true)]
    async fn limits_the_time_to_read_back() {
        let (found, _) = look_up(Bytes::from_static(b"[7]")).await;
        assert_eq!(found, SearchResult::Unknown);
    }
}
