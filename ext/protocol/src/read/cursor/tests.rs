use super::*;

fn progress(offset: &str, up_to_date: bool, closed: bool) -> Progress {
    Progress {
        next_offset: offset.to_owned(),
        cursor: None,
        up_to_date,
        closed,
        status: 200,
        mode: Mode::CatchUp,
        skip: Units(0),
    }
}

fn at(live: Live) -> Cursor {
    Cursor::new(live, Position::new("", None), Some(Media::Json))
}

#[test]
fn an_empty_offset_is_the_start() {
    assert_eq!(at(Live::Off).query(Mode::CatchUp), [("offset", "-1".to_owned())]);
}

#[test]
fn a_catch_up_read_ends_when_it_is_up_to_date_and_not_before() {
    let mut cursor = at(Live::Off);
    cursor.advance(&mut progress("1", false, false), Brought::Data, Duration::ZERO);
    assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
    cursor.advance(&mut progress("2", true, false), Brought::Data, Duration::ZERO);
    assert_eq!(cursor.next(), ReadStep::End);
}

#[test]
fn live_reads_catch_up_first_and_end_only_with_the_stream() {
    for (live, mode) in [(Live::LongPoll, Mode::LongPoll), (Live::Auto, Mode::Sse)] {
        let mut cursor = at(live);
        assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
        cursor.advance(&mut progress("1", true, false), Brought::Data, Duration::ZERO);
        assert_eq!(cursor.next(), ReadStep::Request(mode));
        cursor.advance(
            &mut progress("1", true, false),
            Brought::Nothing,
            Duration::from_secs(30),
        );
        assert_eq!(cursor.next(), ReadStep::Request(mode));
        cursor.advance(&mut progress("2", false, false), Brought::Data, Duration::ZERO);
        assert_eq!(
            cursor.next(),
            ReadStep::Request(mode),
            "a response that is not up to date does not lead back to catch-up requests"
        );
        cursor.advance(&mut progress("2", true, true), Brought::Nothing, Duration::ZERO);
        assert_eq!(cursor.next(), ReadStep::End);
    }
}

#[test]
fn auto_uses_sse_for_json_and_text() {
    for (media, mode) in [
        ("application/json", Mode::Sse),
        ("application/x+json", Mode::Sse),
        ("application/x-ndjson", Mode::Sse),
        ("text/plain; charset=utf-8", Mode::Sse),
        ("application/octet-stream", Mode::LongPoll),
    ] {
        let mut cursor = Cursor::new(Live::Auto, Position::new("", None), None);
        cursor.learn_media(Media::of(media));
        cursor.learn_media(Media::Bytes);
        cursor.advance(&mut progress("1", true, false), Brought::Data, Duration::ZERO);
        assert_eq!(cursor.next(), ReadStep::Request(mode), "{media}");
    }
}

#[test]
fn requests_now_once_and_not_live() {
    for (live, then) in [
        (Live::LongPoll, ReadStep::Request(Mode::LongPoll)),
        (Live::Auto, ReadStep::Request(Mode::LongPoll)),
        (Live::Sse, ReadStep::Request(Mode::Sse)),
        (Live::Off, ReadStep::End),
    ] {
        let mut cursor = Cursor::new(live, Position::new("now", None), None);
        assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
        cursor.advance(&mut progress("7", true, false), Brought::Nothing, Duration::ZERO);
        assert_eq!(cursor.next(), then);
    }
}

#[test]
fn skips_what_an_incomplete_response_handed_out_until_the_position_moves() {
    let mut cursor = at(Live::Off);
    cursor.handed_out(Units(3));
    cursor.handed_out(Units(4));
    assert_eq!(cursor.position().skip, Units(7));
    cursor.advance(&mut progress("1", true, false), Brought::Data, Duration::ZERO);
    assert_eq!(cursor.position().skip, Units(0));
}

#[test]
fn an_empty_response_that_neither_moves_nor_is_up_to_date_is_a_failure() {
    for (live, took) in [(Live::Off, 0), (Live::LongPoll, 0), (Live::LongPoll, 30)] {
        let mut cursor = at(live);
        let mut advance = |offset, up_to_date| {
            cursor.advance(
                &mut progress(offset, up_to_date, false),
                Brought::Nothing,
                Duration::from_secs(took),
            )
        };
        assert_eq!(advance("5", false), Stall::None, "it moves");
        assert_eq!(advance("5", false), Stall::Failing);
        assert_eq!(advance("5", false), Stall::Failing);
        assert_eq!(advance("6", false), Stall::None);
        assert_eq!(advance("6", true), Stall::None, "it is up to date");
    }
}

#[test]
fn an_empty_response_does_not_move_the_position_back() {
    for up_to_date in [false, true] {
        let mut cursor = at(Live::LongPoll);
        cursor.advance(&mut progress("5", true, false), Brought::Data, Duration::ZERO);
        cursor.handed_out(Units(2));
        for offset in ["4", "-1"] {
            let mut back = progress(offset, up_to_date, false);
            let stall = cursor.advance(&mut back, Brought::Nothing, Duration::from_secs(30));
            assert_eq!((stall, &back.next_offset[..], back.skip), (Stall::Back, "5", Units(2)));
            assert_eq!((&cursor.position().offset[..], cursor.position().skip), ("5", Units(2)));
        }
    }
}

#[test]
fn an_empty_response_that_goes_back_is_neither_up_to_date_nor_the_end() {
    for (live, closed) in [(Live::Off, false), (Live::Off, true), (Live::LongPoll, true)] {
        let mut cursor = Cursor::new(live, Position::new("5", None), None);
        let mut back = progress("4", true, closed);
        let stall = cursor.advance(&mut back, Brought::Nothing, Duration::ZERO);
        assert_eq!((stall, back.up_to_date, back.closed), (Stall::Back, false, false));
        assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
    }
}

#[test]
fn a_catch_up_request_follows_a_long_poll_that_timed_out_with_another_offset() {
    for closed in [false, true] {
        let mut cursor = at(Live::LongPoll);
        cursor.advance(&mut progress("5", true, false), Brought::Data, Duration::ZERO);
        cursor.handed_out(Units(2));
        let mut poll = Progress {
            status: 204,
            mode: Mode::LongPoll,
            ..progress("7", true, closed)
        };
        let stall = cursor.advance(&mut poll, Brought::Nothing, Duration::from_secs(30));
        assert_eq!((stall, &poll.next_offset[..], poll.skip), (Stall::None, "5", Units(2)));
        assert_eq!((poll.up_to_date, poll.closed), (false, false));
        assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
    }
}

#[test]
fn data_move_the_position_even_to_a_smaller_offset() {
    let mut cursor = Cursor::new(Live::Off, Position::new("9", None), None);
    let stall = cursor.advance(&mut progress("10", false, false), Brought::Data, Duration::ZERO);
    assert_eq!((stall, &cursor.position().offset[..]), (Stall::None, "10"));
}

#[test]
fn many_empty_responses_with_new_offsets_are_slowed_but_no_failure() {
    let mut cursor = at(Live::Off);
    let stalls: Vec<_> = ["1", "2", "3", "4", "5"]
        .map(|offset| cursor.advance(&mut progress(offset, false, false), Brought::Nothing, Duration::ZERO))
        .into();
    let free = [Stall::None; 3];
    assert_eq!(stalls, [&free[..], &[Stall::Slow; 2]].concat());
    assert_eq!(
        cursor.advance(&mut progress("6", false, false), Brought::Data, Duration::ZERO),
        Stall::None
    );
    assert_eq!(
        cursor.advance(&mut progress("7", false, false), Brought::Nothing, Duration::ZERO),
        Stall::None
    );
}

#[test]
fn slows_down_after_polls_that_end_at_once_but_not_after_long_ones() {
    let mut cursor = at(Live::LongPoll);
    let mut poll = |took| {
        (0..5)
            .map(|_| cursor.advance(&mut progress("-1", true, false), Brought::Nothing, took))
            .last()
    };
    assert_eq!(poll(Duration::from_secs(1)), Some(Stall::None));
    assert_eq!(poll(Duration::ZERO), Some(Stall::Slow));
}

#[test]
fn sorts_parameters_and_sends_the_cursor() {
    let mut cursor = at(Live::LongPoll);
    let mut response = Progress {
        cursor: Some("c".to_owned()),
        ..progress("9", true, false)
    };
    cursor.advance(&mut response, Brought::Data, Duration::ZERO);
    let names: Vec<_> = cursor.query(Mode::LongPoll).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["cursor", "live", "offset"]);
}
