//! Errors of requests without a response: what failed, and whether the request may have reached the server.

use std::borrow::Cow;
use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use durable_streams_protocol::error::{About, Error, Kind};
use durable_streams_protocol::request::{RequestFailure, ResponseTimeout};
use rustls::{AlertDescription, CertificateError};

/// The alerts by which a TLS server refuses a client certificate or asks for one (RFC 8446, 6.2).
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

/// The error of a body that broke off or could not be decoded.
pub(super) fn broken(about: About<'_>, error: reqwest::Error) -> Error {
    let reason = format!("the response broke off: {}", root_cause(&error));
    about.error(Kind::Connection, reason).caused_by(error.without_url())
}

/// The error of a request whose response did not arrive, or did not go on (`what`), within `limit`, which consists of
/// these settings of the client.
pub(crate) fn silent(about: About<'_>, what: &str, limit: Duration, settings: ResponseTimeout) -> Error {
    let settings = match settings {
        ResponseTimeout::AtMost(at_most) if at_most == limit => "",
        ResponseTimeout::Normal | ResponseTimeout::AtMost(_) => ", the client's timeout",
        ResponseTimeout::Live => ", the client's timeout and live_timeout",
    };
    let reason = format!("{what} within {} s{settings}", limit.as_secs_f64());
    about.error(Kind::Timeout, reason)
}

/// The failure of a request that reqwest could not complete. `timeout`: how long connecting may take. `proxy`: the URL
/// of the proxy, if the request went through one.
pub(super) fn unsent(
    about: About<'_>,
    error: reqwest::Error,
    timeout: Duration,
    proxy: Option<&str>,
) -> RequestFailure {
    let cause = root_cause(&error);
    let through = proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
    let connecting = |cause: &str| format!("could not connect{through}: {cause}");
    let (failure, kind, reason): (fn(Error) -> RequestFailure, _, _) = if error.is_builder() {
        (RequestFailure::Final, Kind::Argument, cause)
    } else if is_about_certificates(&error) {
        (RequestFailure::Final, Kind::Connection, connecting(&cause))
    } else if is_plain_text(&error) {
        let reason = "the server does not speak TLS: it responded in plain text (should the URL begin with http://?)";
        (RequestFailure::Final, Kind::Connection, connecting(reason))
    } else if was_refused(&error) {
        let reason = format!("the server refused the request: {cause}");
        (RequestFailure::NotSent, Kind::Connection, reason)
    } else if error.is_connect() && error.is_timeout() {
        let reason = format!("no connection within {} s, the client's timeout", timeout.as_secs_f64());
        (RequestFailure::NotSent, Kind::Timeout, connecting(&reason))
    } else if error.is_connect() {
        (RequestFailure::NotSent, Kind::Connection, connecting(&cause))
    } else if is_malformed(&error) {
        let reason = format!("the response is not HTTP: {cause}");
        (RequestFailure::ResponseLost, Kind::Connection, reason)
    } else {
        let reason = format!("the connection was lost: {cause}");
        (RequestFailure::ResponseLost, Kind::Connection, reason)
    };
    let note = advice(&error, proxy.is_some()).map(Cow::Borrowed);
    let made = about.error(kind, reason).with_note(note);
    failure(made.caused_by(error.without_url()))
}

/// What to do about an error.
fn advice(error: &reqwest::Error, has_proxy: bool) -> Option<&'static str> {
    if let Some(advice) = tls_errors(error).find_map(tls_advice) {
        return Some(advice);
    }
    let has = |kind| {
        let mut io_errors = causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        io_errors.any(|io| io.kind() == kind)
    };
    if is_malformed(error) {
        Some("check the port; if the server speaks TLS, the URL must begin with https://")
    } else if has(ErrorKind::ConnectionRefused) {
        match has_proxy {
            true => Some("check proxy, or http_proxy and https_proxy in the environment"),
            false => Some("does a server listen at this host and port?"),
        }
    } else if causes(error).any(|cause| cause.to_string() == "dns error") && !has(ErrorKind::WouldBlock) {
        Some("check the host in the URL")
    } else {
        None
    }
}

fn tls_advice(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => Some(
                "this machine does not trust the authority that signed the server's certificate; set ca_file to trust a \
                 private one",
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some("renew the server's certificate, or check this machine's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Some("check this machine's clock")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some("the URL must have a host name that the server's certificate has")
            }
            _ => None,
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            Some("the server requires a certificate of the client: set client_cert and client_key")
        }
        rustls::Error::AlertReceived(alert) if REFUSALS.contains(alert) => {
            Some("the server does not accept the certificate of client_cert")
        }
        _ => None,
    }
}

/// Whether the response is not HTTP.
fn is_malformed(error: &reqwest::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse)
}

/// Whether the server's or the client's certificate was refused. A retry does not help. With TLS 1.3 a server may
/// refuse the client's certificate after the request was sent, but it has not read the request then.
fn is_about_certificates(error: &reqwest::Error) -> bool {
    tls_errors(error).any(|tls| match tls {
        rustls::Error::InvalidCertificate(_) => true,
        rustls::Error::AlertReceived(alert) => REFUSALS.contains(alert),
        _ => false,
    })
}

/// Whether the server responded to the TLS handshake with something that is not TLS, such as HTTP.
fn is_plain_text(error: &reqwest::Error) -> bool {
    let not_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    error.is_connect() && tls_errors(error).any(|tls| *tls == not_tls)
}

fn tls_errors(error: &reqwest::Error) -> impl Iterator<Item = &rustls::Error> {
    causes(error).filter_map(|cause| {
        let mut inner = cause;
        // `source()` of an I/O error skips the error that it wraps. That may be another I/O error.
        while let Some(wrapped) = inner.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
            inner = wrapped;
        }
        inner.downcast_ref::<rustls::Error>()
    })
}

/// Whether the server said by HTTP/2 that it did not process the request (RFC 9113, 6.8 and 8.7).
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

/// The causes of an error, the outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn std::error::Error + 'static)| {
        (*cause).source()
    })
}

/// The innermost cause of an error, which is the most exact one ("Connection refused").
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    // reqwest's own messages contain the URL, which may contain secrets, so they are not used.
    let cause = causes(error)
        .last()
        .map_or_else(|| "the request failed".to_owned(), ToString::to_string);
    // rustls adds a link to its documentation, which is for those who write servers.
    match cause.split_once(": https://docs.rs/") {
        Some((cause, _)) => cause.to_owned(),
        None => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::client_for_tests::http2_client;
    use bytes::Bytes;
    use durable_streams_protocol::error::Operation;
    use tokio::net::TcpListener;

    /// The error of a POST to an HTTP/2 server that responds by `respond`.
    async fn post_over_http2(respond: fn(&mut h2::server::SendResponse<Bytes>)) -> reqwest::Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/s", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((_, mut response))) = connection.accept().await {
                    respond(&mut response);
                }
            }
        });
        let (body, _) = crate::exchange::upload::body(Bytes::from_static(b"data"));
        http2_client().post(url).body(body).send().await.unwrap_err()
    }

    #[tokio::test]
    async fn a_failure_has_the_connection_error_as_its_source() {
        let error = post_over_http2(|response| response.send_reset(h2::Reason::REFUSED_STREAM)).await;
        let about = About {
            operation: Operation::Append,
            url: "http://h/s",
        };
        let RequestFailure::NotSent(error) = unsent(about, error, Duration::from_secs(30), None) else {
            panic!("expected NotSent")
        };
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<reqwest::Error>());
        let source = source.expect("reqwest's error");
        assert!(was_refused(source));
        assert_eq!(source.url(), None, "a URL may contain secrets");
    }

    #[tokio::test]
    async fn a_request_refused_by_http2_was_not_processed() {
        let error = post_over_http2(|response| response.send_reset(h2::Reason::REFUSED_STREAM)).await;
        assert!(was_refused(&error), "{error:?}");
    }

    #[tokio::test]
    async fn a_request_reset_by_http2_for_another_reason_may_have_been_processed() {
        let error = post_over_http2(|response| response.send_reset(h2::Reason::INTERNAL_ERROR)).await;
        assert!(!was_refused(&error), "{error:?}");
    }
}
