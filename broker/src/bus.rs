//! The embedded rumqttd: a router and message log on loopback, with a password per role.
//!
//! It keeps nothing on disk and stands on its own runtime here, so that its errors come back and the
//! process can end with it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use rumqttd::protocol::v4::V4;
use rumqttd::{
    ConnectionSettings, LinkType, Router, RouterConfig, SegmentConfig, Server, ServerSettings,
};
use vigia_kit::site::Password;
use vigia_protocol::limits::{BUS_LOG_BYTES, MAX_PAYLOAD_BYTES};
use vigia_protocol::topic::Arrow;

use crate::limits::{BUS_CONNECTIONS, BUS_SEGMENTS, OTHER_LOG_BYTES};

/// Serves MQTT clients; returns only when that is no longer possible.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    users: &BTreeMap<String, Password>,
) -> Result<(), rumqttd_error::Stopped> {
    // The credit counts text; as binary, the same batches are at most half of it.
    let pipeline = [
        (Arrow::Raw, BUS_LOG_BYTES / 2),
        (Arrow::Verified, BUS_LOG_BYTES / 2),
        (Arrow::Text, BUS_LOG_BYTES),
    ];
    let segments = |bytes: usize| SegmentConfig {
        max_segment_size: bytes / BUS_SEGMENTS,
        max_segment_count: BUS_SEGMENTS,
    };
    let router = Router::new(
        0,
        RouterConfig {
            max_connections: BUS_CONNECTIONS,
            max_outgoing_packet_count: 200,
            max_segment_size: OTHER_LOG_BYTES / BUS_SEGMENTS,
            max_segment_count: BUS_SEGMENTS,
            custom_segment: Some(
                pipeline.map(|(arrow, bytes)| (arrow.filter(), segments(bytes))).into(),
            ),
            initialized_filters: None,
            shared_subscriptions_strategy: Default::default(),
        },
    )
    .spawn();
    let auth: HashMap<String, String> =
        users.iter().map(|(user, password)| (user.clone(), password.0.clone())).collect();
    let settings = ServerSettings {
        name: "mqtt".to_owned(),
        listen: address,
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
    };
    match Server::new(settings, router, V4).start(LinkType::Remote).await {
        Ok(()) => Err(rumqttd_error::Stopped("it ended without a reason".to_owned())),
        Err(error) => Err(rumqttd_error::Stopped(error.to_string())),
    }
}

/// Why rumqttd no longer serves.
pub mod rumqttd_error {
    /// rumqttd stopped.
    #[derive(Debug, thiserror::Error)]
    #[error("the MQTT broker stopped: {0}")]
    pub struct Stopped(pub String);
}
