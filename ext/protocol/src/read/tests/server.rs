//! A simulated stream of numbered items, and a server for reads of it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::protocol::{
    DATA_CONTENT_TYPE, SSE_DATA_ENCODING, STREAM_CLOSED, STREAM_CURSOR, STREAM_NEXT_OFFSET, STREAM_UP_TO_DATE,
};
use crate::request::Request;

/// A response as the server sends it.
#[derive(Clone, Debug)]
pub(super) struct ServerResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// How many milliseconds pass until the response is complete.
    pub takes_ms: u64,
}

impl ServerResponse {
    pub(super) fn error(status: u16, pairs: &[(HeaderName, &str)]) -> Self {
        let mut response = Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: b"server error".to_vec(),
            takes_ms: 1,
        };
        for (name, value) in pairs {
            response.set(name.clone(), value);
        }
        response
    }

    /// The response of a stale cache: no data, and the same offset.
    pub(super) fn stale(form: ServerForm, request: &Request) -> Self {
        let offset_param = request.query.iter().find(|(name, _)| *name == "offset");
        let at = match offset_param.map(|(_, value)| value.as_str()) {
            None | Some("-1" | "now") => offset(0),
            Some(index) => index.to_owned(),
        };
        let mut response = Self::error(200, &[(STREAM_NEXT_OFFSET, &at)]);
        if request.query.iter().any(|(name, _)| *name == "live") {
            response.status = StatusCode::NO_CONTENT;
        } else {
            response.body = match form {
                ServerForm::Arrays => b"[]".to_vec(),
                ServerForm::Lines | ServerForm::Sequence => Vec::new(),
            };
        }
        response
    }

    fn set(&mut self, name: HeaderName, value: &str) {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
}

/// How the server returns its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerForm {
    /// One array in each response. Offsets count items.
    Arrays,
    /// One item a line. Offsets count bytes, and a response may end anywhere.
    Lines,
    /// Arrays of items, and single items. Offsets count bytes, and a response may end anywhere.
    Sequence,
}

/// The stream. The text of item `n` is `item(n)`.
#[derive(Debug)]
pub(super) struct ReadServer {
    pub form: ServerForm,
    pub items: u64,
    pub closed: bool,
    /// The largest number of items (or bytes) in a response.
    pub max_size: u64,
    /// Where the stream ends for a replica that lags behind.
    lagging_tail: Option<u64>,
    /// The stream's bytes, unless the form is `Arrays`.
    bytes: Vec<u8>,
    /// Where each record begins and ends in `bytes`, and how many items there are up to its end.
    records: Vec<(usize, usize, u64)>,
}

pub(super) fn offset(index: u64) -> String {
    format!("{index:05}")
}

/// The text of an item.
pub(super) fn item(number: u64) -> String {
    match number % 5 {
        0 => format!("{number}"),
        1 => format!("\"é\\\"{number}…\""),
        2 => format!("{{\"n\":{number},\"日本\":\"]}}\"}}"),
        3 => format!("[{number},[{number}]]"),
        _ => format!("-{number}.5"),
    }
}

impl ReadServer {
    /// An empty stream.
    pub(super) fn new(form: ServerForm, max_size: u64) -> Self {
        Self {
            form,
            items: 0,
            closed: false,
            max_size,
            lagging_tail: None,
            bytes: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Appends this many items.
    pub(super) fn append(&mut self, rng: &mut Rng, count: u64) {
        let end = self.items + count;
        while self.items < end {
            let count = match self.form {
                ServerForm::Sequence => rng.u64(0..=3.min(end - self.items)),
                _ => 1,
            };
            let begin = self.bytes.len();
            let is_array = self.form == ServerForm::Sequence && (count != 1 || self.items % 5 == 3 || rng.bool());
            match is_array {
                true => self.bytes.extend(array(self.items, self.items + count).into_bytes()),
                false => self.bytes.extend(item(self.items).into_bytes()),
            }
            self.items += count;
            self.records.push((begin, self.bytes.len(), self.items));
            if self.form == ServerForm::Lines || !is_array {
                self.bytes.push(b'\n');
            }
        }
    }

    /// How many items there are before an offset, which must not be inside a record.
    pub(super) fn items_before(&self, offset: &str) -> u64 {
        let offset: u64 = offset.parse().unwrap_or(0);
        if self.form == ServerForm::Arrays {
            return offset;
        }
        let mut items = 0;
        for &(begin, end, count) in self.records.iter().take_while(|(begin, ..)| (*begin as u64) < offset) {
            assert!(
                end as u64 <= offset,
                "offset {offset} is inside the record {begin}-{end}"
            );
            items = count;
        }
        items
    }

    /// The stream's tail.
    fn tail(&self) -> u64 {
        self.lagging_tail.unwrap_or_else(|| self.real_tail())
    }

    fn is_closed(&self) -> bool {
        self.closed && self.lagging_tail.is_none()
    }

    fn real_tail(&self) -> u64 {
        match self.form {
            ServerForm::Arrays => self.items,
            _ => self.bytes.len() as u64,
        }
    }

    /// The response of a replica that does not yet have the last appends, but has what is before the offset.
    pub(super) fn respond_late(&mut self, rng: &mut Rng, request: &Request) -> ServerResponse {
        let ends: Vec<u64> = match self.form {
            ServerForm::Arrays => (0..=self.items).collect(),
            _ => self.records.iter().map(|(begin, ..)| *begin as u64).collect(),
        };
        let offset = request.query.iter().find(|(name, _)| *name == "offset");
        let from = offset.map_or(0, |(_, value)| value.parse().unwrap_or(0));
        let ends: Vec<u64> = ends.into_iter().filter(|end| *end >= from).collect();
        self.lagging_tail = rng.choice(ends);
        let response = self.respond(rng, request);
        self.lagging_tail = None;
        response
    }

    /// The response of a server whose tail is before the offset: data from before it, or none.
    pub(super) fn respond_before(&mut self, rng: &mut Rng, request: &Request) -> ServerResponse {
        let mut request = request.clone();
        let Some((_, offset)) = request.query.iter_mut().find(|(name, _)| *name == "offset") else {
            return self.respond(rng, &request);
        };
        let from: u64 = offset.parse().unwrap_or(0);
        if from == 0 {
            return self.respond(rng, &request);
        }
        *offset = (rng.u64(..from)).to_string();
        self.lagging_tail = Some(rng.u64(offset.parse().unwrap()..from));
        let response = self.respond(rng, &request);
        self.lagging_tail = None;
        response
    }

    /// The response to a read.
    pub(super) fn respond(&self, rng: &mut Rng, request: &Request) -> ServerResponse {
        let param = |name: &str| request.query.iter().find(|(known, _)| *known == name);
        let from = param("offset").map_or("-1", |(_, value)| value);
        let from = match from {
            "-1" => 0,
            "now" => self.tail(),
            index => index.parse().unwrap(),
        };
        match param("live").map(|(_, value)| value.as_str()) {
            Some("sse") => self.events(rng, from),
            Some(_) if from == self.tail() && !self.is_closed() => self.poll_timeout(),
            _ => self.content(rng, from),
        }
    }

    /// The response to a long-poll that timed out.
    pub(super) fn poll_timeout(&self) -> ServerResponse {
        let mut response = ServerResponse::error(204, &[(STREAM_UP_TO_DATE, "true"), (STREAM_CURSOR, "c")]);
        response.set(STREAM_NEXT_OFFSET, &offset(self.tail()));
        if self.is_closed() {
            response.set(STREAM_CLOSED, "true");
        }
        response.body.clear();
        response.takes_ms = 20_000;
        response
    }

    fn content(&self, rng: &mut Rng, from: u64) -> ServerResponse {
        let to = (from + rng.u64(1..=self.max_size)).min(self.tail());
        let mut response = ServerResponse::error(200, &[(STREAM_NEXT_OFFSET, &offset(to))]);
        // A server may not know yet that this is the tail. Then it says so in the next response, which is empty.
        if to == self.tail() && (from == to || rng.u32(..4) > 0) {
            response.set(STREAM_UP_TO_DATE, "true");
            if self.is_closed() {
                response.set(STREAM_CLOSED, "true");
            }
        }
        match self.form {
            ServerForm::Arrays => response.body = array(from, to).into_bytes(),
            ServerForm::Lines => response.set(CONTENT_TYPE, "application/x-ndjson"),
            ServerForm::Sequence => response.set(CONTENT_TYPE, "application/x+json"),
        }
        if self.form != ServerForm::Arrays {
            response.body = self.bytes[from as usize..to as usize].to_vec();
        }
        response
    }

    fn events(&self, rng: &mut Rng, from: u64) -> ServerResponse {
        let mut response = ServerResponse::error(200, &[(CONTENT_TYPE, "text/event-stream")]);
        match self.form {
            ServerForm::Arrays => {}
            ServerForm::Lines => response.set(DATA_CONTENT_TYPE, "application/x-ndjson"),
            ServerForm::Sequence => response.set(SSE_DATA_ENCODING, "base64"),
        }
        let (mut body, mut at) = (String::new(), from);
        loop {
            let to = self.character_after((at + rng.u64(1..=self.max_size)).min(self.tail()));
            if to > at {
                let middle = self.character_after(rng.u64(at..=to));
                for (from, to) in [(at, middle), (middle, to)] {
                    if to > from {
                        write!(body, "event: data\n{}\n", self.data_lines(from, to)).unwrap();
                    }
                }
            }
            at = to;
            let (up_to_date, closed) = (at == self.tail(), at == self.tail() && self.is_closed());
            write!(
                body,
                "event: control\ndata: {{\"streamNextOffset\":\"{}\",\"upToDate\":{up_to_date},\"streamClosed\":{closed}}}\n\n",
                offset(at)
            )
            .unwrap();
            if up_to_date {
                break;
            }
        }
        response.body = body.into_bytes();
        response.takes_ms = 60_000;
        response
    }

    /// The `data:` lines of an event.
    fn data_lines(&self, from: u64, to: u64) -> String {
        let text = match self.form {
            ServerForm::Arrays => array(from, to),
            ServerForm::Lines => String::from_utf8(self.bytes[from as usize..to as usize].to_vec()).unwrap(),
            ServerForm::Sequence => STANDARD.encode(&self.bytes[from as usize..to as usize]),
        };
        text.split('\n').map(|line| format!("data: {line}\n")).collect()
    }

    /// The next position that is not inside a UTF-8 character. Events of text end there only.
    fn character_after(&self, at: u64) -> u64 {
        let is_inside = |at: &u64| self.bytes.get(*at as usize).is_some_and(|byte| byte & 0xC0 == 0x80);
        match self.form {
            ServerForm::Lines => (at..).find(|at| !is_inside(at)).unwrap(),
            _ => at,
        }
    }
}

fn array(from: u64, to: u64) -> String {
    let items: Vec<String> = (from..to).map(item).collect();
    format!("[{}]", items.join(","))
}
