//! Sends a request and follows its redirects, as [`Redirects`] decides. The user's headers and certificate go to
//! another origin only if the user trusts it.

use durable_streams_protocol::error::{Kind, Result};
use durable_streams_protocol::redirect::{RedirectStep, Redirects, TargetMemory, origin_of};
use durable_streams_protocol::redirected::RedirectedTo;
use durable_streams_protocol::request::{Request, RequestFailure};
use durable_streams_protocol::target::Prepared;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, Url};

use super::incoming::Incoming;
use super::observation::Attempt;
use super::single::send_to;
use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::redirect_targets::RedirectTarget;

/// Sends the request once, follows its redirects, and returns when the response's headers have arrived. `attempt` is
/// the number of the try.
pub(crate) async fn send(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    attempt: u32,
) -> std::result::Result<Incoming, RequestFailure> {
    let query: Vec<(&str, &str)> = request
        .query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let prepared = endpoint
        .prepare(request.operation, &request.headers, &query)
        .await
        .map_err(RequestFailure::Final)?;
    let targets = endpoint.client().redirect_targets();
    let remembered = match request.method {
        Method::GET | Method::HEAD => None,
        _ => targets.get(&prepared.url),
    };
    let mut redirects = Redirects::new(
        &request.method,
        &prepared.url,
        remembered.as_ref().map(|target| &target.url),
    );
    let mut is_trusted = remembered.as_ref().is_none_or(|target| target.is_trusted);
    let attempt = Attempt {
        endpoint,
        request,
        own_url: &prepared.url,
        number: attempt,
    };
    let outcome = follow(attempt, pool, &prepared, &mut redirects, &mut is_trusted).await;
    match redirects.memory_after(outcome.as_ref().map(Incoming::status).ok()) {
        TargetMemory::Unchanged => {}
        TargetMemory::Forget => targets.forget(&prepared.url),
        TargetMemory::Remember => {
            let url = redirects.url().clone();
            targets.remember(prepared.url.clone(), RedirectTarget { url, is_trusted });
        }
    }
    outcome
}

/// Sends the request to where `redirects` is, and on from there. `is_trusted`: whether the user's headers may go there.
async fn follow(
    attempt: Attempt<'_>,
    pool: &Pool,
    prepared: &Prepared,
    redirects: &mut Redirects<'_>,
    is_trusted: &mut bool,
) -> std::result::Result<Incoming, RequestFailure> {
    let Attempt { endpoint, request, .. } = attempt;
    loop {
        let url = redirects.url();
        let headers = match *is_trusted {
            true => prepared.headers.clone(),
            false => without_token(&request.headers),
        };
        let elsewhere = pool_for(endpoint, pool, request, prepared, url, *is_trusted);
        let elsewhere = elsewhere.map_err(RequestFailure::Final)?;
        let pool = elsewhere.as_ref().unwrap_or(pool);
        let sent = send_to(attempt, pool, url.clone(), headers).await;
        let mut response = sent.map_err(|failure| with_target(failure, redirects.redirected_to(*is_trusted)))?;
        let about = endpoint.about(request.operation);
        match redirects.handle_response(response.status(), response.headers()) {
            RedirectStep::Done => {
                response.note_redirect(redirects.redirected_to(*is_trusted));
                return Ok(response);
            }
            RedirectStep::StartOver => *is_trusted = true,
            RedirectStep::Circle(reason) => return Err(RequestFailure::NotSent(about.error(Kind::Status, reason))),
            RedirectStep::Unusable(reason) => return Err(RequestFailure::Final(about.error(Kind::Status, reason))),
            RedirectStep::Follow(url) => {
                // Once an untrusted origin has redirected the request, no later target is trusted, not even the
                // stream's own origin: the untrusted origin chose it.
                if *is_trusted && url.origin() != prepared.url.origin() {
                    let trusts = endpoint.trusts(request.operation, &origin_of(&url)).await;
                    *is_trusted = trusts.map_err(RequestFailure::Final)?;
                }
            }
        }
    }
}

/// The protocol's headers, without the token of a claim.
fn without_token(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(AUTHORIZATION);
    headers
}

/// The failure, whose error says where redirects led the request.
fn with_target(failure: RequestFailure, to: Option<RedirectedTo>) -> RequestFailure {
    let note = to.map(|to| to.note(None));
    match failure {
        RequestFailure::NotSent(error) => RequestFailure::NotSent(error.with_first_note(note)),
        RequestFailure::ResponseLost(error) => RequestFailure::ResponseLost(error.with_first_note(note)),
        RequestFailure::Final(error) => RequestFailure::Final(error.with_first_note(note)),
    }
}

/// The pool for `url`, if it is not that of the stream's own origin. The client's certificate goes where headers go.
fn pool_for(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    prepared: &Prepared,
    url: &Url,
    is_trusted: bool,
) -> Result<Option<Pool>> {
    // Most requests are not redirected; comparing origins would allocate.
    let is_own = *url == prepared.url || url.origin() == prepared.url.origin();
    if is_trusted && is_own {
        return Ok(None);
    }
    let elsewhere = endpoint.pool_elsewhere(request.operation, pool, url, is_trusted);
    elsewhere.map(Some)
}
