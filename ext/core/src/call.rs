//! One request and its answer: time limits, redirects. `tries` repeats it where that is safe.

use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use rustls::AlertDescription;

use crate::endpoint::Endpoint;
use crate::error::{Error, Kind, Operation, Result};
use crate::http::Pool;
use crate::work::Absence;
use crate::{gunzip, transport, upload};

/// How much of an answer is kept where the answer is not a stream's content.
const ANSWER_LIMIT: usize = 64 * 1024;
const MOST_REDIRECTS: usize = 5;
/// What a TLS server says of a client's certificate that it does not take, or misses (RFC 8446, 6.2).
const REFUSALS: [AlertDescription; 8] = [
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::CertificateRequired,
];

/// Whether a request whose answer was lost may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It has the same effect twice as once.
    Safe,
    /// It might be stored twice: only if it surely was not sent.
    UnlessSent,
}

/// Who ends the wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The client's timeout.
    Bounded,
    /// The server, which holds a live read open on purpose.
    ServerHolds,
}

/// A request, apart from where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) repeat: Repeat,
    pub(crate) patience: Patience,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether an earlier try went unanswered, so that this answer may be to a repetition of what was done already.
    pub(crate) after_silence: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request surely did not reach the server.
    NotSent(Error),
    /// It may have reached the server.
    Unanswered(Error),
    /// Trying again cannot help.
    Final(Error),
}

/// The error that an answer means.
pub(crate) fn error_of(endpoint: &Endpoint, request: &Request, answer: Answer) -> Error {
    let worth_it = endpoint.client().config().retry.covers(answer.status);
    Error::from_answer(
        request.operation,
        endpoint.display(),
        answer.status,
        answer.headers,
        answer.body,
    )
    .worth_another_try_if(worth_it)
}

/// Whether the application is asked for its values once more: a token may have run out (api.md, "Errors").
pub(crate) fn wants_fresh_values(endpoint: &Endpoint, request: &Request, status: StatusCode) -> bool {
    let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    refused && endpoint.is_dynamic() && matches!(request.operation, Operation::Read | Operation::Head)
}

/// Sends the request once and reads its answer.
pub(crate) async fn attempt(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> std::result::Result<Answer, Failure> {
    let response = send(endpoint, pool, request).await?;
    Ok(whole(endpoint, request.operation, response).await)
}

/// An answer that says all in its status and headers. Its body, or the beginning of it, is for a message's text: that it
/// breaks off does not change what the answer says.
pub(crate) async fn whole(endpoint: &Endpoint, operation: Operation, mut response: Response) -> Answer {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = BytesMut::new();
    while body.len() < ANSWER_LIMIT
        && let Ok(Some(piece)) = next_piece(endpoint, operation, &mut response, &Absence::default()).await
    {
        body.extend_from_slice(&piece);
    }
    body.truncate(ANSWER_LIMIT);
    Answer {
        status,
        headers,
        body: body.freeze(),
        after_silence: false,
    }
}

/// The next piece of a body, `None` at its proper end. Bounded by the client's timeout, to which `absence` does not count.
pub(crate) async fn next_piece(
    endpoint: &Endpoint,
    operation: Operation,
    response: &mut Response,
    absence: &Absence,
) -> Result<Option<Bytes>> {
    let limit = endpoint.client().config().timeout;
    let (mut left, mut counted) = (limit, absence.so_far());
    let mut piece = pin!(response.chunk());
    loop {
        if let Ok(piece) = tokio::time::timeout(left, piece.as_mut()).await {
            return piece.map_err(|e| broken(endpoint, operation, &e));
        }
        let absent = absence.so_far();
        if absent == counted {
            return Err(silent(endpoint, operation, limit));
        }
        left = absent.saturating_sub(counted);
        counted = absent;
    }
}

/// The next piece of a body that the server holds open, `None` at its proper end.
pub(crate) async fn next_live_piece(
    endpoint: &Endpoint,
    operation: Operation,
    response: &mut Response,
) -> std::result::Result<Option<Bytes>, Silence> {
    match tokio::time::timeout(endpoint.client().config().live_timeout, response.chunk()).await {
        Ok(piece) => piece.map_err(|e| Silence::Broken(broken(endpoint, operation, &e))),
        Err(_) => Err(Silence::Idle),
    }
}

/// Why there is no next piece of a body that the server holds open.
pub(crate) enum Silence {
    /// The server said nothing for longer than one waits for it.
    Idle,
    /// The body broke off.
    Broken(Error),
}

/// The body broke off, or could not be decoded.
fn broken(endpoint: &Endpoint, operation: Operation, error: &reqwest::Error) -> Error {
    let reason = format!("the answer broke off: {}", root_cause(error));
    Error::new(Kind::Connection, operation, endpoint.display(), reason)
}

/// Sends the request once (and follows redirects where that is allowed); returns as soon as the headers are there.
pub(crate) async fn send(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> std::result::Result<Response, Failure> {
    let query: Vec<(&str, &str)> = request
        .query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let prepared = endpoint
        .prepare(request.operation, &request.headers, &query)
        .await
        .map_err(Failure::Final)?;
    let (mut url, mut headers) = (prepared.url, prepared.headers);
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return send_to(endpoint, pool, request, url, headers).await;
    }
    for _ in 0..=MOST_REDIRECTS {
        let response = send_to(endpoint, pool, request, url.clone(), headers.clone()).await?;
        if !(response.status().is_redirection() && response.headers().contains_key(LOCATION)) {
            return Ok(response);
        }
        let to = target(endpoint, request.operation, &url, &response).map_err(Failure::Final)?;
        let from = std::mem::replace(&mut url, to);
        if url.origin() != from.origin() {
            // Another origin gets nothing of the user's: neither secrets nor cookies.
            headers = request.headers.clone();
        }
    }
    let reason = format!("more than {MOST_REDIRECTS} redirects");
    Err(Failure::Final(Error::new(
        Kind::Status,
        request.operation,
        endpoint.display(),
        reason,
    )))
}

/// Where a redirect leads.
fn target(endpoint: &Endpoint, operation: Operation, from: &Url, response: &Response) -> Result<Url> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let joined = location.and_then(|location| from.join(location).ok());
    joined
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            Error::new(
                Kind::Status,
                operation,
                endpoint.display(),
                "a redirect to something that is not a web address",
            )
        })
}

async fn send_to(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    url: Url,
    headers: HeaderMap,
) -> std::result::Result<Response, Failure> {
    endpoint.check_open(request.operation).map_err(Failure::Final)?;
    let config = endpoint.client().config();
    let limit = match request.patience {
        Patience::Bounded => config.timeout,
        // Connecting is bounded by `timeout` and no news; only what comes after it is held.
        Patience::ServerHolds => config.timeout + config.live_timeout,
    };
    if let Some(application) = endpoint.transport() {
        return transport::ask(endpoint, application, request, url, headers, limit).await;
    }
    let other_pool = endpoint.other_pool(request.operation, pool, &url);
    let other_pool = other_pool.map_err(Failure::Final)?;
    let pool = other_pool.as_ref().unwrap_or(pool);
    pool.check(&url)
        .map_err(|why| Failure::Final(why.at(request.operation, endpoint.display())))?;
    let mut message = reqwest::Request::new(request.method.clone(), url);
    *message.headers_mut() = headers;
    message.headers_mut().entry(ACCEPT_ENCODING).or_insert(gunzip::ACCEPTED);
    let mut progress = upload::Progress::default();
    let is_empty = request.body.as_ref().is_none_or(Bytes::is_empty);
    if is_empty && matches!(request.method, Method::POST | Method::PUT) {
        // Unsaid, some gateways refuse it (411; RFC 9110, 8.6).
        message
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some(bytes) = &request.body {
        let (body, watched) = upload::body(bytes.clone());
        *message.body_mut() = Some(body);
        progress = watched;
    }
    let sending = pool.connections().execute(message);
    if let Some(sent) = upload::unless_silent(limit, &progress, sending).await {
        return sent
            .map(gunzip::decoded)
            .map_err(|e| unsent(endpoint, request.operation, &e));
    }
    let error = silent(endpoint, request.operation, limit);
    Err(match !is_empty && !progress.begun() {
        true => Failure::NotSent(error),
        false => Failure::Unanswered(error),
    })
}

pub(crate) fn silent(endpoint: &Endpoint, operation: Operation, limit: Duration) -> Error {
    let reason = format!("no answer within {} s", limit.as_secs_f64());
    Error::new(Kind::Timeout, operation, endpoint.display(), reason)
}

fn unsent(endpoint: &Endpoint, operation: Operation, error: &reqwest::Error) -> Failure {
    let cause = root_cause(error);
    let fail = |kind, reason: String| Error::new(kind, operation, endpoint.display(), reason);
    if error.is_builder() {
        Failure::Final(fail(Kind::Argument, cause))
    } else if is_about_certificates(error) {
        Failure::Final(fail(Kind::Connection, format!("could not connect: {cause}")))
    } else if is_plain_text(error) {
        let reason = "the server does not speak TLS: it answered in plain text (is its URL an http:// one?)";
        Failure::Final(fail(Kind::Connection, format!("could not connect: {reason}")))
    } else if was_refused(error) {
        Failure::NotSent(fail(
            Kind::Connection,
            format!("the server did not take the request: {cause}"),
        ))
    } else if error.is_connect() && error.is_timeout() {
        Failure::NotSent(fail(Kind::Timeout, format!("could not connect in time: {cause}")))
    } else if error.is_connect() {
        Failure::NotSent(fail(Kind::Connection, format!("could not connect: {cause}")))
    } else {
        Failure::Unanswered(fail(Kind::Connection, format!("the connection was lost: {cause}")))
    }
}

/// Whether a certificate is at fault, the server's or the client's, which no repetition mends. With TLS 1.3 a server may
/// refuse the client's after the request was sent; it has not read the request then.
fn is_about_certificates(error: &reqwest::Error) -> bool {
    tls_errors(error).any(|tls| match tls {
        rustls::Error::InvalidCertificate(_) => true,
        rustls::Error::AlertReceived(alert) => REFUSALS.contains(alert),
        _ => false,
    })
}

/// Whether the server answered the TLS handshake with something that is not TLS, such as HTTP.
fn is_plain_text(error: &reqwest::Error) -> bool {
    let not_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    error.is_connect() && tls_errors(error).any(|tls| *tls == not_tls)
}

fn tls_errors(error: &reqwest::Error) -> impl Iterator<Item = &rustls::Error> {
    causes(error).filter_map(|cause| {
        let mut inner = cause;
        // An I/O error does not count what it wraps, another one perhaps, among its causes.
        while let Some(wrapped) = inner.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
            inner = wrapped;
        }
        inner.downcast_ref::<rustls::Error>()
    })
}

/// Whether the server said, by HTTP/2, that it did nothing with the request (RFC 9113, 6.8 and 8.7).
fn was_refused(error: &reqwest::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|http2| {
            let reason = http2.reason();
            http2.is_remote()
                && (http2.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
                    || http2.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
        })
}

/// What lies behind an error, from the outside in.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn std::error::Error + 'static)| {
        (*cause).source()
    })
}

/// The innermost reason of an error, which is the one that says something ("Connection refused").
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    // reqwest's own texts name the URL, which may hold secrets; a bare reqwest error has no inner reason.
    causes(error)
        .last()
        .map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::net::TcpListener;

    /// The error of a POST to an HTTP/2 server that treats it as `answer` says.
    async fn post_over_http2(answer: fn(&mut h2::server::SendResponse<Bytes>)) -> reqwest::Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/s", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    answer(&mut respond);
                }
            }
        });
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http2_prior_knowledge()
            .build()
            .unwrap();
        let (body, _) = upload::body(Bytes::from_static(b"data"));
        client.post(url).body(body).send().await.unwrap_err()
    }

    #[tokio::test]
    async fn a_request_that_http2_refused_was_not_processed() {
        let error = post_over_http2(|respond| respond.send_reset(h2::Reason::REFUSED_STREAM)).await;
        assert!(was_refused(&error), "{error:?}");
    }

    #[tokio::test]
    async fn a_request_that_http2_reset_for_another_reason_may_have_been() {
        let error = post_over_http2(|respond| respond.send_reset(h2::Reason::INTERNAL_ERROR)).await;
        assert!(!was_refused(&error), "{error:?}");
    }
}
