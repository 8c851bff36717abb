//! Starts real PostgreSQL, RabbitMQ, anvil and service processes for a test or a demo, and injects faults into them.
//!
//! Everything started here is private (own port, own directory, own user names) and ends with its owner: on `Drop`, and
//! by the kernel's parent-death signal when the owner is killed. The crate uses only public protocols of its servers
//! and none of the product's crates.

pub mod addresses;
pub mod anvil;
pub mod app;
pub mod auto_replay;
pub mod balancer;
pub mod broker;
pub mod chain_faults;
pub mod chaos_proxy;
pub mod client;
pub mod contracts;
pub mod database;
pub mod dirs;
pub mod escrow_events;
pub mod evm;
pub mod http;
pub mod keys;
pub mod node_errors;
pub mod operator;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod rpc_proxy;
pub mod servers;
pub mod service;
pub mod sign;
pub mod softhsm;
pub mod upgrade;
pub mod wait;
pub mod wiring;

pub use addresses::Addresses;
pub use anvil::Anvil;
pub use app::App;
pub use auto_replay::AutoReplay;
pub use balancer::Balancer;
pub use broker::{Broker, Vhost};
pub use chaos_proxy::ChaosProxy;
pub use client::Client;
pub use database::Database;
pub use keys::DevKeys;
pub use ports::free_port;
pub use postgres::PostgresServer;
pub use prometheus::Prometheus;
pub use rpc_proxy::RpcProxy;
pub use servers::Servers;
pub use service::ChildService;
pub use softhsm::SoftHsm;
pub use wait::eventually;
pub use wiring::Wiring;
