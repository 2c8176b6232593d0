//! Decodes Server-Sent Events (SSE). The pieces of a body go in, cut anywhere; events come out.
//!
//! There are two layers. [`EventDecoder`] decodes Durable Streams responses: `data` events, also in base64, and
//! `control` and `error` events. It uses [`RawEventDecoder`], the framing of the WHATWG HTML standard ("Interpreting an
//! event stream"). [`read`](crate::read) decides what a control event does to the position and when to reconnect.
//!
//! ```
//! use bytes::Bytes;
//! use durable_streams_protocol::sse::{Encoding, SseEvent, EventDecoder};
//!
//! let mut events = EventDecoder::new(Encoding::Plain, 1 << 20);
//! events.push(Bytes::from_static(b"event: data\ndata: [1,\ndata: 2]\n\nevent: control\nda"));
//! assert_eq!(events.next_event()?, Some(SseEvent::Data(Bytes::from_static(b"[1,\n2]"))));
//! assert_eq!(events.next_event()?, None); // More bytes are needed.
//!
//! events.push(Bytes::from_static(b"ta: {\"streamNextOffset\":\"7\",\"upToDate\":true}\n\n"));
//! let Some(SseEvent::Control(control)) = events.next_event()? else { panic!("a control event") };
//! assert_eq!(control.next_offset, "7");
//! assert!(control.up_to_date && !control.closed);
//! # Ok::<(), durable_streams_protocol::sse::SseError>(())
//! ```

mod data_events;
mod decoder;
mod error;
mod event;
#[cfg(test)]
mod tests;

pub use data_events::{DataEventBuffer, DataEvents};
pub use decoder::{MAX_RETRY, MIN_RETRY, RawEvent, RawEventDecoder};
pub use error::SseError;
pub use event::{ControlEvent, Encoding, ErrorEvent, EventDecoder, SseEvent};
