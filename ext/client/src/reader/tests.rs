use std::time::Duration;

use bytes::Bytes;
use durable_streams_protocol::error::Kind;
use durable_streams_protocol::read::cursor::{Live, Position};
use durable_streams_protocol::read::payload::Format;
use durable_streams_protocol::request::{Request, ResponseTimeout};
use durable_streams_protocol::target::Values;
use futures_util::FutureExt;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use super::shared_poll::{self, Joined};
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
    let bytes = all(&mut events).now_or_never().unwrap();
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

fn long_poll(url: &str, client: &Arc<Client>) -> (Arc<Endpoint>, Arc<Request>) {
    let endpoint = Endpoint::new(Arc::clone(client), url, Values::default(), None).unwrap();
    let mut request = Request::new(Operation::Read, Method::GET, HeaderMap::new(), None);
    request.query = vec![("live", "long-poll".to_owned()), ("offset", "1".to_owned())];
    request.response_timeout = ResponseTimeout::Live;
    (Arc::new(endpoint), Arc::new(request))
}

#[tokio::test]
async fn one_reader_sends_a_long_poll_and_the_next_one_when_it_has_gone() {
    let (endpoint, request) = long_poll("http://h/s", &Client::new(Config::for_tests()));
    let join = || Box::pin(shared_poll::join(&endpoint, &request, 1));
    let Joined::Leader(leader) = join().await else {
        panic!("the first reader waits for another one")
    };
    let (mut second, mut third) = (join(), join());
    assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
    drop(leader);
    let Joined::Leader(leader) = second.await else {
        panic!("no reader sends the request")
    };
    assert!((&mut third).now_or_never().is_none());
    leader.if_followed().expect("a reader waits").end(None);
    assert!(matches!(third.await, Joined::Alone));
    assert!(matches!(join().await, Joined::Leader(_)));
}

#[tokio::test]
async fn long_polls_of_other_streams_clients_and_tries_are_not_shared() {
    let client = Client::new(Config::for_tests());
    let (endpoint, request) = long_poll("http://h/s", &client);
    let _leader = shared_poll::join(&endpoint, &request, 1).await;
    let others = [
        ("http://h/t", &client),
        ("http://h/s?a=1", &client),
        ("http://h/s", &Client::new(Config::for_tests())),
    ];
    for (url, client) in others {
        let (endpoint, request) = long_poll(url, client);
        let joined = shared_poll::join(&endpoint, &request, 1).await;
        assert!(matches!(joined, Joined::Leader(_)), "{url}");
    }
    let retried = shared_poll::join(&endpoint, &request, 2).await;
    assert!(matches!(retried, Joined::Alone));
}
