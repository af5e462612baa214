//! A client's session: its subscriptions and what was sent and not acknowledged. It outlives the
//! connection if the client wants it, as long as the broker lives.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::Qos;
use vigia_protocol::filter::Filter;

use super::Shared;
use super::account::Account;
use super::counters::UserCounters;
use super::message::Message;
use super::router::{Payer, Refusal, Subscriber};
use super::wire::{Delivery, No, Retained, Will, Wire, Wish};
use crate::limits::{IN_FLIGHT_BYTES, OUT_BYTES, SUBSCRIPTIONS};

/// What is kept of a client.
pub struct Session {
    /// Tells its own messages from others'.
    pub serial: u64,
    /// Seconds it is kept after the connection; `u32::MAX` is for ever.
    pub expiry: u32,
    /// Published if the connection ends without a farewell.
    pub will: Option<Will>,
    /// What its user did.
    pub counters: Arc<UserCounters>,
    /// On whose account.
    pub payer: Payer,
    subscriptions: BTreeMap<String, Subscription>,
    router: Option<Subscriber>,
    /// The filters it has at the router, each with its number there. Several subscriptions may
    /// stand on one, and one on several.
    links: BTreeMap<Filter, usize>,
    numbers: HashMap<usize, Filter>,
    next_number: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// In flight on an earlier connection, to be sent again before anything else.
    again: VecDeque<InFlight>,
    /// Subscriptions whose retained messages are being sent, and up to which topic they were.
    catching_up: VecDeque<(String, Option<String>)>,
}

struct Subscription {
    filter: Filter,
    wish: Wish,
    identifier: Option<u32>,
    /// What the account may read of it.
    narrowed: Vec<Filter>,
}

/// How one message is delivered.
struct Manner {
    qos: Qos,
    retain: bool,
    identifiers: Vec<u32>,
}

struct InFlight {
    id: u16,
    message: Message,
    retain: bool,
    identifiers: Vec<u32>,
}

impl Session {
    /// A new one.
    pub fn new(serial: u64, counters: Arc<UserCounters>, payer: Payer) -> Self {
        Self {
            serial,
            counters,
            payer,
            expiry: 0,
            will: None,
            subscriptions: BTreeMap::new(),
            router: None,
            links: BTreeMap::new(),
            numbers: HashMap::new(),
            next_number: 1,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            again: VecDeque::new(),
            catching_up: VecDeque::new(),
        }
    }

    /// Subscribes to what one SUBSCRIBE asks for, as far as the account may read.
    pub async fn subscribe(
        &mut self,
        wishes: Vec<Wish>,
        identifier: Option<u32>,
        account: &Account,
        shared: &Shared,
    ) -> Vec<Result<Qos, No>> {
        let mut answers: Vec<Result<Qos, No>> = Vec::with_capacity(wishes.len());
        let mut taken = Vec::new();
        for (place, wish) in wishes.into_iter().enumerate() {
            if place >= SUBSCRIPTIONS {
                answers.push(Err(No::Quota));
                continue;
            }
            let name = wish.filter.clone();
            let (retained, qos) = (wish.retained, wish.qos);
            answers.push(self.note(wish, identifier, account, shared).map(|is_new| {
                taken.push((place, name, is_new, retained));
                qos
            }));
        }
        let aligned = self.align(shared).await;
        for (place, name, is_new, retained) in taken {
            if let (Err(refusal), true) = (aligned, is_new) {
                self.forget(&name, shared);
                answers[place] = Err(no(refusal));
            } else if retained == Retained::Always || (retained == Retained::IfNew && is_new) {
                self.catching_up.retain(|(other, _)| *other != name);
                self.catching_up.push_back((name, None));
            }
        }
        if aligned.is_err() {
            // What the router did take of it has no subscription any more.
            let _ = self.align(shared).await;
        }
        answers
    }

    /// Notes a subscription; says whether it is new.
    fn note(
        &mut self,
        wish: Wish,
        identifier: Option<u32>,
        account: &Account,
        shared: &Shared,
    ) -> Result<bool, No> {
        if wish.filter.starts_with("$share/") {
            return Err(No::Shared);
        }
        let filter = Filter::parse(&wish.filter).map_err(|_| No::BadTopic)?;
        let allowed = account.narrowed(&filter);
        if allowed.is_empty() {
            return Err(No::NotAuthorized);
        }
        let is_new = !self.subscriptions.contains_key(&wish.filter);
        if is_new && self.subscriptions.len() >= SUBSCRIPTIONS {
            return Err(No::Quota);
        }
        let name = wish.filter.clone();
        let subscription = Subscription { filter, wish, identifier, narrowed: allowed };
        self.subscriptions.insert(name, subscription);
        if is_new {
            shared.counters.subscriptions.up();
        }
        Ok(is_new)
    }

    /// Ends subscriptions; says of each whether there was one.
    pub async fn unsubscribe(&mut self, names: &[String], shared: &Shared) -> Vec<bool> {
        let existed = names.iter().map(|name| self.forget(name, shared)).collect();
        // Nothing is added, so nothing can be refused.
        let _ = self.align(shared).await;
        existed
    }

    fn forget(&mut self, name: &str, shared: &Shared) -> bool {
        if self.subscriptions.remove(name).is_none() {
            return false;
        }
        shared.counters.subscriptions.down();
        self.catching_up.retain(|(other, _)| other != name);
        true
    }

    /// The account's topics have changed: every subscription is judged again.
    pub async fn judge_again(&mut self, account: &Account, shared: &Shared) {
        for subscription in self.subscriptions.values_mut() {
            subscription.narrowed = account.narrowed(&subscription.filter);
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|_, subscription| !subscription.narrowed.is_empty());
        for _ in self.subscriptions.len()..before {
            shared.counters.subscriptions.down();
        }
        if let Err(refusal) = self.align(shared).await {
            tracing::warn!(%refusal, "some topics that are now allowed cannot be subscribed to");
        }
    }

    /// Has at the router what the subscriptions stand on, and nothing else.
    async fn align(&mut self, shared: &Shared) -> Result<(), Refusal> {
        let wanted: BTreeSet<Filter> = self
            .subscriptions
            .values()
            .flat_map(|subscription| &subscription.narrowed)
            .filter(|filter| !is_system(filter))
            .cloned()
            .collect();
        let gone: Vec<Filter> =
            self.links.keys().filter(|filter| !wanted.contains(*filter)).cloned().collect();
        for filter in gone {
            let number = self.links.remove(&filter).unwrap_or_default();
            self.numbers.remove(&number);
            if let Some(router) = &mut self.router {
                router.unsubscribe(number, &filter).await?;
            }
        }
        for filter in wanted {
            if !self.links.contains_key(&filter) {
                let router = match &mut self.router {
                    Some(router) => router,
                    None => self.router.insert(shared.router.subscriber(&self.payer)?),
                };
                router.subscribe(self.next_number, &filter).await?;
                self.numbers.insert(self.next_number, filter.clone());
                self.links.insert(filter, self.next_number);
                self.next_number += 1;
            }
        }
        Ok(())
    }

    /// Waits until the router has something. Cancelling loses nothing.
    ///
    /// # Errors
    /// [`Refusal::Gone`].
    pub async fn wait(&mut self) -> Result<(), Refusal> {
        match &mut self.router {
            Some(router) => router.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Whether the client takes more: by its window, and by what waits to be written.
    pub fn has_room(&self, wire: &Wire, window: u16) -> bool {
        wire.out.len() < OUT_BYTES
            && self.in_flight.len() < usize::from(window)
            && self.in_flight_bytes < IN_FLIGHT_BYTES
    }

    /// Hands over what there is, as far as there is room.
    ///
    /// # Errors
    /// [`Refusal::Gone`].
    pub fn hand_over(
        &mut self,
        wire: &mut Wire,
        window: u16,
        shared: &Shared,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        while self.has_room(wire, window) {
            if let Some(sent) = self.again.pop_front() {
                self.send_again(sent, wire, shared, now_ms);
                continue;
            }
            if let Some((message, chosen)) = self.next_retained(shared, now_ms) {
                self.deliver(wire, message, chosen, shared, now_ms);
                continue;
            }
            let Some(router) = &mut self.router else { break };
            let Some((number, message)) = router.take()? else { break };
            // Unsubscribed meanwhile, too late, or not for this one?
            let Some(filter) = self.numbers.get(&number) else { continue };
            let Some(chosen) = self.choose(filter, &message) else { continue };
            if !message.expired(now_ms) {
                self.deliver(wire, message, chosen, shared, now_ms);
            }
        }
        match &mut self.router {
            Some(router) => {
                shared.counters.publish_dropped.add(router.missed());
                router.settle()
            }
            None => Ok(()),
        }
    }

    /// How a message that came by this filter is delivered: once, with the highest quality and all
    /// identifiers of the subscriptions that stand on it (MQTT 5.0, 3.3.4).
    fn choose(&self, filter: &Filter, message: &Message) -> Option<Manner> {
        let mut manner: Option<Manner> = None;
        for subscription in self.subscriptions.values() {
            let wish = &subscription.wish;
            // Where its filters overlap, the message comes by each of them.
            let first = subscription.narrowed.iter().find(|own| own.matches(message.topic()));
            if first != Some(filter) || (wish.no_local && message.publisher == self.serial) {
                continue;
            }
            let manner = manner.get_or_insert(Manner {
                qos: Qos::AtMostOnce,
                retain: false,
                identifiers: Vec::new(),
            });
            if wish.qos != Qos::AtMostOnce {
                manner.qos = message.qos;
            }
            manner.retain |= message.retain && wish.retain_as_published;
            manner.identifiers.extend(subscription.identifier);
        }
        manner
    }

    fn next_retained(&mut self, shared: &Shared, now_ms: u64) -> Option<(Message, Manner)> {
        while let Some((name, cursor)) = self.catching_up.front_mut() {
            let next = self.subscriptions.get(name).and_then(|subscription| {
                let filters = &subscription.narrowed;
                let message = shared.retained.after(cursor.as_deref(), filters, now_ms)?;
                let qos = match subscription.wish.qos {
                    Qos::AtMostOnce => Qos::AtMostOnce,
                    _ => message.qos,
                };
                let identifiers = subscription.identifier.into_iter().collect();
                Some((message, Manner { qos, retain: true, identifiers }))
            });
            match next {
                Some(next) => {
                    *cursor = Some(next.0.topic().to_owned());
                    return Some(next);
                }
                None => {
                    self.catching_up.pop_front();
                }
            }
        }
        None
    }

    fn deliver(
        &mut self,
        wire: &mut Wire,
        message: Message,
        manner: Manner,
        shared: &Shared,
        now_ms: u64,
    ) {
        let id = if manner.qos == Qos::AtMostOnce { None } else { wire.free_id() };
        let Manner { retain, identifiers, .. } = manner;
        let delivery = Delivery {
            message: &message,
            id,
            again: false,
            retain,
            identifiers: &identifiers,
            now_ms,
        };
        if !wire.deliver(&delivery) {
            shared.counters.publish_dropped.up();
            return;
        }
        self.counters.delivered.up();
        if let Some(id) = id {
            self.in_flight_bytes += message.size();
            self.in_flight.push_back(InFlight { id, message, retain, identifiers });
        }
    }

    /// A new connection: what the one before left unacknowledged is sent again, in order (MQTT 5.0,
    /// 4.4), as the new one's window allows.
    pub fn resume(&mut self) {
        // What was sent last is older than what was still to be sent again.
        self.in_flight.append(&mut self.again);
        std::mem::swap(&mut self.again, &mut self.in_flight);
        self.in_flight_bytes = 0;
    }

    fn send_again(&mut self, sent: InFlight, wire: &mut Wire, shared: &Shared, now_ms: u64) {
        wire.take_id(sent.id);
        let delivery = Delivery {
            message: &sent.message,
            id: Some(sent.id),
            again: true,
            retain: sent.retain,
            identifiers: &sent.identifiers,
            now_ms,
        };
        if !wire.deliver(&delivery) {
            shared.counters.publish_dropped.up();
            return;
        }
        self.counters.delivered.up();
        self.in_flight_bytes += sent.message.size();
        self.in_flight.push_back(sent);
    }

    /// The client has this message.
    pub fn received(&mut self, id: u16) {
        // Nearly always the oldest.
        if let Some(place) = self.in_flight.iter().position(|sent| sent.id == id)
            && let Some(sent) = self.in_flight.remove(place)
        {
            self.in_flight_bytes -= sent.message.size();
        }
    }

    /// Sends the broker's own numbers, as far as they are subscribed to and there is room. To a new
    /// subscriber they are retained messages.
    pub fn tell_system(&self, wire: &mut Wire, is_new: bool, shared: &Shared, now_ms: u64) {
        for message in shared.system.messages().iter() {
            for subscription in self.subscriptions.values() {
                let matches = |filter: &Filter| filter.matches(message.topic());
                if wire.out.len() < OUT_BYTES && subscription.narrowed.iter().any(matches) {
                    let identifiers: Vec<u32> = subscription.identifier.into_iter().collect();
                    let delivery = Delivery {
                        message,
                        id: None,
                        again: false,
                        retain: is_new || subscription.wish.retain_as_published,
                        identifiers: &identifiers,
                        now_ms,
                    };
                    if wire.deliver(&delivery) {
                        self.counters.delivered.up();
                    }
                }
            }
        }
    }

    /// Whether it wants the broker's own numbers.
    pub fn wants_system(&self) -> bool {
        let mut all = self.subscriptions.values().flat_map(|subscription| &subscription.narrowed);
        all.any(is_system)
    }

    /// The session is over. Returns its will, which is due now.
    pub fn end(mut self, shared: &Shared) -> Option<Will> {
        for _ in &self.subscriptions {
            shared.counters.subscriptions.down();
        }
        self.will.take()
    }
}

/// What the gate itself publishes; the router never sees it.
fn is_system(filter: &Filter) -> bool {
    filter.as_str().starts_with('$')
}

fn no(refusal: Refusal) -> No {
    match refusal {
        Refusal::Quota => No::Quota,
        Refusal::Gone => No::Unavailable,
    }
}
