//! What a producer looks up on the server before it trusts an epoch: where the stream ends, and whether a batch is in it.

use durable_streams_protocol::error::{Kind, Operation, Result};
use durable_streams_protocol::operations;
use durable_streams_protocol::producer::{BodyKind, Found, Lookup, Search, Wanted};
use durable_streams_protocol::protocol::{self, text};
use durable_streams_protocol::read::cursor::{Live, Position};
use durable_streams_protocol::read::event::Event;
use durable_streams_protocol::read::machine::ReadOptions;
use durable_streams_protocol::read::payload::{Format, Part};

use super::sender::Sender;
use crate::exchange::tries::call_by;
use crate::reader::Session;

/// What a lookup has come to.
pub(super) enum Seen {
    /// The end of the stream, if it could be learned.
    Tail(Option<String>),
    /// Whether a batch is in it.
    Batch(Found),
}

impl Sender {
    pub(super) async fn look_up(&self, lookup: Lookup) -> Seen {
        match lookup {
            Lookup::Tail { once } => Seen::Tail(self.tail(once).await),
            Lookup::Batch { from, wanted } => {
                let found = self.read_back(&from, &wanted).await;
                Seen::Batch(found.unwrap_or(Found::Unknown))
            }
        }
    }

    /// Where the stream ends. Repeated as a HEAD is, unless one try is enough, but no longer than one try may take: batches
    /// wait. Why there is no answer, the batch's own requests will tell.
    async fn tail(&self, once: bool) -> Option<String> {
        let mut retry = self.retry.clone();
        if once {
            retry.max_retries = 0;
        }
        let request = operations::tail();
        let asking = call_by(&retry, &self.endpoint, &self.pool, &request);
        let limit = self.endpoint.client().config().timeout;
        let answer = tokio::time::timeout(limit, asking).await.ok()?.ok()?;
        let told = answer.status.is_success().then_some(&answer.headers)?;
        text(told, &protocol::STREAM_NEXT_OFFSET).map(str::to_owned)
    }

    /// Reads from an offset on and looks for a batch.
    async fn read_back(&self, from: &str, wanted: &Wanted) -> Result<Found> {
        let format = match wanted.kind {
            BodyKind::Json => Format::Json,
            BodyKind::Bytes => Format::Bytes,
        };
        let options = ReadOptions {
            live: Live::Off,
            position: Position::new(from, None),
            format,
            media: None,
            // What a cache has kept may be older than the batch.
            past_caches: true,
        };
        let session = Session::start(&self.endpoint, options)?;
        let mut events = session.events().await;
        let (mut search, mut closed) = (wanted.search(), false);
        while !search.is_over()
            && let Some(event) = events.next(1).await.transpose()?
        {
            match event {
                Event::Part(part) => self.take(&mut search, &part)?,
                Event::End(last, progress) => {
                    closed = progress.closed;
                    last.iter().try_for_each(|part| self.take(&mut search, part))?;
                }
                Event::Length(_) | Event::Place(_) => {}
            }
        }
        Ok(search.found(closed))
    }

    fn take(&self, search: &mut Search, part: &Part) -> Result<()> {
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
