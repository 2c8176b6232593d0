//! Reading: where a read stands and what it asks for next ([`Cursor`]), and a response's content on its way to the
//! application ([`Payload`]).

pub mod cursor;
pub mod payload;

pub use cursor::Cursor;
pub use payload::Payload;
