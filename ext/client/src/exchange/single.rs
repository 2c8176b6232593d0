//! One request to one URL, until the headers of its response have arrived. Redirects are followed in `redirect`.

use std::time::Duration;

use bytes::Bytes;
use durable_streams_protocol::request::{Request, RequestFailure, ResponseTimeout};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};

use super::failure::{silent, unsent};
use super::incoming::Incoming;
use super::observation::{Attempt, Observation};
use super::{gunzip, in_memory, upload, whole};
use crate::connections::Pool;
use crate::endpoint::Endpoint;

/// Sends the request to `url` with these headers, in place of its own.
pub(super) async fn send_to(
    attempt: Attempt<'_>,
    pool: &Pool,
    url: Url,
    headers: HeaderMap,
) -> Result<Incoming, RequestFailure> {
    let Attempt { endpoint, request, .. } = attempt;
    endpoint.check_open(request.operation).map_err(RequestFailure::Final)?;
    let config = endpoint.client().config();
    let limit = match request.response_timeout {
        ResponseTimeout::Normal => config.timeout,
        ResponseTimeout::AtMost(limit) => config.timeout.min(limit),
        // Connecting takes `timeout` at most. The server may then wait for new data for as long as `live_timeout`.
        ResponseTimeout::Live => config.timeout + config.live_timeout,
    };
    if endpoint.transport().is_none() {
        pool.check(&url)
            .map_err(|why| RequestFailure::Final(why.at(request.operation, endpoint.display())))?;
    }
    let mut observation = Observation::begin(attempt, &url);
    let (outcome, bytes_sent) = match endpoint.transport() {
        Some(application) => {
            let about = endpoint.about(request.operation);
            let outcome = in_memory::execute(about, application, request, url, headers, limit).await;
            (outcome, request.body.as_ref().map_or(0, Bytes::len))
        }
        None => exchange(endpoint, pool, request, url, headers, limit).await,
    };
    if let Some(observation) = &mut observation {
        observation.sent(bytes_sent);
        if let Err(failure) = &outcome {
            observation.failed(failure.error());
        }
    }
    outcome.map(|response| Incoming::new(response, observation))
}

/// Sends the request over the network. Returns the outcome, and how many bytes of the body the connection has taken.
async fn exchange(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    url: Url,
    headers: HeaderMap,
    limit: Duration,
) -> (Result<Response, RequestFailure>, usize) {
    let is_empty = request.body.as_ref().is_none_or(Bytes::is_empty);
    let (message, progress) = message(request, url, headers, is_empty);
    let connections = pool.connections();
    let live = request.is_live().then(|| connections.client_of_live_read()).flatten();
    let sending = live
        .as_ref()
        .map_or_else(|| connections.client(), |(client, _)| client)
        .execute(message);
    // The two ways to fail differ in when a body counts as not sent. After an error the connection has ended, so a body
    // that it had not taken completely never arrives completely. After silence the connection still works, and may take
    // the rest of the body while this request is being cancelled. Only a body that it had not begun is surely not sent.
    let outcome = match upload::with_silence_limit(limit, &progress, sending).await {
        Some(Ok(response)) => {
            endpoint.client().note_version(response.version());
            // After a request with a body, a server may reset the stream behind its complete response.
            let mut response = gunzip::decoded(match is_empty {
                true => whole::checked(response),
                false => response,
            });
            // Until the response has ended.
            if let Some((_, read)) = live {
                response.extensions_mut().insert(read);
            }
            Ok(response)
        }
        Some(Err(error)) => {
            let proxy = error.url().and_then(|url| pool.proxy_for(url));
            let timeout = endpoint.client().config().timeout;
            let failure = unsent(endpoint.about(request.operation), error, timeout, proxy.as_deref());
            Err(match failure {
                RequestFailure::ResponseLost(error) if !is_empty && !progress.complete() => {
                    RequestFailure::NotSent(error)
                }
                failure => failure,
            })
        }
        None => {
            let about = endpoint.about(request.operation);
            let error = silent(about, "no response", limit, request.response_timeout);
            Err(match !is_empty && !progress.begun() {
                true => RequestFailure::NotSent(error),
                false => RequestFailure::ResponseLost(error),
            })
        }
    };
    (outcome, progress.taken())
}

/// The request for reqwest, and the progress of its body.
fn message(request: &Request, url: Url, headers: HeaderMap, is_empty: bool) -> (reqwest::Request, upload::Progress) {
    let mut message = reqwest::Request::new(request.method.clone(), url);
    *message.headers_mut() = headers;
    message.headers_mut().entry(ACCEPT_ENCODING).or_insert(gunzip::ACCEPTED);
    if is_empty && matches!(request.method, Method::POST | Method::PUT) {
        // Without this header some gateways refuse the request (411; RFC 9110, 8.6).
        message
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let mut progress = upload::Progress::default();
    if let Some(bytes) = &request.body {
        let (body, body_progress) = upload::body(bytes.clone());
        *message.body_mut() = Some(body);
        progress = body_progress;
    }
    (message, progress)
}
