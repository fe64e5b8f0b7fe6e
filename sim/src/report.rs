//! Reports for people: pages with plots that can be looked at without a network.
//!
//! - [`chart`] draws lines and bars as SVG;
//! - [`page`] puts charts, the numbers behind them and the commands that made them on one page;
//! - [`experiments`] makes runs and says what they came to;
//! - [`policy`] says what two ways to merge lose of the same history.
//!
//! What is in a report depends on nothing but what it is made from: the same run gives the same
//! bytes, on any machine. A page has no scripts, no time of day, and nothing that is fetched.

pub mod chart;
pub mod experiments;
pub mod page;
pub mod policy;

#[cfg(test)]
mod markup;
