//! Accepts sensors' connections within the bounds.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use vigia_kit::audit::Audit;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::Site;

use super::new_streams::NewStreams;
use super::online::Online;
use super::session::{self, Surroundings};
use crate::accept;
use crate::journal::Journal;
use crate::limits::{SENSOR_CONNECTIONS, UNAUTHENTICATED_CONNECTIONS};
use crate::waiting::Waiting;

/// What every session needs.
#[derive(Clone)]
pub struct Around {
    /// Keys and registry.
    pub site: Arc<Site>,
    /// Where frames go.
    pub journal: Journal,
    /// All established sessions.
    pub online: Online,
    /// Who has opened new streams.
    pub new_streams: Arc<NewStreams>,
    /// Where refusals are noted.
    pub audit: Arc<Audit>,
}

/// Serves the sensor port until the end.
pub async fn serve(listener: TcpListener, around: Around, mut shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(SENSOR_CONNECTIONS));
    let waiting = Waiting::new(UNAUTHENTICATED_CONNECTIONS);
    let mut number = 0;
    while let Some((stream, peer)) =
        accept::next(&listener, "a sensor's connection", &mut shutdown).await
    {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, most = SENSOR_CONNECTIONS, "too many sensor connections");
            continue;
        };
        number += 1;
        let surroundings = Surroundings {
            number,
            peer,
            shared: around.clone(),
            waiting: waiting.clone(),
            shutdown: shutdown.clone(),
        };
        waiting.admit(number, async move {
            session::run(stream, surroundings).await;
            drop(place);
        });
    }
}
