use super::documents::{blank, damage, value};
use crate::json::{InvalidJson, validate};

/// Whether serde_json accepts the text. `None` if it refuses JSON that the RFC allows (numbers beyond f64, escaped lone
/// surrogates).
fn serde_json_accepts(text: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(_) => Some(true),
        Err(error) => {
            let reason = error.to_string();
            let lenient = ["number out of range", "hex escape", "surrogate"]
                .iter()
                .any(|part| reason.contains(part));
            (!lenient).then_some(false)
        }
    }
}

#[test]
fn accepts_and_refuses_random_documents_as_serde_json_does() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut refused = 0;
    for _ in 0..30_000 {
        let text = format!("{}{}{}", blank(&mut random), value(&mut random, 4), blank(&mut random));
        assert_eq!(validate(text.as_bytes()), Ok(()), "{text}");
        let damaged = damage(&mut random, text.as_bytes());
        let result = validate(&damaged);
        if let Some(valid) = serde_json_accepts(&damaged) {
            assert_eq!(
                result.is_ok(),
                valid,
                "{} {result:?}",
                String::from_utf8_lossy(&damaged)
            );
        }
        if let Err(InvalidJson { offset, .. }) = result {
            refused += 1;
            assert!(offset <= damaged.len());
        }
    }
    assert!(refused > 5_000);
}

#[test]
fn every_prefix_of_a_document_is_refused() {
    let text = br#" {"a": [1, -2.5e+3, true, false, null, "\u00e9\\", {}], "": [[]]}"#;
    assert_eq!(validate(text), Ok(()));
    for end in 0..text.len() {
        assert!(
            validate(&text[..end]).is_err(),
            "{}",
            String::from_utf8_lossy(&text[..end])
        );
    }
}

#[test]
fn errors_have_the_offset_and_the_reason() {
    let cases: &[(&[u8], usize, &str)] = &[
        (b"", 0, "no value"),
        (b"  ", 2, "no value"),
        (b"1 2", 2, "more text after the value"),
        (b"[1 2]", 3, "expected ',' or ']' in an array"),
        (b"[1,]", 3, "expected a value"),
        (b"{\"a\":1,}", 7, "expected a string as an object's key"),
        (b"{\"a\" 1}", 5, "expected ':' after an object's key"),
        (b"{\"a\":1]", 6, "expected ',' or '}' in an object"),
        (b"\"a\nb\"", 2, "control character in a string"),
        (b"\"\\x\"", 1, "unknown escape in a string"),
        (b"\"\\u12g4\"", 1, "expected four hexadecimal digits after '\\u'"),
        (b"\"ab", 3, "the text ends inside a string"),
        (b"\"ab\\", 4, "the text ends inside a string"),
        (b"01", 1, "more text after the value"),
        (b"-", 1, "expected a digit after '-'"),
        (b"1.", 2, "expected a digit after the decimal point"),
        (b"1e+", 3, "expected a digit in the exponent"),
        (b"nul", 0, "expected a value (true, false or null misspelt)"),
        (b"NaN", 0, "expected a value"),
        (b"[", 1, "the text ends where a value should be"),
        (b"\"\xff\"", 1, "not valid UTF-8"),
        (b"\"\xed\xa0\x80\"", 1, "not valid UTF-8"),
        (b"\xef\xbb\xbf1", 0, "expected a value"),
    ];
    for &(text, offset, reason) in cases {
        assert_eq!(
            validate(text),
            Err(InvalidJson { offset, reason }),
            "{}",
            String::from_utf8_lossy(text)
        );
    }
}

#[test]
fn accepts_unusual_json_that_the_rfc_allows() {
    for text in [
        "-0",
        "1e999999",
        "\"\\ud800\"",
        "{\"a\":1,\"a\":2}",
        "\t1\r\n",
        "\"\u{7f}\u{2028}\"",
        "{\"\":{}}",
    ] {
        assert_eq!(validate(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn nesting_may_have_any_depth() {
    const DEPTH: usize = 1_000_000;
    let mut text = b"[{\"\":".repeat(DEPTH);
    text.push(b'1');
    text.extend(b"}]".repeat(DEPTH));
    assert_eq!(validate(&text), Ok(()));
    text.pop();
    text.push(b'}');
    assert!(validate(&text).is_err());
}
