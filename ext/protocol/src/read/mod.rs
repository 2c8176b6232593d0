//! Reading a stream: [`ReadMachine`] decides which requests to send, what to hand to the application, and when to
//! retry, to reconnect and to stop. It sends nothing itself: a driver does.
//!
//! Read [`machine::ReadMachine`] first, then [`Cursor`] (the position and the next request) and
//! [`event::ReadEvent`] (what the application gets).

mod batch;
mod content;
pub mod cursor;
pub mod event;
mod event_stream;
mod finite;
mod hand_out;
mod live;
pub mod machine;
mod next_try;
mod options;
mod outcome;
pub mod payload;
#[cfg(test)]
mod tests;

pub use cursor::Cursor;
pub use machine::ReadMachine;
pub use payload::Payload;
