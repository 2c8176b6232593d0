use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::error::{About, Error, Kind, Operation};
use crate::request::{Context, Repeat, Request, Response};
use crate::retry::policy::RetryPolicy;
use crate::retry::so_far::TriesSoFar;

const URL: &str = "http://h/__ds/subscriptions/s";

fn lease() -> Lease {
    Lease::new("w_1".to_owned(), 7, "secret").unwrap()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(request.body.as_ref().unwrap()).unwrap()
}

fn response(status: u16, body: &str) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_owned()),
        tries: TriesSoFar::default(),
        redirected: None,
    }
}

fn after_doubt(response: Response) -> Response {
    let tries = response.tries.in_doubt_if(true);
    Response { tries, ..response }
}

/// What `meaning` makes of a response to `operation`.
fn judged<T>(
    operation: SubscriptionOperation,
    response: Response,
    meaning: impl FnOnce(Response, &Context<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let operation = Operation::Subscription(operation);
    let context = Context {
        about: About { operation, url: URL },
        policy: &RetryPolicy::for_tests(),
        now: SystemTime::UNIX_EPOCH,
    };
    meaning(response, &context)
}

#[test]
fn the_body_of_a_new_subscription_has_only_what_is_given() {
    let mut subscription = NewSubscription {
        delivery: WakeDelivery::PullWake("wakes".to_owned()),
        pattern: Some("a/*".to_owned()),
        streams: Vec::new(),
        lease_ttl_ms: None,
        description: None,
    };
    let request = create(&subscription);
    assert_eq!((&request.method, request.repeat), (&Method::PUT, Repeat::Safe));
    assert_eq!(request.headers[CONTENT_TYPE], "application/json");
    let expected = json!({ "type": "pull-wake", "wake_stream": "wakes", "pattern": "a/*" });
    assert_eq!(body(&request), expected);
    subscription = NewSubscription {
        delivery: WakeDelivery::Webhook("https://h/hook".to_owned()),
        pattern: None,
        streams: vec!["a".to_owned()],
        lease_ttl_ms: Some(1_000),
        description: Some("d".to_owned()),
    };
    let expected = json!({
        "type": "webhook", "webhook": { "url": "https://h/hook" }, "streams": ["a"], "lease_ttl_ms": 1000,
        "description": "d",
    });
    assert_eq!(body(&create(&subscription)), expected);
}

#[test]
fn an_ack_carries_the_token_of_its_claim() {
    let acks = [StreamAck {
        stream: "a".to_owned(),
        offset: "5".to_owned(),
    }];
    let request = ack(&lease(), &acks, true);
    assert_eq!(request.headers[AUTHORIZATION], "Bearer secret");
    assert!(request.headers[AUTHORIZATION].is_sensitive());
    let expected = json!({
        "wake_id": "w_1", "generation": 7, "acks": [{ "stream": "a", "offset": "5" }], "done": true,
    });
    assert_eq!(body(&request), expected);
    assert_eq!(body(&release(&lease())), json!({ "wake_id": "w_1", "generation": 7 }));
    assert_eq!(Lease::new("w_1".to_owned(), 7, "a\nb"), None);
    assert!(!format!("{:?}", lease()).contains("secret"));
}

#[test]
fn a_claim_is_granted_or_there_is_nothing_to_do() {
    let granted = json!({
        "wake_id": "w_1", "generation": 7, "token": "secret", "lease_ttl_ms": 1500,
        "streams": [{ "path": "a", "link_type": "glob", "acked_offset": "-1", "tail_offset": "3", "has_pending": true }],
    });
    let claim = |response| judged(SubscriptionOperation::Claim, response, claimed);
    let expected = Claim {
        lease: lease(),
        lease_ttl: Duration::from_millis(1500),
        streams: vec![ClaimedStream {
            path: "a".to_owned(),
            acked_offset: "-1".to_owned(),
            tail_offset: "3".to_owned(),
            has_pending: true,
        }],
    };
    assert_eq!(claim(response(200, &granted.to_string())).unwrap(), Some(expected));
    let idle = r#"{"error": {"code": "NO_PENDING_WORK"}}"#;
    assert_eq!(claim(response(409, idle)).unwrap(), None);
    let unusable = granted.to_string().replace("secret", "a\\nb");
    assert!(claim(response(200, &unusable)).is_err());
    for field in ["wake_id", "generation", "token", "lease_ttl_ms", "streams"] {
        let mut without = granted.clone();
        without.as_object_mut().unwrap().remove(field);
        let error = claim(response(200, &without.to_string())).unwrap_err();
        assert!(matches!(error.kind(), Kind::SubscriptionsNotSupported), "{field}");
    }
}

#[test]
fn a_success_without_the_expected_content_is_from_a_server_without_subscriptions() {
    fn is_refused<T>(outcome: Result<T, Error>) -> bool {
        matches!(outcome, Err(error) if matches!(error.kind(), Kind::SubscriptionsNotSupported))
    }
    use SubscriptionOperation::{Ack, AddStreams, Claim, Create, Find, SigningKeys};
    for text in ["", "[]", "{}", "null", "<html>"] {
        let response = || response(200, text);
        assert!(is_refused(judged(Create, response(), created)), "{text}");
        assert!(is_refused(judged(Find, response(), found)), "{text}");
        assert!(is_refused(judged(Claim, response(), claimed)), "{text}");
        assert!(is_refused(judged(Ack, response(), acked)), "{text}");
        assert!(is_refused(judged(SigningKeys, response(), keys)), "{text}");
    }
    let mut page = response(200, "<html>");
    page.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    assert!(is_refused(judged(AddStreams, page, done)));
    assert!(judged(AddStreams, response(204, ""), done).is_ok());
    let error = judged(Create, response(201, "[]"), created).unwrap_err();
    assert!(!error.outcome_unknown(), "{error}");
}

#[test]
fn a_rejection_after_a_try_in_doubt_may_mean_success() {
    let gone = || response(404, r#"{"error": {"code": "SUBSCRIPTION_NOT_FOUND"}}"#);
    assert!(judged(SubscriptionOperation::Delete, gone(), deleted).is_err());
    assert!(judged(SubscriptionOperation::Delete, after_doubt(gone()), deleted).is_ok());
    assert!(judged(SubscriptionOperation::Find, gone(), found).unwrap().is_none());
    let fenced = || response(409, r#"{"error": {"code": "FENCED"}}"#);
    assert!(judged(SubscriptionOperation::Release, fenced(), released).is_err());
    assert!(judged(SubscriptionOperation::Release, after_doubt(fenced()), released).is_ok());
    let error = judged(SubscriptionOperation::Ack, after_doubt(fenced()), acked).unwrap_err();
    assert!(matches!(error.kind(), Kind::Fenced) && error.outcome_unknown());
}

#[test]
fn an_ack_says_whether_there_is_more_to_do() {
    let ack = |text| judged(SubscriptionOperation::Ack, response(200, text), acked).unwrap();
    assert!(ack(r#"{"ok": true, "next_wake": true}"#));
    assert!(!ack(r#"{"ok": true, "next_wake": false}"#));
    assert!(!ack(r#"{"ok": true}"#));
}
