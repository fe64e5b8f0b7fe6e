//! leveret's own code, driven by tests: its merging through histories, against the naive model of
//! the rules, and whole replicas through runs full of faults, on virtual time.
//!
//! A simulated run goes from a seed to a verdict:
//!
//! - [`plan`] draws what will happen; [`chance`] is where everything drawn comes from;
//! - [`world`] has the machines: real replicas on pretended disks, clocks and networks;
//! - [`regions`] is the world: 19 regions, and the time between them;
//! - [`check`] says what must hold; [`mod@run`] plays the two acts; [`sweep`] plays many runs,
//!   [`mod@shrink`] makes a failing one smaller, [`seeds`] are runs in a line each, and
//!   [`finding`] is what is kept of one that failed;
//! - [`report`] makes pages with plots.
//!
//! And below that, merging alone:
//!
//! - [`engine`] is a merge engine without a replica around it, over any store;
//! - [`observation`] is everything of a state that is compared, of the engine and of the model;
//! - [`cases`] runs case files: many deliveries of the same change sets, compared all the way;
//! - [`exhaustive`] makes every history of a small universe, and delivers it in every order;
//! - [`mirror`] is a tree that is told nothing but events.
//!
//! The program `leveret-sim` runs what the modules offer.

mod act;
pub mod cases;
pub mod chance;
pub mod check;
pub mod cli;
pub mod engine;
pub mod exhaustive;
pub mod finding;
pub mod mirror;
pub mod observation;
pub mod plan;
pub mod regions;
pub mod report;
pub mod run;
pub mod seeds;
pub mod shrink;
pub mod sweep;
pub mod world;
