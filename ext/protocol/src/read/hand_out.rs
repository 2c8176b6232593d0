//! What a read hands to the application: parts of responses, and the ends of batches.

use std::time::{Duration, Instant};

use super::cursor::{Progress, ReadStep, Stall};
use super::machine::ReadMachine;
use super::payload::{Brought, OpenRecord, Part};
use crate::error::{Error, Kind};

impl ReadMachine {
    /// A response, or the data before a control event, is complete.
    pub(super) fn advance(
        &mut self,
        progress: &mut Progress,
        brought: Brought,
        took: Duration,
    ) -> Result<Stall, Error> {
        if brought == Brought::Data {
            self.check_new_offset(progress)?;
        }
        Ok(self.cursor.advance(progress, brought, took))
    }

    /// A response is complete. The batch goes on if the response ends inside a record or before what was handed out.
    pub(super) fn end_batch(&mut self, last: Option<Part>, progress: Progress, record: Option<OpenRecord>) {
        let is_end = record.is_none() && progress.skip.is_zero() || self.cursor.next() == ReadStep::End;
        let event = match is_end {
            true => Some(self.batch.end(self.cursor.position(), last, progress)),
            false => self.batch.go_on(last, progress),
        };
        self.events.extend(event);
        self.open_record = record;
    }

    /// Refuses data without a new offset: it would be read again and again.
    pub(super) fn check_new_offset(&self, progress: &Progress) -> Result<(), Error> {
        if self.cursor.moves(progress) {
            return Ok(());
        }
        let reason = "the response has data but no new Stream-Next-Offset: is this a Durable Streams server?";
        Err(self.about().error(Kind::Status, reason))
    }

    /// Hands out a part of a response. That the part has arrived is a success.
    pub(super) fn hand_out(&mut self, now: Instant, part: Part) {
        self.succeeded(now);
        self.cursor.handed_out(part.units());
        self.events.push_back(self.batch.part(part));
    }
}
