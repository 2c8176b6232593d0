//! Data of an SSE connection that are handed out before their control event.

use std::time::Instant;

use bytes::Bytes;

use super::super::event_stream::{EventStream, StreamEvent};
use super::super::payload::{Format, Units};
use super::{Kind, Live, ReadAction, ReadEvent, ReadMachine, RetryPolicy, items, lost, machine, pause, receive_events};
use crate::sse::Encoding;

/// A read whose events of 8 bytes and more are handed out early.
fn early() -> (ReadMachine, Instant) {
    let mut machine = machine(Live::Sse, RetryPolicy::for_tests(), false);
    machine.early_bytes = 8;
    (machine, Instant::now())
}

fn control(offset: &str) -> String {
    format!("event: control\ndata: {{\"streamNextOffset\":\"{offset}\"}}\n\n")
}

fn receive(machine: &mut ReadMachine, now: Instant, text: &str) {
    machine.handle_piece(now, Bytes::copy_from_slice(text.as_bytes()));
}

#[test]
fn hands_out_a_large_event_while_it_arrives() {
    let (mut machine, now) = early();
    receive_events(&mut machine, now, "event: data\ndata: [1,2");
    assert!(items(&mut machine).is_empty(), "it is not large yet");
    receive(&mut machine, now, ",3,\ndata: 45");
    assert_eq!(items(&mut machine), ["1,2,3"]);
    receive(&mut machine, now, "6,7,78]\n\nevent: data\ndata:[8]\n\n");
    assert_eq!(items(&mut machine), ["\n456", "7", "78", "8"]);
    receive(&mut machine, now, &control("4"));
    let events: Vec<ReadEvent> = std::iter::from_fn(|| machine.poll_event()).collect();
    assert!(
        matches!(&events[..], [ReadEvent::End(None, progress)] if progress.next_offset == "4" && progress.skip.is_zero()),
        "{events:?}"
    );
}

#[test]
fn hands_out_text_with_its_control_event_only() {
    let mut events = EventStream::new(Format::Bytes, Encoding::Plain, 1000, 8);
    events.push(Bytes::from_static(b"event: data\ndata: one line\ndata: and another"));
    assert!(events.next().unwrap().is_none());
    let rest = format!(" one\n\nevent: data\ndata: three\n\n{}", control("1"));
    events.push(Bytes::from(rest.into_bytes()));
    let Some(StreamEvent::Control(data, _)) = events.next().unwrap() else {
        panic!("it is not complete")
    };
    assert_eq!(
        data.into_iter().collect::<Vec<_>>(),
        ["one line\nand another one", "three"]
    );
}

#[test]
fn skips_what_was_handed_out_when_the_connection_is_lost_before_the_control_event() {
    let (mut machine, now) = early();
    receive_events(&mut machine, now, "event: data\ndata: [1,2,3,4");
    assert_eq!(items(&mut machine), ["1,2,3"]);
    machine.handle_failure(now, lost());
    let later = now + pause(&machine, now);
    let body = format!("event: data\ndata: [1,2]\n\n{}", control("2"));
    receive_events(&mut machine, later, &body);
    assert!(items(&mut machine).is_empty(), "the server has sent less than before");
    receive(
        &mut machine,
        later,
        &format!("event: data\ndata: [3,4,5]\n\n{}", control("5")),
    );
    let events: Vec<ReadEvent> = std::iter::from_fn(|| machine.poll_event()).collect();
    let [.., ReadEvent::End(last, progress)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&progress.next_offset[..], progress.skip), ("5", Units(0)));
    let parts = events[..events.len() - 1].iter().filter_map(|event| match event {
        ReadEvent::Part(part) => Some(part),
        _ => None,
    });
    let texts: Vec<&[u8]> = parts.chain(last).map(|part| &part.bytes()[..]).collect();
    assert_eq!(texts.join(&b','), b"4,5");
}

#[test]
fn early_data_without_a_new_offset_fail_the_read() {
    let (mut machine, now) = early();
    receive_events(
        &mut machine,
        now,
        &format!("event: data\ndata: [1]\n\n{}", control("1")),
    );
    receive(&mut machine, now, "event: data\ndata: [2,3,4,5,6");
    receive(&mut machine, now, &format!("]\n\n{}", control("1")));
    assert!(matches!(machine.poll_action(now), ReadAction::End(Some(error)) if matches!(error.kind(), Kind::Status)));
}

#[test]
fn an_event_whose_name_changes_after_its_data_were_handed_out_fails_the_read() {
    let (mut machine, now) = early();
    receive_events(&mut machine, now, "event: data\ndata: [1,2,3,4");
    receive(&mut machine, now, "]\nevent: data\nevent: control\n\n");
    let ReadAction::End(Some(error)) = machine.poll_action(now) else {
        panic!("the read goes on")
    };
    assert!(error.message().contains("another name"), "{error}");
}

#[test]
fn data_that_were_handed_out_count_towards_the_limit() {
    for event in ["", "]\n\nevent: data\ndata: ["] {
        let (mut machine, now) = early();
        machine.config.max_message_bytes = 1000;
        receive_events(&mut machine, now, "event: data\ndata: [1");
        let pieces = (0..1000).take_while(|_| {
            receive(&mut machine, now, &format!(",2,3,4{event}1"));
            matches!(machine.poll_action(now), ReadAction::Receive { .. })
        });
        assert!((20..=1000 / 6).contains(&pieces.count()), "{event:?}");
        assert!(
            matches!(machine.poll_action(now), ReadAction::End(Some(error)) if matches!(error.kind(), Kind::Parse))
        );
    }
}
