//! rumqttd with nothing in front, set up as Vigia once embedded it: what the gate protects is shown to be in
//! need of it (`tests/rumqttd_faults.rs`), and what the gate costs is measured (`benches/gate.rs`).
//!
//! `bare_rumqttd USERS PORTS`: reads lines `NAME PASSWORD`, writes the ports of MQTT 3.1.1 and MQTT 5. Both
//! lead to one router. Its own TLS is left out: nothing of ours has it compiled in.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::{
    ConnectionSettings, LinkType, Router, RouterConfig, SegmentConfig, Server, ServerSettings,
};
use vigia_broker::limits::{BUS_SEGMENTS, OTHER_LOG_BYTES};
use vigia_protocol::limits::{BUS_LOG_BYTES, MAX_PAYLOAD_BYTES};
use vigia_protocol::topic::Arrow;

const CONNECTIONS: usize = 128;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let users = arguments.next().context("no file with users")?;
    let ports = arguments.next().context("no file for the ports")?;
    let auth: HashMap<String, String> = std::fs::read_to_string(&users)?
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, password)| (name.to_owned(), password.to_owned()))
        .collect();
    let router = Router::new(0, router_config()).spawn();
    let (v4, v5) = (free_address()?, free_address()?);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(
        async {
            let mut v4_server = Server::new(settings(v4, auth.clone()), router.clone(), V4);
            let mut v5_server = Server::new(settings(v5, auth), router, V5);
            std::fs::write(ports, format!("{} {}\n", v4.port(), v5.port()))?;
            tokio::try_join!(
                async { v4_server.start(LinkType::Remote).await.context("MQTT 3.1.1") },
                async { v5_server.start(LinkType::Remote).await.context("MQTT 5") },
            )?;
            Ok(())
        },
    )
}

fn router_config() -> RouterConfig {
    let segments = |bytes: usize| SegmentConfig {
        max_segment_size: bytes / BUS_SEGMENTS,
        max_segment_count: BUS_SEGMENTS,
    };
    let pipeline = [
        (Arrow::Raw, BUS_LOG_BYTES / 2),
        (Arrow::Verified, BUS_LOG_BYTES / 2),
        (Arrow::Text, BUS_LOG_BYTES),
    ];
    RouterConfig {
        max_connections: CONNECTIONS,
        max_outgoing_packet_count: 200,
        max_segment_size: OTHER_LOG_BYTES / BUS_SEGMENTS,
        max_segment_count: BUS_SEGMENTS,
        custom_segment: Some(
            pipeline.map(|(arrow, bytes)| (arrow.filter(), segments(bytes))).into(),
        ),
        initialized_filters: None,
        shared_subscriptions_strategy: Default::default(),
    }
}

fn settings(listen: SocketAddr, auth: HashMap<String, String>) -> ServerSettings {
    ServerSettings {
        name: "mqtt".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 3000,
            max_payload_size: 2 * MAX_PAYLOAD_BYTES,
            max_inflight_count: 100,
            auth: Some(auth),
            external_auth: None,
            dynamic_filters: false,
        },
    }
}

/// rumqttd binds for itself and does not tell where.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
