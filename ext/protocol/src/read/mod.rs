//! Reading: a state machine ([`ReadMachine`]) that asks for a stream's content, follows it live, and says what to hand to the
//! application. Where it stands is its [`Cursor`].

mod content;
pub mod cursor;
pub mod event;
mod event_stream;
mod live;
pub mod machine;
mod options;
pub mod payload;
#[cfg(test)]
mod tests;

pub use cursor::Cursor;
pub use machine::ReadMachine;
pub use payload::Payload;
