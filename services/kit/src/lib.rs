//! What every role needs: its site, its secrets, its place on the bus, its end.

pub mod api;
pub mod audit;
pub mod bus;
pub mod clock;
pub mod config;
pub mod deaths;
pub mod http;
pub mod limits;
pub mod meter;
pub mod metrics;
pub mod places;
pub mod private;
pub mod sabotage;
pub mod secret_hash;
pub mod sensors;
pub mod shutdown;
pub mod site;
pub mod stage;
pub mod stamp;
pub mod telemetry;
pub mod tls;
pub mod tls_server;
pub mod tokens;
pub mod users;
