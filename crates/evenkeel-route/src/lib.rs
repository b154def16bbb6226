//! Which group of endpoints serves a request.
//!
//! Between a request and the pick of one endpoint stand a few decisions. Each has a module here, each can be used alone, and
//! the order in which they are made is always this:
//!
//! | module | decides | by |
//! |---|---|---|
//! | [`matching`] | which rule takes the request | host, path, method, header, query, cookies; addresses, SNI, ALPN |
//! | [`split`] | which cluster | weights, drawn or by key; canaries; ramps over time |
//! | [`affinity`] | whether it goes where the last one of this user went | a signed cookie, a learnt table, a list |
//! | [`failover`] | which tier of the cluster | what each tier can bear, with a memory |
//! | [`locality`] | which zone of the tier | who asks, who is there, how busy they are |
//! | [`retry`] | whether it is sent again | how it ended, how often, how long, a budget |
//!
//! ```
//! use evenkeel_route::failover::{Failover, FailoverConfig, Serve, TierHealth};
//! use evenkeel_route::matching::{HttpRule, HttpRules, HttpRulesConfig, PathMatch, Request, Scratch};
//! use evenkeel_route::split::{Arm, Split, SplitConfig};
//! use evenkeel_types::Timestamp;
//!
//! let rule = HttpRule { paths: vec![PathMatch::Prefix("/api".into())], ..HttpRule::default() };
//! let rules = HttpRules::new(&HttpRulesConfig { rules: vec![rule], ..HttpRulesConfig::default() })?;
//! let arm = |cluster: &str, weight| Arm { cluster: cluster.into(), weight };
//! let split = Split::new(&SplitConfig { arms: vec![arm("v1", 95), arm("v2", 5)], ..SplitConfig::default() })?;
//! let mut failover = Failover::new(&FailoverConfig::default())?;
//! failover.update(&[TierHealth { total: 3, usable: 3, degraded: 0 }], Timestamp::ORIGIN)?;
//!
//! let request = Request::new("GET", "example.com", "/api/users?page=2");
//! let mut scratch = Scratch::default();
//! assert!(rules.find(&request, &mut scratch)?.is_some());
//! assert_eq!(split.cluster(split.choose(&request, 1 << 60).arm), "v1");
//! assert_eq!(failover.serve(7), Serve::Tier { tier: 0, degraded: false });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here reads a clock, draws, waits or calls back: time and draws are arguments, and every change of state is a
//! returned value. Why a request went where it went can be asked: [`matching::HttpRules::explain`], [`split::Chosen`],
//! [`failover::TierLoads`], [`affinity::NoCookie`] and [`retry::GiveUp`] say so, and cost nothing if nobody asks.
//!
//! Answers to DNS queries by region, and quotas that several processes share, are out of scope.
//!
//! # Features
//!
//! `serde`: rules, plans and settings are read and written, what happened is written. `http`: requests and header maps of the
//! crate `http` can be matched and edited.

pub mod affinity;
pub mod failover;
pub mod locality;
pub mod matching;
pub mod retry;
pub mod split;
mod text_hash;
