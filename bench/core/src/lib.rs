//! The input of the micro-benchmarks: the same bytes in every run.

use std::fmt::Write as _;

/// The size of a message in bytes, as in `bin/bench`.
pub const MESSAGE_BYTES: usize = 103;

/// The number of messages in a body, which has about a megabyte.
pub const MESSAGES: usize = 10_000;

/// Copies the bytes: the lower bound for everything that copies.
pub fn copy(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// Small JSON objects of four keys, as `bin/bench` sends them.
pub fn messages() -> Vec<String> {
    (0..MESSAGES)
        .map(|number| {
            let id = 1_000_000 + number;
            let user = 10_000 + (number * 7919) % 90_000;
            let head = format!(r#"{{"id":{id},"type":"order.created","user":"user-{user}","note":""#);
            let mut note = String::new();
            while head.len() + note.len() + 2 < MESSAGE_BYTES {
                note.push(char::from(b'a' + ((number * 31 + note.len() * 17) % 26) as u8));
            }
            format!(r#"{head}{note}"}}"#)
        })
        .collect()
}

/// Objects as in other APIs: nested, with blanks, floats, escapes and text that is not ASCII.
pub fn documents() -> Vec<String> {
    (0..MESSAGES / 4)
        .map(|number| {
            let mut text = String::new();
            let _ = write!(
                text,
                concat!(
                    r#"{{ "id": {}, "tags": ["new", "größer", "日本語"], "price": {}.{:02}, "ok": true, "#,
                    r#""note": "line one\nline \"two\" \u00e9", "owner": {{ "name": "user {}", "parent": null, "#,
                    r#""scores": [1, 2.5, -3e2, {}] }}, "text": "{}" }}"#
                ),
                number,
                number % 1000,
                number % 100,
                number,
                number * 37,
                "a sentence of plain text, as documents have in many of their keys; ".repeat(3),
            );
            text
        })
        .collect()
}

/// A response's body with these items.
pub fn array(items: &[String]) -> Vec<u8> {
    format!("[{}]", items.join(",")).into_bytes()
}
