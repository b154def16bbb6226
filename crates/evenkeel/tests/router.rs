//! Routers: cases from files, what outlives a reload, and laws over random configurations.

#![cfg(feature = "config")]

#[path = "router/cases.rs"]
mod cases;
#[path = "router/exchanges.rs"]
mod exchanges;
#[path = "router/laws.rs"]
mod laws;
#[path = "router/refusals.rs"]
mod refusals;
#[path = "router/reloads.rs"]
mod reloads;
#[path = "router/streams.rs"]
mod streams;
#[path = "router/world.rs"]
mod world;
