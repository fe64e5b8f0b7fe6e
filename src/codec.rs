//! Every byte that goes to disk or wire, and its version.

pub mod frame;
pub mod handshake;
