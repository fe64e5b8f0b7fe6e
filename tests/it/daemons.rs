//! Daemons as processes of their own, with a hostile network between them.
//!
//! [`crate::daemon`] starts, kills and freezes them and talks to their API; `proxy` is the network;
//! `intruder` is somebody who talks to a daemon below our own code. The rest are the tests.

mod bad_input;
mod copies;
mod full_disk;
mod intruder;
mod line;
mod proxy;
mod three;
mod workload;
