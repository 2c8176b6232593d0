use std::time::Duration;

use bytes::Bytes;
use durable_streams_protocol::error::Kind;
use durable_streams_protocol::read::cursor::{Live, Position};
use durable_streams_protocol::read::payload::Format;
use durable_streams_protocol::target::Values;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::*;
use crate::connections::{Client, Config};
use crate::transport::{ResponseFuture, Transport, TransportBody, TransportRequest, TransportResponse};

/// Responds to every request in the same way.
struct OneResponse(fn() -> ResponseFuture);

impl Transport for OneResponse {
    fn execute(&self, _: TransportRequest) -> ResponseFuture {
        (self.0)()
    }
}

fn reading(respond: fn() -> ResponseFuture) -> (Arc<Endpoint>, ReadOptions) {
    let config = Config {
        timeout: Duration::from_secs(60),
        ..Config::for_tests()
    };
    let endpoint = Endpoint::new(Client::new(config), "http://h/s", Values::default(), None).unwrap();
    let endpoint = Arc::new(endpoint.with_transport(Arc::new(OneResponse(respond))));
    let options = ReadOptions {
        live: Live::Off,
        position: Position::new("-1", None),
        format: Format::Bytes,
        media: None,
        no_cache: false,
        retry: None,
        patient: false,
        max_bytes: usize::MAX,
        has_succeeded: false,
    };
    (endpoint, options)
}

fn session(respond: fn() -> ResponseFuture) -> Session {
    let (endpoint, options) = reading(respond);
    Session::start(&endpoint, options).unwrap()
}

/// A response that ends a read that is not live.
fn whole() -> ResponseFuture {
    let mut headers = HeaderMap::new();
    headers.insert("stream-next-offset", "3".parse().unwrap());
    headers.insert("stream-up-to-date", "true".parse().unwrap());
    let response = TransportResponse {
        status: StatusCode::OK,
        headers,
        body: TransportBody::Whole(Bytes::from_static(b"abc")),
    };
    Box::pin(async { Ok(response) })
}

fn panicking() -> ResponseFuture {
    Box::pin(async { panic!("at the worst moment") })
}

/// The bytes of a read, or its error.
async fn all(events: &mut EventsLock) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(event) = events.next(1).await {
        if let ReadEvent::Part(part) | ReadEvent::End(Some(part), _) = event? {
            bytes.extend_from_slice(part.bytes());
        }
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_panic_in_a_read_becomes_an_error() {
    let session = session(panicking);
    let failure = all(&mut session.lock_events().await).await.unwrap_err();
    assert!(matches!(failure.kind(), Kind::Internal));
    assert!(failure.to_string().contains("at the worst moment"), "{failure}");
}

#[tokio::test]
async fn a_session_reads_without_a_waiting_caller() {
    let session = session(whole);
    assert_eq!(all(&mut session.lock_events().await).await.unwrap(), b"abc");
}

#[tokio::test]
async fn dropping_a_session_cancels_its_request() {
    static GONE: std::sync::Mutex<Option<std::sync::mpsc::Sender<()>>> = std::sync::Mutex::new(None);
    let (sender, gone) = std::sync::mpsc::channel();
    *GONE.lock().unwrap() = Some(sender);
    let session = session(|| {
        let sender = GONE.lock().unwrap().take();
        Box::pin(async move {
            let _until_dropped = sender;
            std::future::pending().await
        })
    });
    drop(session);
    // A request that was cancelled before it began has not taken the sender.
    drop(GONE.lock().unwrap().take());
    assert!(gone.recv().is_err());
}

#[tokio::test]
async fn a_small_read_is_complete_when_its_job_is_done() {
    let (endpoint, options) = reading(whole);
    let (session, job) = Session::inline(&endpoint, options);
    assert!(job.spawn().unwrap().await.unwrap());
    let mut events = session.lock_events().await;
    let bytes = futures_util::FutureExt::now_or_never(all(&mut events)).unwrap();
    assert_eq!(bytes.unwrap(), b"abc");
}

#[tokio::test]
async fn a_job_ends_early_if_its_read_has_more_than_one_small_response() {
    let (endpoint, options) = reading(|| {
        let mut headers = HeaderMap::new();
        headers.insert("stream-next-offset", "3".parse().unwrap());
        let response = TransportResponse {
            status: StatusCode::OK,
            headers,
            body: TransportBody::Whole(Bytes::from_static(b"abc")),
        };
        Box::pin(async { Ok(response) })
    });
    let (_session, job) = Session::inline(&endpoint, options);
    assert!(!job.spawn().unwrap().await.unwrap());
}
