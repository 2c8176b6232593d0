//! Readers of bytes that get JSON arrays.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};

use super::{config, headers, items, lost, options, pause, respond};
use crate::protocol::{STREAM_NEXT_OFFSET, STREAM_UP_TO_DATE};
use crate::read::cursor::Live;
use crate::read::machine::{ReadMachine, ReadOptions};
use crate::read::payload::Format;
use crate::retry::jitter::Jitter;
use crate::retry::policy::RetryPolicy;

const JSON: (HeaderName, &str) = (CONTENT_TYPE, "application/json");
const TAIL: (HeaderName, &str) = (STREAM_UP_TO_DATE, "true");

fn at(offset: &'static str) -> (HeaderName, &'static str) {
    (STREAM_NEXT_OFFSET, offset)
}

/// A read whose first response breaks off after these pieces.
fn broken_after(pieces: &[&'static str]) -> (ReadMachine, Instant) {
    let options = ReadOptions {
        format: Format::Bytes,
        ..options("", Live::Off)
    };
    let config = config(RetryPolicy::for_tests());
    let mut machine = ReadMachine::new(options, config, Jitter::new(|| 0.5));
    let now = Instant::now();
    machine.request(now);
    let end = headers(&[JSON, at("3"), TAIL]);
    machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &end, None);
    for piece in pieces {
        machine.handle_piece(now, Bytes::from_static(piece.as_bytes()));
    }
    machine.handle_failure(now, lost());
    let later = now + pause(&machine, now);
    (machine, later)
}

#[test]
fn an_array_that_breaks_off_goes_on_with_the_items_that_were_appended_since() {
    for pieces in [
        &["[1,[2],3]"][..],
        &["[1,[2]", ",3]", " ", "\n"],
        &["[1,[2],3", "]"],
        &["[1,[2]"],
        &["[1,[2"],
        &["["],
        &[],
    ] {
        let (mut machine, now) = broken_after(pieces);
        respond(&mut machine, now, 200, &[JSON, at("4"), TAIL], "[1,[2],3,4]");
        assert_eq!(items(&mut machine).concat(), b"[1,[2],3,4]", "{pieces:?}");
    }
}

#[test]
fn an_array_that_breaks_off_is_read_again_while_the_server_lags_behind() {
    let (mut machine, now) = broken_after(&["[1,2,3]"]);
    respond(&mut machine, now, 200, &[JSON, at("2"), TAIL], "[1,2]");
    let later = now + pause(&machine, now);
    assert!(later > now);
    respond(&mut machine, later, 200, &[JSON, at("3"), TAIL], "[1,2,3]");
    assert_eq!(items(&mut machine).concat(), b"[1,2,3]");
}
