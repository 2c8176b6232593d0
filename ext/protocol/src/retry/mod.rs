//! Sending a request again: [`policy`] is what a user sets, [`tries`] the rule by which a request is sent again or its
//! outcome is the operation's.

pub mod policy;
pub mod tries;
