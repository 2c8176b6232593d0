//! Takes what a session hands out, step by step.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use durable_streams_client::log::{self, LogLine};
use durable_streams_protocol::error::Operation;
use durable_streams_protocol::read::event::ReadEvent;
use magnus::{Error, Ruby};

use super::Reader;
use super::lock::{Awaited, ReaderLock};
use super::state::ReadStep;
use crate::caller_work::{deliver_during, wait_with_work};
use crate::errors;
use crate::log::write_log;

/// About what a server's system sends at once, before it waits for an acknowledgement. A response of this size is
/// usually complete when it begins.
const SMALL_READ_BYTES: usize = 14 * 1024;

impl Reader {
    /// Waits for the next step, or for `close`. Parts of a response are delivered once they have `least` bytes
    /// together.
    pub(super) fn next_step(
        &self,
        ruby: &Ruby,
        mut lock: ReaderLock,
        least: usize,
    ) -> Result<(ReadStep, ReaderLock), Error> {
        loop {
            let event;
            (event, lock) = self.next_event(ruby, lock, least)?;
            let event = match event {
                Awaited::Event(Ok(event)) => Some(event),
                Awaited::Event(Err(error)) => {
                    let events = lock.take_events();
                    drop(lock);
                    return Err(errors::raise(ruby, deliver_during(ruby, events, error)?));
                }
                Awaited::End => None,
                Awaited::Limit => return Ok((ReadStep::Limit, lock)),
            };
            // Every event but a length comes after a success.
            if !matches!(event, None | Some(ReadEvent::Length(_))) {
                self.state.lock().has_succeeded = true;
            }
            let step = match event {
                // For its event, which has been delivered.
                Some(ReadEvent::Retry(_)) => continue,
                Some(ReadEvent::Outage(outage)) => {
                    let stream = ruby.get_inner(self.stream);
                    log::add(LogLine::outage(
                        Operation::Read,
                        stream.endpoint.display(),
                        outage.event,
                    ));
                    write_log(ruby)?;
                    continue;
                }
                Some(ReadEvent::Length(bytes)) => ReadStep::Length(bytes),
                Some(ReadEvent::Part(part)) => {
                    self.state.lock().taken += part.bytes().len();
                    ReadStep::Part(part)
                }
                Some(ReadEvent::End(last, progress)) => {
                    self.state.lock().taken += last.as_ref().map_or(0, |part| part.bytes().len());
                    ReadStep::Rest(last, progress)
                }
                None => {
                    self.end_session(ruby);
                    ReadStep::End
                }
            };
            return Ok((step, lock));
        }
    }

    /// The read has ended, or the reader was closed.
    fn end_session(&self, ruby: &Ruby) {
        let mut state = self.state.lock();
        if !self.closing.is_closed() {
            state.ended = true;
            let reads_are_small = &ruby.get_inner(self.stream).reads_are_small;
            reads_are_small.store(state.taken < SMALL_READ_BYTES, Ordering::Relaxed);
        }
        state.session = None;
    }

    fn next_event(&self, ruby: &Ruby, mut lock: ReaderLock, least: usize) -> Result<(Awaited, ReaderLock), Error> {
        let todo = lock.work.take();
        let next = lock.next(Arc::clone(&self.closing), least);
        let stream = ruby.get_inner(self.stream);
        let ((event, mut lock), todo) = wait_with_work(ruby, stream.application.as_ref(), todo, next)?;
        lock.work = todo;
        Ok((event, lock))
    }
}
