//! leveret's own merge code, driven by tests: what it makes of histories, against the naive model.
//!
//! - [`engine`] is a merge engine without a replica around it, over any store;
//! - [`observation`] is everything of a state that is compared, of the engine and of the model;
//! - [`cases`] runs case files: many deliveries of the same change sets, compared all the way;
//! - [`exhaustive`] makes every history of a small universe, and delivers it in every order;
//! - [`regions`] is the world: 19 regions, and the time between them;
//! - [`report`] makes pages with plots.
//!
//! The program `leveret-sim` runs what the modules offer.

pub mod cases;
pub mod cli;
pub mod engine;
pub mod exhaustive;
pub mod observation;
pub mod regions;
pub mod report;
