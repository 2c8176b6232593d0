//! What a run must have stored and reported at its end.

use bytes::Bytes;

use super::super::client::ProducerEnd;
use super::super::server::{Owner, elements};
use super::{EndLabel, ProducerRun};
use crate::producer::tests::FailureReason;
use crate::producer::{BodyKind, DeliveryOutcome};

impl ProducerRun {
    /// Checks every client against the stream.
    pub(super) fn check(&self) {
        for client in &self.clients {
            let recreated = !self.server.deleted.is_empty();
            let readable = self.plan.faults.lookups == 0 && !self.plan.gone && !recreated;
            // A lookup is also useless after an equal batch of a later producer.
            assert!(
                client.assumptions == 0 || !readable || self.plan.twins.is_some(),
                "a batch was assumed to be delivered, although a lookup was possible"
            );
            let closed = self.server.closed.is_some();
            let assumed = client.assumptions + client.found > 0;
            assert!(
                closed || !client.stream_closed || assumed || recreated,
                "a client reports the stream closed, but it is open"
            );
            let streams = self.server.deleted.iter().chain([&self.server.log]);
            let stored: Vec<_> = streams.map(|log| self.stored(log, client.owner)).collect();
            client.verify(&stored, self.plan.must_succeed());
        }
        self.check_request_count();
    }

    /// The messages of one owner in stream order.
    fn stored(&self, log: &[(Owner, Bytes)], owner: Owner) -> Vec<Vec<u8>> {
        let mine = log.iter().filter(|(by, _)| *by == owner);
        mine.flat_map(|(_, body)| match self.plan.config.body {
            BodyKind::Bytes => body.split_inclusive(|byte| *byte == b'>').map(<[u8]>::to_vec).collect(),
            BodyKind::Json if body.is_empty() => Vec::new(),
            BodyKind::Json => elements(body),
        })
        .collect()
    }

    /// Without losses and overload, no request is sent more than twice.
    fn check_request_count(&self) {
        let faults = &self.plan.faults;
        let losses = faults.not_sent + faults.request_lost + faults.response_lost + faults.late + faults.status_429;
        let calm = losses + faults.status_5xx_before + faults.status_5xx_after == 0;
        if calm && self.plan.must_succeed() && self.plan.pauses == 0 && self.plan.initial_epoch.is_none() {
            for client in self.clients.iter().filter(|_| self.plan.earlier.is_none()) {
                assert!(
                    client.transmits <= 2 * client.batches,
                    "{} for {}",
                    client.transmits,
                    client.batches
                );
            }
        }
    }

    /// How each client's run ended, and what happened in it.
    pub(in super::super) fn ends(&self) -> Vec<EndLabel> {
        let mut ends = Vec::new();
        for client in &self.clients {
            let first = ends.len();
            match &client.end {
                Some(ProducerEnd::Closed) => ends.push(
                    if client.stream_closed {
                        "stream closed"
                    } else {
                        "closed"
                    }
                    .to_owned(),
                ),
                Some(ProducerEnd::Failed(failure, undelivered)) => {
                    let name = format!("{:?}", FailureReason::from(failure));
                    ends.push(name.split([' ', '(', '{']).next().unwrap_or_default().to_owned());
                    if undelivered
                        .messages()
                        .any(|message| message.outcome == DeliveryOutcome::Unknown)
                    {
                        ends.push("unknown".to_owned());
                    }
                }
                None => ends.push("none".to_owned()),
            }
            ends.extend((self.server.forgotten > 0).then(|| "producer forgotten".to_owned()));
            ends.extend((!self.server.deleted.is_empty()).then(|| "created again".to_owned()));
            ends.extend((self.server.gateway > 0).then(|| "gateway".to_owned()));
            ends.extend(client.gap_after_403.then(|| "gap after 403".to_owned()));
            ends.extend((0..client.claims).map(|_| "claimed".to_owned()));
            ends.extend((client.assumptions > 0).then(|| "assumed".to_owned()));
            ends.extend((client.found > 0).then(|| "found".to_owned()));
            ends.extend(self.plan.twins.map(|_| format!("twin {}", ends[first])));
            ends.extend((client.transmits > client.batches).then(|| "sent again".to_owned()));
        }
        ends.into_iter().map(EndLabel).collect()
    }
}
