use std::time::Duration;

use bytes::Bytes;
use durable_streams_protocol::error::Kind;
use durable_streams_protocol::read::cursor::Position;
use durable_streams_protocol::read::payload::Format;
use durable_streams_protocol::target::Values;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::*;
use crate::connections::{Client, Config};
use crate::transport::{Answering, Content, Incoming, Outgoing, Transport};

/// Answers every request in the same way.
struct Same(fn() -> Answering);

impl Transport for Same {
    fn answer(&self, _: Outgoing) -> Answering {
        (self.0)()
    }
}

fn session(live: Live, answering: fn() -> Answering) -> Session {
    let config = Config {
        timeout: Duration::from_secs(60),
        ..Config::for_trials()
    };
    let endpoint = Endpoint::new(Client::new(config), "http://h/s", Values::default(), None).unwrap();
    let endpoint = Arc::new(endpoint.answered_by(Arc::new(Same(answering))));
    let options = ReadOptions {
        live,
        position: Position::new("-1", None),
        format: Format::Bytes,
        media: None,
        past_caches: false,
    };
    Session::start(&endpoint, options).unwrap()
}

/// An answer that ends a read that is not live.
fn whole() -> Answering {
    let mut headers = HeaderMap::new();
    headers.insert("stream-next-offset", "3".parse().unwrap());
    headers.insert("stream-up-to-date", "true".parse().unwrap());
    let answer = Incoming {
        status: StatusCode::OK,
        headers,
        body: Content::Whole(Bytes::from_static(b"abc")),
    };
    Box::pin(async { Ok(answer) })
}

fn panicking() -> Answering {
    Box::pin(async { panic!("at the worst moment") })
}

/// All that a read brings, as bytes, and what it fails with.
async fn all(events: &mut Events) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(event) = events.next(1).await {
        if let Event::Part(part) | Event::End(Some(part), _) = event? {
            bytes.extend_from_slice(part.bytes());
        }
    }
    Ok(bytes)
}

fn new_work(events: &mut Events) -> Work<()> {
    match events.unattended(1) {
        Some(Unattended::New(work)) => work,
        _ => panic!("it has begun"),
    }
}

#[tokio::test]
async fn a_catch_up_read_is_begun_by_the_first_call_that_waits() {
    let session = session(Live::Off, whole);
    let mut events = session.events().await;
    let work = new_work(&mut events);
    assert!(events.unattended(1).is_none());
    events.leave_to(work.spawn().unwrap());
    assert!(events.unattended(1).is_none());
    assert_eq!(all(&mut events).await.unwrap(), b"abc");
}

#[tokio::test]
async fn a_live_read_is_not_left_to_a_call_that_waits() {
    let session = session(Live::LongPoll, panicking);
    assert!(session.events().await.unattended(1).is_none());
}

#[tokio::test]
async fn a_panic_in_a_read_is_an_error() {
    let session = session(Live::LongPoll, panicking);
    let failure = all(&mut session.events().await).await.unwrap_err();
    assert!(matches!(failure.kind(), Kind::Internal));
    assert!(failure.to_string().contains("at the worst moment"), "{failure}");
}

#[cfg(unix)]
mod here {
    use std::fs::File;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::task::Poll;

    use super::*;
    use crate::inline::job::{Driven, Ran};

    /// A bell that nobody rings: a pipe whose other end stays open.
    fn silence() -> BorrowedFd<'static> {
        let (ear, rope) = std::io::pipe().unwrap();
        std::mem::forget(rope);
        let ear: &'static File = Box::leak(Box::new(File::from(std::os::fd::OwnedFd::from(ear))));
        // SAFETY: leaked, so open as long as the process lives.
        unsafe { BorrowedFd::borrow_raw(ear.as_raw_fd()) }
    }

    fn driven(session: &Session) -> (Driven<()>, Events) {
        let mut events = now(session.events());
        let driven = new_work(&mut events).drive().unwrap();
        (driven.ok().unwrap(), events)
    }

    /// All that comes from another thread.
    fn elsewhere(events: &mut Events) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(all(events)).unwrap()
    }

    fn now<F: Future>(future: F) -> F::Output {
        use futures_util::FutureExt;
        future.now_or_never().unwrap()
    }

    #[test]
    fn the_waiting_thread_reads_a_short_answer_itself() {
        let session = session(Live::Off, whole);
        let (mut driven, mut events) = driven(&session);
        let ran = driven.run::<()>(silence(), None, || false, |_| Poll::Pending);
        assert!(matches!(ran, Ran::Done(Ok(()))));
        assert_eq!(now(all(&mut events)).unwrap(), b"abc");
    }

    #[test]
    fn an_interrupt_that_rings_no_bell_is_found_within_a_period() {
        let session = session(Live::Off, || Box::pin(std::future::pending()));
        let (mut driven, _events) = driven(&session);
        let looks = std::cell::Cell::new(0);
        let third_time = || looks.replace(looks.get() + 1) == 2;
        let period = Some(Duration::from_millis(1));
        let ran = driven.run::<()>(silence(), period, third_time, |_| Poll::Pending);
        assert!(matches!(ran, Ran::Interrupted));
    }

    #[test]
    fn a_short_rest_is_left_to_who_waits_next_but_only_once() {
        let session = session(Live::Off, whole);
        let (mut driven, mut events) = driven(&session);
        assert!(matches!(
            driven.run(silence(), None, || true, |_| Poll::Pending::<()>),
            Ran::Interrupted
        ));
        events.take_back(driven, Rest::Short);
        let Some(Unattended::Paused(driven)) = events.unattended(1) else {
            panic!("it is lost");
        };
        events.take_back(driven, Rest::Short);
        assert!(events.unattended(1).is_none());
        assert_eq!(elsewhere(&mut events), b"abc");
    }

    #[test]
    fn a_long_rest_is_read_by_another_thread() {
        let session = session(Live::Off, whole);
        let (driven, mut events) = driven(&session);
        events.take_back(driven, Rest::Long);
        assert!(events.unattended(1).is_none());
        assert_eq!(elsewhere(&mut events), b"abc");
    }

    #[test]
    fn an_unfinished_request_ends_with_its_session() {
        static GONE: std::sync::Mutex<Option<std::sync::mpsc::Sender<()>>> = std::sync::Mutex::new(None);
        let (told, gone) = std::sync::mpsc::channel();
        *GONE.lock().unwrap() = Some(told);
        let session = session(Live::Off, || {
            let held = GONE.lock().unwrap().take();
            Box::pin(async move {
                let _until_dropped = held;
                std::future::pending().await
            })
        });
        let (driven, mut events) = driven(&session);
        events.take_back(driven, Rest::Long);
        drop((events, session));
        // A request that ends before it was begun has not taken it.
        drop(GONE.lock().unwrap().take());
        assert!(gone.recv().is_err());
    }
}
