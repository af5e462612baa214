//! The bus as a role sees it: an in-order consumer with manual acknowledgements, and a producer that
//! knows what the broker has taken.
//!
//! Neither hides a lost connection. Whoever loses one drops both and starts over from its last
//! acknowledgement: the broker delivers the rest again, and positions make the repetition harmless.

use std::collections::VecDeque;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet,
    Publish, QoS, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vigia_protocol::limits::MAX_PAYLOAD_BYTES;
use vigia_protocol::topic;

use crate::clock;
use crate::config::{ConfigError, within_this_machine};
use crate::limits::{
    BUS_REQUESTS, CONNECT_WITHIN, IN_FLIGHT_MESSAGES, KEEP_ALIVE, RECEIVED_MESSAGES,
};
use crate::site::{Password, Role, Secrets, Site};
use crate::tls::Files;

/// How a role reaches the bus.
#[derive(Debug, Clone)]
pub struct BusLogin {
    /// `host:port`.
    pub address: String,
    /// The MQTT user, and the stem of its client ids.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// Its certificate, if it connects by TLS. Read at every connection, so that a renewed one is taken up.
    pub tls: Option<Files>,
    /// Where it tells people whether it is there: retained, and by its will when it goes.
    pub status: Option<String>,
}

/// The bus could not be reached, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The address is no `host:port`.
    #[error("{0:?} is not an address: expected HOST:PORT")]
    Address(String),
    /// The certificate cannot be used.
    #[error("{0}")]
    Certificate(ConfigError),
    /// No connection, no login, or no subscription within the time allowed.
    #[error("cannot reach the bus: {0}")]
    Unreachable(String),
    /// The connection is gone.
    #[error("the bus is gone")]
    Gone,
}

impl BusLogin {
    /// How a role of this site reaches it.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub fn of(site: &Site, role: Role, secrets: &Secrets) -> Result<Self, ConfigError> {
        // The broker finds itself whatever becomes of the network.
        let (address, tls) = match role {
            Role::Broker => (within_this_machine(site.config.broker.mqtt).to_string(), false),
            _ => (site.config.bus_address(), site.config.mqtt.tls),
        };
        let tls = tls.then(|| Files::of(site.dir(), role.name()));
        // At the start it is a sentence and an exit code; later it would be an endless repetition.
        tls.as_ref().map(Files::client).transpose()?;
        Ok(Self {
            address,
            user: role.name().to_owned(),
            password: secrets.password.clone(),
            tls,
            status: Some(topic::status(role.name(), &site.config.node)),
        })
    }

    fn options(&self, purpose: &str, clean: bool) -> Result<MqttOptions, BusError> {
        let bad = || BusError::Address(self.address.clone());
        let (host, port) = self.address.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut options = MqttOptions::new(format!("{}-{purpose}", self.user), host, port);
        options
            .set_credentials(self.user.clone(), self.password.0.clone())
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(clean)
            .set_max_packet_size(2 * MAX_PAYLOAD_BYTES, 2 * MAX_PAYLOAD_BYTES)
            .set_inflight(IN_FLIGHT_MESSAGES);
        if let Some(files) = &self.tls {
            let config = files.client().map_err(BusError::Certificate)?;
            options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
        }
        Ok(options)
    }
}

/// Connects. Also says whether the broker has resumed a session.
async fn connect(
    login: &BusLogin,
    options: MqttOptions,
) -> Result<(AsyncClient, EventLoop, bool), BusError> {
    let (client, mut events) = AsyncClient::new(options, BUS_REQUESTS);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_WITHIN.as_secs());
    events.set_network_options(network);
    let accepted = timeout(CONNECT_WITHIN, async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(answer))) => {
                    return match answer.code {
                        ConnectReturnCode::Success => Ok(answer.session_present),
                        code => Err(format!("{} was refused: {code:?}", login.user)),
                    };
                }
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    })
    .await;
    match accepted {
        Ok(Ok(resumed)) => Ok((client, events, resumed)),
        Ok(Err(problem)) => Err(BusError::Unreachable(problem)),
        Err(_) => Err(BusError::Unreachable(format!("no answer from {}", login.address))),
    }
}

/// Ends its task when dropped; the connection closes with it.
#[derive(Debug)]
struct Loop(JoinHandle<()>);

impl Drop for Loop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A message that waits for its acknowledgement.
#[derive(Debug)]
pub struct Delivery(Publish);

impl Delivery {
    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Its payload.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }
}

/// A subscription, QoS 1.
#[derive(Debug)]
pub struct Consumer {
    client: AsyncClient,
    received: mpsc::Receiver<Publish>,
    _loop: Loop,
}

impl Consumer {
    /// Connects as `USER-PURPOSE`, resumes its session, and subscribes.
    ///
    /// # Errors
    /// If that does not succeed within the time allowed.
    pub async fn connect(
        login: &BusLogin,
        purpose: &str,
        filters: &[String],
    ) -> Result<Self, BusError> {
        Self::subscribe(login, login.options(purpose, false)?, filters).await
    }

    /// As [`Consumer::connect`], but the session ends with the connection: what is said in between is
    /// not kept for the next one.
    ///
    /// # Errors
    /// If that does not succeed within the time allowed.
    pub async fn look(
        login: &BusLogin,
        purpose: &str,
        filters: &[String],
    ) -> Result<Self, BusError> {
        Self::subscribe(login, login.options(purpose, true)?, filters).await
    }

    async fn subscribe(
        login: &BusLogin,
        mut options: MqttOptions,
        filters: &[String],
    ) -> Result<Self, BusError> {
        options.set_manual_acks(true);
        let (client, mut events, resumed) = connect(login, options).await?;
        let (sender, received) = mpsc::channel(RECEIVED_MESSAGES);
        // A resumed session has its subscriptions, and its backlog may come before any SUBACK.
        let (ready, is_ready) = watch::channel(resumed);
        // Subscribed again at every connection: a restarted broker has forgotten.
        for filter in filters {
            client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|_| BusError::Gone)?;
        }
        let expected = filters.len();
        let task = tokio::spawn(async move {
            let mut granted = 0;
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        if sender.send(publish).await.is_err() {
                            return;
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(answer))) => {
                        if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                            tracing::error!("the broker refused a subscription");
                            return;
                        }
                        granted += 1;
                        if granted == expected {
                            ready.send_replace(true);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "consumer lost its connection");
                        return;
                    }
                }
            }
        });
        let consumer = Self { client, received, _loop: Loop(task) };
        let mut is_ready = is_ready;
        match timeout(CONNECT_WITHIN, is_ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(consumer),
            _ => Err(BusError::Unreachable(format!("no subscription to {filters:?}"))),
        }
    }

    /// The next message, in order.
    ///
    /// # Errors
    /// When the connection is gone. Cancelling the wait loses nothing.
    pub async fn receive(&mut self) -> Result<Delivery, BusError> {
        self.received.recv().await.map(Delivery).ok_or(BusError::Gone)
    }

    /// A message that is already there.
    pub fn try_receive(&mut self) -> Option<Delivery> {
        self.received.try_recv().ok().map(Delivery)
    }

    /// Acknowledges: its effect is durable. Must be called in the order of delivery.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn acknowledge(&self, delivery: &Delivery) -> Result<(), BusError> {
        self.client.ack(&delivery.0).await.map_err(|_| BusError::Gone)
    }
}

/// Publishes with QoS 1, in order.
#[derive(Debug)]
pub struct Producer {
    client: AsyncClient,
    sent: u64,
    settled: watch::Receiver<u64>,
    _loop: Loop,
}

impl Producer {
    /// Connects as `USER-PURPOSE` with a clean session.
    ///
    /// # Errors
    /// If that does not succeed within the time allowed.
    pub async fn connect(login: &BusLogin, purpose: &str) -> Result<Self, BusError> {
        let mut options = login.options(purpose, true)?;
        if let Some(status) = &login.status {
            let offline = serde_json::json!({ "state": "offline" }).to_string();
            options.set_last_will(LastWill::new(status, offline, QoS::AtLeastOnce, true));
        }
        let (client, mut events, _) = connect(login, options).await?;
        if let Some(status) = &login.status {
            let online = serde_json::json!({
                "state": "online",
                "since": clock::now().to_string(),
                "version": env!("CARGO_PKG_VERSION"),
                "pid": std::process::id(),
            });
            let _ = client.try_publish(status, QoS::AtMostOnce, true, online.to_string());
        }
        let (settled_sender, settled) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut waiting: VecDeque<(u16, bool)> = VecDeque::new();
            let mut count = 0;
            loop {
                match events.poll().await {
                    Ok(Event::Outgoing(Outgoing::Publish(id))) if id != 0 => {
                        waiting.push_back((id, false));
                    }
                    Ok(Event::Incoming(Packet::PubAck(answer))) => {
                        if let Some(entry) =
                            waiting.iter_mut().find(|(id, done)| *id == answer.pkid && !done)
                        {
                            entry.1 = true;
                        }
                        while waiting.front().is_some_and(|(_, done)| *done) {
                            waiting.pop_front();
                            count += 1;
                        }
                        settled_sender.send_replace(count);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "producer lost its connection");
                        return;
                    }
                }
            }
        });
        Ok(Self { client, sent: 0, settled, _loop: Loop(task) })
    }

    /// Hands a message over and returns its number, counted from 1 per connection. Returning means
    /// queued, nothing more; [`Producer::settled`] tells when the broker has it.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<u64, BusError> {
        self.hand_over(topic, false, payload).await
    }

    /// As [`Producer::publish`], and who subscribes later gets it too.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn publish_retained(
        &mut self,
        topic: &str,
        payload: Vec<u8>,
    ) -> Result<u64, BusError> {
        self.hand_over(topic, true, payload).await
    }

    async fn hand_over(
        &mut self,
        topic: &str,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<u64, BusError> {
        let queued = self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await;
        queued.map_err(|_| BusError::Gone)?;
        self.sent += 1;
        Ok(self.sent)
    }

    /// Publishes with QoS 0: for people, outside the acknowledged chain. Dropped if the queue is full.
    pub fn publish_lossy(&self, topic: &str, retain: bool, payload: Vec<u8>) {
        let _ = self.client.try_publish(topic, QoS::AtMostOnce, retain, payload);
    }

    /// The number of the last message that was handed over.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many messages, counted from the first without a hole, the broker has acknowledged.
    pub fn settled(&self) -> u64 {
        *self.settled.borrow()
    }

    /// Waits until [`Producer::settled`] has changed since it was last asked.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn settling(&mut self) -> Result<u64, BusError> {
        self.settled.changed().await.map_err(|_| BusError::Gone)?;
        Ok(*self.settled.borrow_and_update())
    }
}
