//! Starts a reader's sessions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use durable_streams_client::events::Owner;
use durable_streams_client::fork::ProcessBound;
use durable_streams_client::reader::Session;
use durable_streams_protocol::error::Result as CoreResult;
use durable_streams_protocol::protocol::Media;
use durable_streams_protocol::read::cursor::Live;
use durable_streams_protocol::read::machine::ReadOptions;
use durable_streams_protocol::read::payload::Format;
use magnus::{Error, Ruby};

use super::Reader;
use super::batch::ContentKind;
use super::state::{ActiveSession, ReaderState};
use crate::errors;
use crate::stream::Stream;
use crate::wait::{check_stack, may_run_inline};

impl Reader {
    /// This process's session, started if there is none; `None` if there is nothing more to read.
    pub(super) fn session(&self, ruby: &Ruby) -> Result<Option<Arc<ProcessBound<ActiveSession>>>, Error> {
        let stream = ruby.get_inner(self.stream);
        let mut state = self.state.lock();
        if self.closing.is_closed() || state.ended {
            return Ok(None);
        }
        if let Some(session) = state.session.as_ref().filter(|session| session.get().is_some()) {
            return Ok(Some(Arc::clone(session)));
        }
        // Allocates only when it is raised.
        check_stack(ruby)?;
        let started = self.start(&stream, &state).map(|session| {
            let session = Arc::new(ProcessBound::new(session));
            state.session = Some(Arc::clone(&session));
            state.taken = 0;
            session
        });
        // Raising allocates, which the lock forbids.
        drop(state);
        started.map(Some).map_err(|error| errors::raise(ruby, error))
    }

    /// A session from this position on.
    fn start(&self, stream: &Stream, state: &ReaderState) -> CoreResult<ActiveSession> {
        let (format, media) = match self.kind {
            ContentKind::Items => (Format::Json, Some(Media::Json)),
            ContentKind::Text => (Format::Bytes, Some(Media::Text)),
            ContentKind::Bytes => (Format::Bytes, None),
        };
        let options = ReadOptions {
            live: self.live,
            position: state.position.clone(),
            format,
            media,
            no_cache: false,
            retry: self.retry.clone(),
            patient: self.patient,
            max_bytes: usize::MAX,
            has_succeeded: state.has_succeeded,
        };
        let (endpoint, work) = stream.call_endpoint(Owner::Reader);
        // Inline only without callables: they may run for long, and would occupy an inline runtime meanwhile.
        let is_small = self.live == Live::Off && stream.reads_are_small.load(Ordering::Relaxed);
        if is_small && stream.application.is_none() && may_run_inline() {
            let (session, job) = Session::inline(&endpoint, options);
            return Ok(ActiveSession::new(session, work, Some(job)));
        }
        let session = Session::start(&endpoint, options)?;
        Ok(ActiveSession::new(session, work, None))
    }
}
