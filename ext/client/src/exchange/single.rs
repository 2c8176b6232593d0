//! One request to one URL, until the headers of its response have arrived. Redirects are followed in `redirect`.

use bytes::Bytes;
use durable_streams_protocol::request::{Request, RequestFailure, ResponseTimeout};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};

use super::failure::{silent, unsent};
use super::{gunzip, in_memory, upload};
use crate::connections::Pool;
use crate::endpoint::Endpoint;

/// Sends the request to `url` with these headers, in place of its own.
pub(super) async fn send_to(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    url: Url,
    headers: HeaderMap,
) -> Result<Response, RequestFailure> {
    endpoint.check_open(request.operation).map_err(RequestFailure::Final)?;
    let config = endpoint.client().config();
    let limit = match request.response_timeout {
        ResponseTimeout::Normal => config.timeout,
        ResponseTimeout::AtMost(limit) => config.timeout.min(limit),
        // Connecting takes `timeout` at most. The server may then wait for new data for as long as `live_timeout`.
        ResponseTimeout::Live => config.timeout + config.live_timeout,
    };
    if let Some(application) = endpoint.transport() {
        return in_memory::execute(
            endpoint.about(request.operation),
            application,
            request,
            url,
            headers,
            limit,
        )
        .await;
    }
    pool.check(&url)
        .map_err(|why| RequestFailure::Final(why.at(request.operation, endpoint.display())))?;
    let mut message = reqwest::Request::new(request.method.clone(), url);
    *message.headers_mut() = headers;
    message.headers_mut().entry(ACCEPT_ENCODING).or_insert(gunzip::ACCEPTED);
    let mut progress = upload::Progress::default();
    let is_empty = request.body.as_ref().is_none_or(Bytes::is_empty);
    if is_empty && matches!(request.method, Method::POST | Method::PUT) {
        // Without this header some gateways refuse the request (411; RFC 9110, 8.6).
        message
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some(bytes) = &request.body {
        let (body, body_progress) = upload::body(bytes.clone());
        *message.body_mut() = Some(body);
        progress = body_progress;
    }
    let sending = pool.connections().execute(message);
    // The two ways to fail differ in when a body counts as not sent. After an error the connection has ended, so a body
    // that it had not taken completely never arrives completely. After silence the connection still works, and may take
    // the rest of the body while this request is being cancelled. Only a body that it had not begun is surely not sent.
    if let Some(sent) = upload::with_silence_limit(limit, &progress, sending).await {
        return sent.map(gunzip::decoded).map_err(|e| {
            let proxy = e.url().and_then(|url| pool.proxy_for(url));
            match unsent(endpoint.about(request.operation), e, config.timeout, proxy.as_deref()) {
                RequestFailure::ResponseLost(error) if !is_empty && !progress.complete() => {
                    RequestFailure::NotSent(error)
                }
                failure => failure,
            }
        });
    }
    let about = endpoint.about(request.operation);
    let error = silent(about, "no response", limit, request.response_timeout);
    Err(match !is_empty && !progress.begun() {
        true => RequestFailure::NotSent(error),
        false => RequestFailure::ResponseLost(error),
    })
}
