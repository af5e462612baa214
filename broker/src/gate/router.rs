//! rumqttd: the router of messages and their log, embedded without a door of its own.
//!
//! It is spoken to through links inside this process; no socket of it exists. What could harm it
//! stays on this side: topics and filters are shown with a prefix (it panics at topics that begin
//! outside ASCII and treats `$` specially), subscriptions are QoS 1, acknowledgements go in order and
//! at once, a link is never used by two clients and never resumed, and what it keeps for ever (a log
//! for each filter, an entry for each topic) is counted and bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{
    Disconnect, DisconnectReasonCode, Filter as RouterFilter, Packet, PubAck, PubAckReason,
    Publish, QoS, RetainForwardRule, Subscribe, SubscribeProperties, Unsubscribe,
};
use rumqttd::{Notification, RouterConfig, SegmentConfig};
use vigia_protocol::filter::Filter;
use vigia_protocol::limits::BUS_LOG_BYTES;
use vigia_protocol::topic::Arrow;

use super::message::Message;
use crate::limits::{
    BUS_FILTERS, BUS_LINKS, BUS_PENDING_BYTES, BUS_SEGMENTS, BUS_TOPICS, BUS_UNANSWERED,
    FILTERS_PER_ACCOUNT, LINKS_PER_ACCOUNT, OTHER_LOG_BYTES, TOPICS_PER_ACCOUNT,
};

/// In front of every topic and filter that rumqttd sees.
const PREFIX: &str = "v/";
/// rumqttd numbers the messages of a link from 1 to this, and then again from 1.
const LAST_PACKET_ID: u16 = 100;
/// How often a full way into the router is looked at again.
const FULL_RETRY: Duration = Duration::from_millis(1);

/// Opens a link of this name. (The type of rumqttd's channel for that has no name outside of it.)
type OpenLink = dyn Fn(&str) -> Result<(LinkTx, LinkRx), Refusal> + Send + Sync;

/// The embedded router.
pub struct Router {
    link: Box<OpenLink>,
    way_in: Mutex<WayIn>,
    known: Arc<Mutex<Known>>,
}

/// The one link on which everything is published.
struct WayIn {
    link: LinkTx,
    // Kept so that the router does not take the link for gone.
    _receiver: LinkRx,
    /// Bytes handed over since the router last took all there was.
    pending: usize,
}

/// What rumqttd keeps for as long as it lives.
#[derive(Default)]
struct Known {
    filters: HashSet<Filter>,
    /// Hashes of topics.
    topics: HashSet<u64>,
    hasher: RandomState,
    /// Names of links that are no longer used: rumqttd remembers names for ever, too.
    free_names: Vec<String>,
    names: usize,
    shares: HashMap<String, Share>,
}

/// What one account has of it.
#[derive(Default)]
struct Share {
    filters: usize,
    topics: usize,
    links: usize,
}

/// On whose account something is asked of the router.
#[derive(Debug, Clone)]
pub struct Payer {
    /// The user.
    pub user: String,
    /// One of our own roles: it has what there is. All others leave it a quarter, and have a share each.
    pub role: bool,
}

impl Payer {
    fn may_have(&self, has: usize, share: usize, all: usize, bound: usize) -> bool {
        if self.role { all < bound } else { has < share && all < bound / 4 * 3 }
    }
}

/// Why the router is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More filters, topics or subscribers than the broker keeps.
    #[error("quota exceeded")]
    Quota,
    /// The router's thread has ended.
    #[error("the router is gone")]
    Gone,
}

impl Router {
    /// Starts the router's thread.
    ///
    /// # Errors
    /// [`Refusal::Gone`] if it does not answer.
    pub fn start() -> Result<Self, Refusal> {
        // The credit counts text; as binary, the same batches are at most half of it.
        let pipeline = [
            (Arrow::Raw, BUS_LOG_BYTES / 2),
            (Arrow::Verified, BUS_LOG_BYTES / 2),
            (Arrow::Text, BUS_LOG_BYTES),
        ];
        let config = RouterConfig {
            max_connections: BUS_LINKS,
            max_outgoing_packet_count: 1,
            max_segment_size: OTHER_LOG_BYTES / BUS_SEGMENTS,
            max_segment_count: BUS_SEGMENTS,
            custom_segment: Some(
                pipeline
                    .map(|(arrow, bytes)| {
                        let segments = SegmentConfig {
                            max_segment_size: bytes / BUS_SEGMENTS,
                            max_segment_count: BUS_SEGMENTS,
                        };
                        (prefixed(&arrow.filter()), segments)
                    })
                    .into(),
            ),
            initialized_filters: None,
            shared_subscriptions_strategy: Default::default(),
        };
        let sender = rumqttd::Router::new(0, config).spawn();
        let link = Box::new(move |name: &str| {
            let built = LinkBuilder::new(name, sender.clone()).build();
            built.map(|(link, receiver, _)| (link, receiver)).map_err(|_| Refusal::Gone)
        });
        let (way_in, receiver) = link("publish")?;
        Ok(Self {
            link,
            way_in: Mutex::new(WayIn { link: way_in, _receiver: receiver, pending: 0 }),
            known: Arc::default(),
        })
    }

    /// Hands messages over, in order. Waits while too much is on its way.
    pub async fn publish(&self, messages: Vec<Message>) {
        let packets: Vec<(Bytes, Bytes)> = messages
            .iter()
            .map(|message| (prefixed_topic(&message.topic), message.seal()))
            .collect();
        while !self.try_publish(&packets) {
            tokio::time::sleep(FULL_RETRY).await;
        }
    }

    fn try_publish(&self, packets: &[(Bytes, Bytes)]) -> bool {
        let Some(((last_topic, last_payload), others)) = packets.split_last() else {
            return true;
        };
        let mut guard = self.way_in.lock().expect("no panic holds it");
        let WayIn { link, pending, .. } = &mut *guard;
        {
            let mut buffer = link.buffer();
            if buffer.is_empty() {
                *pending = 0;
            }
            if *pending > BUS_PENDING_BYTES {
                return false;
            }
            for (topic, payload) in packets {
                *pending += topic.len() + payload.len();
            }
            for (topic, payload) in others {
                let publish = Publish::new(topic.clone(), payload.clone(), false);
                buffer.push_back(Packet::Publish(publish, None));
            }
        }
        // One event for all. It blocks only while the router has a thousand events before it.
        link.publish(last_topic.clone(), last_payload.clone()).is_ok()
    }

    /// Whether the router may be shown this topic: it remembers every one.
    pub fn admits_topic(&self, topic: &str, payer: &Payer) -> bool {
        let mut guard = self.known.lock().expect("no panic holds it");
        let known = &mut *guard;
        let hash = known.hasher.hash_one(topic);
        if known.topics.contains(&hash) {
            return true;
        }
        let has = known.shares.get(&payer.user).map_or(0, |share| share.topics);
        if !payer.may_have(has, TOPICS_PER_ACCOUNT, known.topics.len(), BUS_TOPICS) {
            return false;
        }
        known.shares.entry(payer.user.clone()).or_default().topics += 1;
        known.topics.insert(hash)
    }

    /// A subscriber's link.
    ///
    /// # Errors
    /// [`Refusal::Quota`] if there are too many.
    pub fn subscriber(&self, payer: &Payer) -> Result<Subscriber, Refusal> {
        let name = {
            let mut guard = self.known.lock().expect("no panic holds it");
            let known = &mut *guard;
            let all = known.names - known.free_names.len();
            let has = known.shares.get(&payer.user).map_or(0, |share| share.links);
            if !payer.may_have(has, LINKS_PER_ACCOUNT, all, BUS_LINKS - 1) {
                return Err(Refusal::Quota);
            }
            known.shares.entry(payer.user.clone()).or_default().links += 1;
            known.free_names.pop().unwrap_or_else(|| {
                known.names += 1;
                format!("s{}", known.names)
            })
        };
        let (sender, receiver) = (self.link)(&name)?;
        let known = Arc::clone(&self.known);
        Ok(Subscriber {
            name,
            payer: payer.clone(),
            sender,
            receiver,
            known,
            next: VecDeque::new(),
            unanswered: 0,
            received: 0,
            settled: 0,
            cursors: HashMap::new(),
            missed: 0,
        })
    }
}

/// A client's subscriptions at the router, and what comes from them.
pub struct Subscriber {
    name: String,
    sender: LinkTx,
    receiver: LinkRx,
    known: Arc<Mutex<Known>>,
    payer: Payer,
    /// Received and not taken yet.
    next: VecDeque<Notification>,
    /// Subscriptions and their ends that the router has not answered.
    unanswered: usize,
    /// Messages received and acknowledged, counted from the beginning.
    received: u64,
    settled: u64,
    /// By subscription, where its log goes on, as far as that is known.
    cursors: HashMap<usize, Option<u64>>,
    /// Messages that left the log before they were taken.
    missed: u64,
}

impl Subscriber {
    /// Subscribes; what matches comes with this number.
    ///
    /// # Errors
    /// [`Refusal::Quota`] if the router would have to keep too many filters.
    pub async fn subscribe(&mut self, number: usize, filter: &Filter) -> Result<(), Refusal> {
        self.admit(filter)?;
        self.heed_answers().await?;
        let filters = vec![RouterFilter {
            path: prefixed(filter.as_str()),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        }];
        let properties = SubscribeProperties { id: Some(number), user_properties: Vec::new() };
        self.unanswered += 1;
        self.cursors.insert(number, None);
        self.send(Packet::Subscribe(Subscribe { pkid: 1, filters }, Some(properties)))
    }

    /// Ends a subscription. What is on its way still comes, with its number.
    ///
    /// # Errors
    /// [`Refusal::Gone`].
    pub async fn unsubscribe(&mut self, number: usize, filter: &Filter) -> Result<(), Refusal> {
        self.heed_answers().await?;
        let filters = vec![prefixed(filter.as_str())];
        self.unanswered += 1;
        self.cursors.remove(&number);
        self.send(Packet::Unsubscribe(Unsubscribe { pkid: 1, filters }, None))
    }

    /// Keeps the filter among those the router knows.
    fn admit(&self, filter: &Filter) -> Result<(), Refusal> {
        let mut guard = self.known.lock().expect("no panic holds it");
        let known = &mut *guard;
        if !known.filters.contains(filter) {
            let has = known.shares.get(&self.payer.user).map_or(0, |share| share.filters);
            if !self.payer.may_have(has, FILTERS_PER_ACCOUNT, known.filters.len(), BUS_FILTERS) {
                return Err(Refusal::Quota);
            }
            known.shares.entry(self.payer.user.clone()).or_default().filters += 1;
            known.filters.insert(filter.clone());
        }
        Ok(())
    }

    /// Waits while many subscriptions are unanswered. With 200 answers and messages in its buffer the
    /// router would want to be told when to go on, and a word of that to a link that has ended since
    /// is the end of the router.
    async fn heed_answers(&mut self) -> Result<(), Refusal> {
        while self.unanswered >= BUS_UNANSWERED {
            let notification = self.receiver.next().await.map_err(|_| Refusal::Gone)?;
            let kept = notification.and_then(|notification| self.unless_answer(notification));
            self.next.extend(kept);
        }
        Ok(())
    }

    /// Counts an answer; returns anything else.
    fn unless_answer(&mut self, notification: Notification) -> Option<Notification> {
        match notification {
            Notification::DeviceAck(_) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                None
            }
            other => Some(other),
        }
    }

    /// Waits until there is something to take. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// [`Refusal::Gone`].
    pub async fn wait(&mut self) -> Result<(), Refusal> {
        while self.next.is_empty() {
            let notification = self.receiver.next().await.map_err(|_| Refusal::Gone)?;
            let kept = notification.and_then(|notification| self.unless_answer(notification));
            self.next.extend(kept);
        }
        Ok(())
    }

    /// The next message that is there, with its subscription's number.
    ///
    /// # Errors
    /// [`Refusal::Gone`].
    pub fn take(&mut self) -> Result<Option<(usize, Message)>, Refusal> {
        loop {
            let notification = match self.next.pop_front() {
                Some(notification) => notification,
                None => match self.receiver.next().now_or_never() {
                    None => return Ok(None),
                    Some(Err(_)) => return Err(Refusal::Gone),
                    Some(Ok(received)) => {
                        match received.and_then(|received| self.unless_answer(received)) {
                            None => continue,
                            Some(notification) => notification,
                        }
                    }
                },
            };
            match notification {
                Notification::Forward(forward) => {
                    self.received += 1;
                    let numbers =
                        forward.properties.map(|properties| properties.subscription_identifiers);
                    let number = numbers.and_then(|numbers| numbers.first().copied());
                    if let (Some(number), Some((_, at))) = (number, forward.cursor)
                        && let Some(cursor) = self.cursors.get_mut(&number)
                    {
                        let expected = cursor.replace(at + 1).unwrap_or(at);
                        self.missed += at.saturating_sub(expected);
                    }
                    let topic = forward.publish.topic.slice(PREFIX.len()..);
                    let message = Message::open(topic, &forward.publish.payload);
                    if let (Some(number), Some(message)) = (number, message) {
                        return Ok(Some((number, message)));
                    }
                }
                // It does not come to this: see `heed_answers`.
                Notification::Unschedule | Notification::Disconnect(..) => {
                    return Err(Refusal::Gone);
                }
                _ => {}
            }
        }
    }

    /// How many messages left the router's log before they were taken, since it was last asked.
    pub fn missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Acknowledges all that was taken, in order.
    ///
    /// # Errors
    /// [`Refusal::Gone`].
    pub fn settle(&mut self) -> Result<(), Refusal> {
        while self.settled < self.received {
            let pkid = (self.settled % u64::from(LAST_PACKET_ID)) as u16 + 1;
            self.settled += 1;
            let packet = Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None);
            if self.settled == self.received {
                return self.send(packet);
            }
            self.sender.buffer().push_back(packet);
        }
        Ok(())
    }

    fn send(&mut self, packet: Packet) -> Result<(), Refusal> {
        // An `async fn` that never waits.
        let sent = self.sender.send(packet).now_or_never();
        sent.and_then(Result::ok).map(|_| ()).ok_or(Refusal::Gone)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        let _ = self.send(Packet::Disconnect(Disconnect { reason_code }, None));
        // Only now: who takes the name is heard by the router after this farewell.
        let mut known = self.known.lock().expect("no panic holds it");
        known.free_names.push(std::mem::take(&mut self.name));
        if let Some(share) = known.shares.get_mut(&self.payer.user) {
            share.links = share.links.saturating_sub(1);
        }
    }
}

fn prefixed(filter: &str) -> String {
    format!("{PREFIX}{filter}")
}

fn prefixed_topic(topic: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX.len() + topic.len());
    bytes.put_slice(PREFIX.as_bytes());
    bytes.put_slice(topic);
    bytes.freeze()
}
