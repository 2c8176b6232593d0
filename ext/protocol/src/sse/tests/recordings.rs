//! Response bodies recorded from two servers: `@durable-streams/server` 0.3.7 (node) and `durable-streams-server` 0.1.5
//! (rust). Each stream was read from its start, appended to during the read, and closed.

use super::super::{Encoding, SseEvent};
use super::{random_pieces, read};

struct Recording {
    name: &'static str,
    body: &'static [u8],
    encoding: Encoding,
    payload: Vec<u8>,
    final_offset: &'static str,
}

fn recordings() -> [Recording; 6] {
    use Encoding::{Base64, Plain};
    let binary = [(0..=255).collect(), vec![255; 700], vec![1, 2]].concat();
    let node_json =
        "[{\"k\":\"v\"},{\"k\":\"w \u{E9} \u{E9}\",\"n\":[1,2.5,null]}][\"a\"][{\"pretty\":[1,2]}][\"last\"]";
    let rust_json = "[{\"k\":\"v\"},{\"k\":\"w \\u00e9 \u{E9}\",\"n\":[1,2.5,null]},\"a\"]\
                     [{\n \"pretty\": [1,\n\n2]\n}][\"last\"]";
    // Neither server can send a CR or the first space of a line. So the payload differs a little from what was
    // appended.
    let node_text = "one\ntwo\nthree\nfour\n two spaces, \u{1F30A}\n\ndata: not a field\nevent: control";
    let rust_text = "one\ntwo\n\nthree\nfour\n two spaces, \u{1F30A}\n\ndata: not a field\nevent: control";
    macro_rules! recording {
        ($name:literal, $encoding:expr, $payload:expr, $offset:literal) => {
            Recording {
                name: $name,
                body: include_bytes!(concat!("recordings/", $name, ".sse")),
                encoding: $encoding,
                payload: $payload.into(),
                final_offset: $offset,
            }
        };
    }
    [
        recording!("node-json", Plain, node_json, "0000000000000000_0000000000000091"),
        recording!("node-text", Plain, node_text, "0000000000000000_0000000000000082"),
        recording!(
            "node-binary",
            Base64,
            binary.clone(),
            "0000000000000000_0000000000000973"
        ),
        recording!("rust-json", Plain, rust_json, "0000000000000000_0000000000000083"),
        recording!("rust-text", Plain, rust_text, "0000000000000000_0000000000000072"),
        recording!("rust-binary", Base64, binary, "0000000000000000_0000000000000958"),
    ]
}

#[test]
fn a_recording_has_the_appended_data_and_the_end() {
    for recording in recordings() {
        let (events, error) = read(recording.encoding, [recording.body]);
        assert_eq!(error, None, "{}", recording.name);
        let payload: Vec<u8> = events
            .iter()
            .filter_map(|event| match event {
                SseEvent::Data(data) => Some(&data[..]),
                SseEvent::Control(_) | SseEvent::Error(_) => None,
            })
            .flatten()
            .copied()
            .collect();
        assert_eq!(
            String::from_utf8_lossy(&payload),
            String::from_utf8_lossy(&recording.payload),
            "{}",
            recording.name
        );
        assert_eq!(payload, recording.payload, "{}", recording.name);
        let Some((SseEvent::Control(last), before)) = events.split_last() else {
            panic!("{}", recording.name)
        };
        assert!(last.closed && last.up_to_date, "{}", recording.name);
        assert_eq!(last.next_offset, recording.final_offset, "{}", recording.name);
        for event in before {
            let SseEvent::Control(control) = event else { continue };
            assert!(
                !control.closed && control.up_to_date && control.cursor.is_some(),
                "{}",
                recording.name
            );
        }
    }
}

#[test]
fn decodes_a_recording_cut_anywhere() {
    for recording in recordings() {
        let whole = read(recording.encoding, [recording.body]);
        for at in 0..=recording.body.len() {
            let (before, after) = recording.body.split_at(at);
            assert_eq!(
                read(recording.encoding, [before, after]),
                whole,
                "{} at {at}",
                recording.name
            );
        }
        for seed in 0..200 {
            let pieces = random_pieces(&mut fastrand::Rng::with_seed(seed), recording.body, 50);
            assert_eq!(
                read(recording.encoding, pieces),
                whole,
                "{}, seed {seed}",
                recording.name
            );
        }
    }
}
