//! Which texts are the same value.

use crate::json::{Fingerprint, Fingerprinter, Numbers};

fn values(fingerprinter: &Fingerprinter, text: &str, numbers: Numbers) -> Vec<Fingerprint> {
    let taken = fingerprinter.values(text.as_bytes(), numbers);
    taken.unwrap_or_else(|_| panic!("malformed: {text}"))
}

/// Whether `read` is the value `sent`. `numbers` applies to `sent`; `read` is taken exactly.
fn same(sent: &str, read: &str, numbers: Numbers) -> bool {
    let fingerprinter = Fingerprinter::default();
    values(&fingerprinter, sent, numbers) == values(&fingerprinter, read, Numbers::Exact)
}

#[test]
fn a_value_is_the_same_in_any_notation() {
    for (one, other) in [
        ("1", "1.0"),
        ("-0", "0.00e5"),
        ("120e-1", "1.2E+1"),
        ("12345678901234567890123", "12345678901234567890123.0"),
        (r#""A\/\n\u00e9\ud83d\ude00""#, "\"A/\\u000aé😀\""),
        (r#""\ud800x""#, r#""\uD800x""#),
        (
            r#"{"a":1,"b":[{}, [], null]}"#,
            "{ \"b\" : [ {},[\n],null ],\"\\u0061\":1e0 }",
        ),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":3}"#),
        ("[1,[2,[3]]],true", "[1, [2, [3]]] , true"),
    ] {
        assert!(same(one, other, Numbers::Exact), "{one} {other}");
    }
}

#[test]
fn different_values_are_different() {
    let values = [
        "1",
        "-1",
        "10",
        "0.1",
        "0",
        "null",
        "true",
        "\"1\"",
        "\"null\"",
        "\"\"",
        "[]",
        "{}",
        "[1]",
        "[[1]]",
        "[1,2]",
        "[12]",
        "[[],1]",
        r#"{"a":1}"#,
        r#"{"a":"1"}"#,
        r#"{"1":"a"}"#,
        r#"["a",1]"#,
        r#"{"a":{"b":1}}"#,
        r#"{"a":1,"b":1}"#,
        "9007199254740993",
        "9007199254740992",
        "1e400",
        "1e401",
        r#""\ud800""#,
        r#""\udc00""#,
    ];
    for (index, one) in values.iter().enumerate() {
        for other in &values[index + 1..] {
            assert!(!same(one, other, Numbers::Exact), "{one} {other}");
        }
    }
}

#[test]
fn doubles_compares_numbers_as_a_server_writes_them() {
    for (sent, read) in [
        ("9007199254740993", "9007199254740992"),
        ("12345678901234567890", "12345678901234567000"),
        ("0.1000000000000000055", "0.1"),
        ("1e21", "1e+21"),
        ("[1e400, -1e400]", "[null,null]"),
        ("1.0", "1"),
    ] {
        assert!(same(sent, read, Numbers::Doubles), "{sent} {read}");
    }
    assert!(!same("9007199254740993", "9007199254740993", Numbers::Doubles));
}

#[test]
fn refuses_malformed_text_but_not_deep_text() {
    let fingerprinter = Fingerprinter::default();
    for text in [
        "[1",
        "1 2",
        "[1,]",
        "{\"a\"}",
        "{1:2}",
        "\"a",
        "\"\\u12\"",
        "]",
        "1,",
        "nan",
        "[1}",
        ",",
    ] {
        assert!(fingerprinter.values(text.as_bytes(), Numbers::Exact).is_err(), "{text}");
    }
    assert_eq!(
        fingerprinter.values(b" ", Numbers::Exact).map(|values| values.len()),
        Ok(0)
    );
    let deep = format!("{}1{}", "[{\"a\":".repeat(100_000), "}]".repeat(100_000));
    assert_eq!(values(&fingerprinter, &deep, Numbers::Exact).len(), 1);
}
