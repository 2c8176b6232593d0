use super::documents::{blank, value};
use crate::json::{Block, JsonForm, SplitError, SplitReason, Splitter};
use bytes::Bytes;
use serde_json::Value;

/// All blocks of a body in these pieces.
fn split(splitter: &mut Splitter, pieces: &[&[u8]]) -> (Vec<Block>, Result<(), SplitError>) {
    let mut blocks = Vec::new();
    for piece in pieces {
        if let Err(error) = splitter.push(&Bytes::copy_from_slice(piece), |block| blocks.push(block)) {
            return (blocks, Err(error));
        }
    }
    let last = splitter.finish();
    let result = last.map(|block| blocks.extend(block));
    (blocks, result)
}

/// The items of blocks. Checks that each block has as many items as it says.
fn items(blocks: &[Block]) -> Vec<Value> {
    let mut items = Vec::new();
    for Block { text, items: count } in blocks {
        let text = format!("[{}]", std::str::from_utf8(text).unwrap());
        let Value::Array(block) = serde_json::from_str(&text).unwrap() else {
            unreachable!()
        };
        assert_eq!(block.len(), *count);
        assert!(*count > 0);
        items.extend(block);
    }
    items
}

fn random_pieces<'a>(random: &mut fastrand::Rng, text: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let max_bytes = [1, 3, 70, 500, 5000][random.usize(..5)];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(0..=max_bytes).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn array_text(random: &mut fastrand::Rng, max_items: usize, depth: usize) -> String {
    let values: Vec<String> = (0..random.usize(..max_items))
        .map(|_| format!("{}{}{}", blank(random), value(random, depth), blank(random)))
        .collect();
    format!(
        "{}[{}{}]{}",
        blank(random),
        values.join(","),
        blank(random),
        blank(random)
    )
}

fn parsed(text: &str) -> Vec<Value> {
    match serde_json::from_str(text).unwrap() {
        Value::Array(items) => items,
        other => vec![other],
    }
}

#[test]
fn an_array_cut_anywhere_yields_its_items() {
    let mut random = fastrand::Rng::with_seed(21);
    for _ in 0..8_000 {
        let text = array_text(&mut random, 12, 3);
        let mut splitter = Splitter::new(JsonForm::Array, usize::MAX);
        let (blocks, result) = split(&mut splitter, &random_pieces(&mut random, text.as_bytes()));
        assert_eq!(result, Ok(()), "{text}");
        assert_eq!(items(&blocks), parsed(&text), "{text}");
    }
}

#[test]
fn a_sequence_cut_anywhere_yields_its_items() {
    let mut random = fastrand::Rng::with_seed(22);
    for _ in 0..8_000 {
        let (mut text, mut expected) = (blank(&mut random).to_owned(), Vec::new());
        for _ in 0..random.usize(..6) {
            let value = if random.bool() {
                array_text(&mut random, 5, 2)
            } else {
                value(&mut random, 2)
            };
            expected.extend(parsed(&value));
            // Numbers and words need whitespace between them. Other values do not.
            let parted = text.ends_with(|c: char| c.is_ascii_alphanumeric()) && !value.starts_with(['"', '[', '{']);
            text = format!("{text}{}{value}{}", if parted { " " } else { "" }, blank(&mut random));
        }
        let mut splitter = Splitter::new(JsonForm::Sequence, usize::MAX);
        let (blocks, result) = split(&mut splitter, &random_pieces(&mut random, text.as_bytes()));
        assert_eq!(result, Ok(()), "{text}");
        assert_eq!(items(&blocks), expected, "{text}");
    }
}

#[test]
fn lines_cut_into_bodies_and_pieces_anywhere_yield_one_item_each() {
    let mut random = fastrand::Rng::with_seed(24);
    for _ in 0..8_000 {
        let values: Vec<String> = (0..random.usize(..8)).map(|_| value(&mut random, 3)).collect();
        let lines: Vec<String> = values.iter().map(|value| value.replace('\n', " ")).collect();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut splitter = Splitter::new(JsonForm::Lines, usize::MAX);
        let mut blocks = Vec::new();
        for body in random_pieces(&mut random, text.as_bytes()) {
            // The body breaks off at first, and is read again from its beginning.
            let mut broken = splitter.clone();
            let piece = Bytes::copy_from_slice(&body[..random.usize(..=body.len())]);
            let mut handed_out = Vec::new();
            broken.push(&piece, |block| handed_out.push(block)).unwrap();
            let skip = items(&handed_out).len() as u64;
            blocks.extend(handed_out);
            splitter = splitter.skip(skip);
            for piece in random_pieces(&mut random, body) {
                splitter
                    .push(&Bytes::copy_from_slice(piece), |block| blocks.push(block))
                    .unwrap();
            }
            blocks.extend(splitter.pause().unwrap());
            assert_eq!(splitter.left_to_skip(), 0);
        }
        blocks.extend(splitter.finish().unwrap());
        let expected: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(items(&blocks), expected, "{text}");
    }
}

#[test]
fn a_body_cut_at_every_byte_yields_its_items() {
    let text = br#" [ {"a\"]":[1,{"b":"\\\\"}]} ,-1.5e3, "],\u005d\\" ,[],{} , null ] "#;
    let expected = parsed(std::str::from_utf8(text).unwrap());
    for form in [JsonForm::Array, JsonForm::Sequence] {
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut splitter = Splitter::new(form, usize::MAX);
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                let (blocks, result) = split(&mut splitter, &pieces);
                assert_eq!(result, Ok(()));
                assert_eq!(items(&blocks), expected);
            }
        }
    }
}

#[test]
fn yields_each_item_at_its_comma_and_the_last_one_at_the_end() {
    for (form, text) in [(JsonForm::Array, &b"[1,2,3]"[..]), (JsonForm::Sequence, b"[1,2] 3 ")] {
        let mut splitter = Splitter::new(form, usize::MAX);
        let mut counts = Vec::new();
        for byte in text {
            splitter
                .push(&Bytes::copy_from_slice(&[*byte]), |block| {
                    counts.push((*byte, block.items));
                })
                .unwrap();
        }
        let expected = if form == JsonForm::Array {
            vec![(b',', 1), (b',', 1)]
        } else {
            vec![(b']', 1), (b' ', 1)]
        };
        assert_eq!(counts, expected);
        assert_eq!(
            splitter.finish().unwrap().map(|block| block.text),
            Some(Bytes::from_static(b"3"))
        );
    }
}

#[test]
fn complete_items_of_a_piece_are_not_copied() {
    let piece = Bytes::from_static(b"[{\"a\":1},{\"a\":2},{\"a\":3},{");
    let mut splitter = Splitter::new(JsonForm::Array, usize::MAX);
    let mut blocks = Vec::new();
    splitter.push(&piece, |block| blocks.push(block)).unwrap();
    assert_eq!(blocks.len(), 1);
    assert_eq!(
        (blocks[0].items, &blocks[0].text[..]),
        (3, &b"{\"a\":1},{\"a\":2},{\"a\":3}"[..])
    );
    assert_eq!(blocks[0].text.as_ptr(), piece[1..].as_ptr());
}

#[test]
fn bodies_without_items_yield_none() {
    for text in ["", " ", "[]", " [ ] ", "\n[\t]\n"] {
        for form in [JsonForm::Array, JsonForm::Sequence] {
            let mut splitter = Splitter::new(form, usize::MAX);
            assert_eq!(split(&mut splitter, &[text.as_bytes()]), (Vec::new(), Ok(())));
        }
    }
    let mut splitter = Splitter::new(JsonForm::Sequence, usize::MAX);
    assert_eq!(split(&mut splitter, &[b"[][ ] []"]), (Vec::new(), Ok(())));
}

#[test]
fn refuses_malformed_bodies_cut_anywhere() {
    use SplitReason::{EmptyItem, NotAnArray, TrailingText, Truncated, Unbalanced};
    let array: &[(&str, SplitReason, u64, usize)] = &[
        ("{}", NotAnArray, 0, 0),
        (" <html>", NotAnArray, 1, 0),
        ("\u{feff}[]", NotAnArray, 0, 0),
        ("[1,2", Truncated, 4, 1),
        ("[", Truncated, 1, 0),
        ("[\"a]", Truncated, 4, 0),
        ("[1,{\"a\":[2}", Truncated, 11, 1),
        ("[1,2]3", TrailingText, 5, 1),
        ("[1] []", TrailingText, 4, 0),
        ("[1,,2]", EmptyItem, 3, 1),
        ("[,1]", EmptyItem, 1, 0),
        ("[1, ]", EmptyItem, 5, 1),
        ("[,]", EmptyItem, 1, 0),
        ("[1}", Unbalanced, 2, 0),
    ];
    let sequence: &[(&str, SplitReason, u64, usize)] = &[
        ("1,2", Unbalanced, 1, 1),
        ("[1]]", Unbalanced, 3, 1),
        ("{\"a\":1]", Unbalanced, 7 - 1, 0),
        ("[1,", Truncated, 3, 0),
        ("\"abc\\\"", Truncated, 6, 0),
        ("[1,]", EmptyItem, 3, 1),
        ("[,1]", EmptyItem, 1, 0),
    ];
    for (form, cases) in [(JsonForm::Array, array), (JsonForm::Sequence, sequence)] {
        for &(text, reason, offset, before) in cases {
            for at in 0..=text.len() {
                let mut splitter = Splitter::new(form, usize::MAX);
                let (blocks, result) = split(&mut splitter, &[&text.as_bytes()[..at], &text.as_bytes()[at..]]);
                assert_eq!(result, Err(SplitError { offset, reason }), "{text}");
                assert_eq!(items(&blocks).len(), before, "{text}");
                let next = splitter.push(&Bytes::from_static(b"[1,2]"), |_| panic!("no item may follow an error"));
                assert_eq!((next, splitter.finish().err()), (result, result.err()));
            }
        }
    }
}

#[test]
fn skipping_drops_the_first_items_and_counts_down() {
    let mut random = fastrand::Rng::with_seed(23);
    for _ in 0..3_000 {
        let text = array_text(&mut random, 12, 2);
        let expected = parsed(&text);
        let skip = random.usize(..14);
        for form in [JsonForm::Array, JsonForm::Sequence] {
            let mut splitter = Splitter::new(form, usize::MAX).skip(skip as u64);
            let (blocks, result) = split(&mut splitter, &random_pieces(&mut random, text.as_bytes()));
            assert_eq!(result, Ok(()), "{text}");
            assert_eq!(items(&blocks), expected[skip.min(expected.len())..], "{text}");
            assert_eq!(splitter.left_to_skip(), skip.saturating_sub(expected.len()) as u64);
        }
    }
    let mut splitter = Splitter::new(JsonForm::Sequence, usize::MAX).skip(2);
    assert_eq!(items(&split(&mut splitter, &[b"[1]", b"2 3 4"]).0), [3, 4]);
}

#[test]
fn an_item_over_the_limit_is_refused_before_it_is_complete() {
    let limit = 100;
    for form in [JsonForm::Array, JsonForm::Sequence] {
        let mut splitter = Splitter::new(form, limit);
        let fits = format!("[\"{}\",", "a".repeat(98));
        let (mut pushed, mut handed) = (0, 0);
        splitter
            .push(&Bytes::from(fits), |block| handed += block.items)
            .unwrap();
        let error = loop {
            pushed += 10;
            assert!(pushed <= 110);
            if let Err(error) = splitter.push(&Bytes::from_static(b"[[[[[[[[[["), |_| {}) {
                break error;
            }
        };
        assert_eq!(error.reason, SplitReason::ItemTooLarge { limit });
        assert_eq!(pushed, 110);
        if form == JsonForm::Array {
            assert_eq!(handed, 1);
        }
        // The same for a complete item in one piece.
        let mut splitter = Splitter::new(form, limit);
        let whole = Bytes::from(format!("[1,\"{}\",2]", "a".repeat(99)));
        let mut handed = 0;
        let error = splitter.push(&whole, |block| handed += block.items).unwrap_err();
        assert_eq!((error.reason, handed), (SplitReason::ItemTooLarge { limit }, 1));
    }
}

#[test]
fn a_huge_item_in_many_bodies_takes_linear_time() {
    let body = Bytes::from("a".repeat(16 * 1024));
    let mut splitter = Splitter::new(JsonForm::Lines, usize::MAX);
    splitter.push(&Bytes::from_static(b"\""), |_| {}).unwrap();
    for _ in 0..2_000 {
        let mut broken = splitter.clone();
        broken.push(&body, |_| panic!("not complete yet")).unwrap();
        splitter.push(&body, |_| panic!("not complete yet")).unwrap();
        assert_eq!(splitter.pause(), Ok(None));
        assert!(splitter.is_within_item());
    }
    splitter.push(&Bytes::from_static(b"\""), |_| {}).unwrap();
    assert_eq!(
        splitter.finish().unwrap().map(|block| block.text.len()),
        Some(2_000 * 16 * 1024 + 2)
    );
}

#[test]
fn a_huge_item_in_small_pieces_takes_linear_time() {
    let piece = Bytes::from("a".repeat(16 * 1024));
    for form in [JsonForm::Array, JsonForm::Sequence] {
        let mut splitter = Splitter::new(form, usize::MAX);
        splitter.push(&Bytes::from_static(b"[\""), |_| {}).unwrap();
        for _ in 0..1_000 {
            splitter.push(&piece, |_| panic!("not complete yet")).unwrap();
        }
        splitter.push(&Bytes::from_static(b"\"]"), |_| {}).unwrap();
        assert_eq!(
            splitter.finish().unwrap().map(|block| block.text.len()),
            Some(1_000 * 16 * 1024 + 2)
        );
    }
}
