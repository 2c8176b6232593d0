//! Random JSON texts: all kinds of values, odd whitespace, escapes, and damage.

use fastrand::Rng;

const BLANKS: &[&str] = &["", "", "", " ", "\n", "\t \r\n", "          "];

pub(super) fn blank(random: &mut Rng) -> &'static str {
    BLANKS[random.usize(..BLANKS.len())]
}

/// The text of a random value with at most `depth` levels.
pub(super) fn value(random: &mut Rng, depth: usize) -> String {
    match random.u8(..if depth == 0 { 8 } else { 12 }) {
        0 => random.i64(..).to_string(),
        1 => format!("{:e}", f64::from_bits(random.u64(..)))
            .replace("NaN", "0")
            .replace("inf", "1"),
        2 => ["true", "false", "null"][random.usize(..3)].to_owned(),
        3 => [
            "0",
            "-0",
            "-0.0",
            "1E5",
            "1e-7",
            "123456789012345678901234567890",
            "0.1e+2",
        ][random.usize(..7)]
        .to_owned(),
        4..=7 => string(random),
        8 | 9 => list(random, '[', ']', |random| value(random, depth - 1)),
        _ => list(random, '{', '}', |random| {
            format!(
                "{}{}:{}{}",
                string(random),
                blank(random),
                blank(random),
                value(random, depth - 1)
            )
        }),
    }
}

fn list(random: &mut Rng, open: char, close: char, mut element: impl FnMut(&mut Rng) -> String) -> String {
    let mut text = String::from(open);
    for index in 0..random.usize(..5) {
        if index > 0 {
            text.push(',');
        }
        text.push_str(blank(random));
        text.push_str(&element(random));
        text.push_str(blank(random));
    }
    text.push_str(blank(random));
    text.push(close);
    text
}

pub(super) fn string(random: &mut Rng) -> String {
    const PARTS: &[&str] = &[
        "\\\"",
        "\\\\",
        "\\/",
        "\\b",
        "\\n",
        "\\u0000",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\\\\\\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "é",
        "漢字",
        "😀",
        "a longer piece of plain text, with a comma",
        "x",
        "{\\\"a\\\":[1,2]}",
        "\u{7f}",
        " ",
    ];
    let mut text = String::from("\"");
    for _ in 0..random.usize(..6) {
        text.push_str(PARTS[random.usize(..PARTS.len())]);
    }
    text.push('"');
    text
}

/// Damages a text in one place: changes, removes or inserts a byte, or truncates the text.
pub(super) fn damage(random: &mut Rng, text: &[u8]) -> Vec<u8> {
    const BYTES: &[u8] = b"\"\\[]{},: 01-+.eEtu\x00\x1f\x80\xff\xed\n";
    let mut text = text.to_vec();
    let byte = BYTES[random.usize(..BYTES.len())];
    let at = random.usize(..=text.len());
    match random.u8(..3) {
        0 => text.insert(at, byte),
        1 if at < text.len() => text[at] = byte,
        _ if at < text.len() => {
            text.remove(at);
        }
        _ => text.truncate(at / 2),
    }
    text
}
