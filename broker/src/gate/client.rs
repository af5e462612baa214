//! One MQTT connection, from its first byte to its last.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use vigia_kit::audit::Fields;
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::filter::check_topic;

use super::Shared;
use super::account::Account;
use super::identity::{Claim, Refused};
use super::io::{Io, Moved};
use super::message::Message;
use super::retained::now_ms;
use super::router::Payer;
use super::session::Session;
use super::sessions::{HandOver, Key};
use super::wire::{Connect, Goodbye, No, Request, Welcome, Will, Wire};
use crate::limits::{
    CLIENT_MESSAGE_BYTES, CONNECT_BYTES, CONNECT_WITHIN, FAREWELL_WITHIN, MESSAGES_PER_SECOND,
    MQTT_WRITE_WITHIN, OUT_BYTES, REQUESTS_AT_ONCE,
};
use vigia_kit::places::Place;

/// Who is at the door.
pub struct Arrival {
    /// The connection's number.
    pub number: u64,
    /// From where.
    pub peer: SocketAddr,
    /// The name that a client certificate proves.
    pub certificate: Option<String>,
}

/// Why a connection ended.
enum End {
    /// DISCONNECT.
    Farewell { with_will: bool },
    /// Another connection has come for the session.
    TakenOver(HandOver),
    /// Anything else.
    Lost(&'static str),
}

/// Serves a connection to its end. `known` is called when it has authenticated itself, and says
/// whether it may stay.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    arrival: Arrival,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    known: impl FnOnce() -> bool,
) {
    let mut io = Io::new(stream);
    let mut wire = Wire::new();
    let deadline = Instant::now() + CONNECT_WITHIN;
    let Ok(Some((connect, rest))) = timeout_at(deadline, first_packet(&mut io, &mut wire)).await
    else {
        shared.counters.violations.up();
        let _ = timeout(FAREWELL_WITHIN, flush(&mut io, &mut wire)).await;
        return;
    };
    // Before the login: an account that changes meanwhile is judged again.
    let generation = shared.identity.generation();
    let (account, _place) = match admit(&connect, &wire, &arrival, &shared).await {
        Ok(admitted) => admitted,
        Err(no) => {
            wire.refuse(no);
            let _ = timeout(FAREWELL_WITHIN, flush(&mut io, &mut wire)).await;
            return;
        }
    };
    if !known() {
        return;
    }
    shared.counters.connections.up();
    let mut client = Client {
        generation,
        payer: payer(&account, &shared),
        heard: Instant::now(),
        blocked_since: None,
        bucket: Bucket::new(allowance(&account, &shared)),
        io,
        wire,
        window: connect.window,
        shared,
        account,
        shutdown,
    };
    client.live(*connect, rest, &arrival).await;
}

/// Reads until CONNECT is whole. What came behind it is returned too.
async fn first_packet<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    wire: &mut Wire,
) -> Option<(Box<Connect>, Vec<u8>)> {
    let mut total = 0;
    loop {
        let Moved::Read(count) = io.transfer(&mut wire.out, true).await.ok()? else {
            return None;
        };
        total += count;
        let bytes = io.read_bytes(count);
        match wire.receive(bytes, now_ms()).ok()? {
            (taken, Some(Request::Connect(connect))) => {
                return Some((connect, bytes[taken..].to_vec()));
            }
            (_, Some(_)) => return None,
            (_, None) if total > CONNECT_BYTES => return None,
            (_, None) => {}
        }
    }
}

async fn flush<S: AsyncRead + AsyncWrite + Unpin>(io: &mut Io<S>, wire: &mut Wire) {
    while !wire.out.is_empty() {
        if !matches!(io.transfer(&mut wire.out, false).await, Ok(Moved::Written)) {
            return;
        }
    }
}

/// Whether the client may come in; with its place, unless it is a role.
async fn admit(
    connect: &Connect,
    wire: &Wire,
    arrival: &Arrival,
    shared: &Shared,
) -> Result<(Arc<Account>, Option<Place<String>>), No> {
    let claim = Claim {
        user: connect.user.as_deref(),
        password: connect.password.as_ref().map(|password| &password[..]),
        certificate: arrival.certificate.as_deref(),
    };
    let account =
        shared.identity.authenticate(arrival.peer.ip(), claim).await.map_err(|refused| {
            shared.counters.logins_refused.up();
            tracing::warn!(
                peer = %arrival.peer,
                user = connect.user.as_deref().unwrap_or(""),
                reason = refused.reason(),
                "login refused"
            );
            let fields: &Fields<'_> = &[
                ("peer", &arrival.peer),
                ("user", &connect.user.as_deref().unwrap_or("")),
                ("reason", &refused.reason()),
            ];
            shared.audit.note_failure("login-refused", fields);
            match refused {
                Refused::Busy => No::Unavailable,
                _ => No::BadCredentials,
            }
        })?;
    if connect.client_id.is_empty() && !connect.clean_start && !wire.is_v5() {
        // MQTT 3.1.1 wants it so (3.1.3.1); in 5.0 the server gives a name.
        return Err(No::BadClientId);
    }
    if let Some(will) = &connect.will
        && judge(&will.message, &account, &payer(&account, shared), shared).is_err()
    {
        return Err(No::NotAuthorized);
    }
    if shared.is_role(&account.name) {
        return Ok((account, None));
    }
    let place = shared.guests.take(account.name.clone()).ok_or_else(|| {
        shared.counters.connections_refused.up();
        No::Quota
    })?;
    Ok((account, Some(place)))
}

/// Whether the account may publish this.
fn judge(message: &Message, account: &Account, payer: &Payer, shared: &Shared) -> Result<(), No> {
    let topic = message.topic();
    check_topic(topic).map_err(|_| No::BadTopic)?;
    if topic.starts_with('$') || !account.may_publish(topic) {
        return Err(No::NotAuthorized);
    }
    let small = payer.role || message.size() <= CLIENT_MESSAGE_BYTES;
    if !small || !shared.router.admits_topic(topic, payer) {
        return Err(No::Quota);
    }
    Ok(())
}

fn payer(account: &Account, shared: &Shared) -> Payer {
    Payer { user: account.name.clone(), role: shared.is_role(&account.name) }
}

fn allowance(account: &Account, shared: &Shared) -> Option<NonZeroU32> {
    match account.messages_per_second {
        None if shared.is_role(&account.name) => None,
        own => Some(own.unwrap_or(MESSAGES_PER_SECOND)),
    }
}

struct Client<S> {
    io: Io<S>,
    wire: Wire,
    shared: Arc<Shared>,
    account: Arc<Account>,
    payer: Payer,
    shutdown: Shutdown,
    generation: tokio::sync::watch::Receiver<u64>,
    window: u16,
    /// When the last whole packet came.
    heard: Instant,
    /// Since when nothing could be written.
    blocked_since: Option<Instant>,
    bucket: Bucket,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn live(&mut self, connect: Connect, rest: Vec<u8>, arrival: &Arrival) {
        let assigned = connect.client_id.is_empty();
        let client_id =
            if assigned { format!("auto-{}", arrival.number) } else { connect.client_id };
        let key: Key = (self.account.name.clone(), client_id);
        let (order, mut ordered) = oneshot::channel();
        let before = self.shared.sessions.claim(&key, arrival.number, order).await;
        let before = match before {
            Some(session) if connect.clean_start => {
                if let Some(will) = session.end(&self.shared) {
                    self.shared.publish_will(will).await;
                }
                None
            }
            before => before,
        };
        let session_present = before.is_some();
        let mut session = before.unwrap_or_else(|| {
            let counters = self.shared.counters.users.of(&key.0);
            Session::new(arrival.number, counters, self.payer.clone())
        });
        session.expiry = connect.expiry;
        // A will whose delay was running does not happen: its client is back.
        session.will = connect.will;
        tracing::debug!(
            user = %key.0, client = ?key.1, version = self.wire.version(), session_present, "connected"
        );
        let welcome = Welcome {
            session_present,
            expiry: connect.expiry,
            assigned_id: assigned.then_some(key.1.as_str()),
        };
        let end = match self.wire.accept(&welcome) {
            Err(_) => End::Lost("its packets are too small for a CONNACK"),
            Ok(()) => {
                // The account may have changed since the session was left.
                session.judge_again(&self.account, &self.shared).await;
                session.resume();
                self.converse(&mut session, rest, &mut ordered).await
            }
        };
        self.part(end, session, &key, arrival.number, ordered).await;
    }

    async fn converse(
        &mut self,
        session: &mut Session,
        rest: Vec<u8>,
        ordered: &mut oneshot::Receiver<HandOver>,
    ) -> End {
        if let Err(end) = self.take(&rest, session).await {
            return end;
        }
        let mut system = self.shared.system.news();
        loop {
            if session.hand_over(&mut self.wire, self.window, &self.shared, now_ms()).is_err() {
                return End::Lost("the router is gone");
            }
            self.shared.counters.bytes_sent.add(std::mem::take(&mut self.io.written));
            let now = Instant::now();
            self.blocked_since = match self.blocked_since {
                _ if self.wire.out.is_empty() => None,
                since => since.or(Some(now)),
            };
            let resume = self.bucket.resume(now);
            let reading = self.wire.out.len() < OUT_BYTES && resume.is_none();
            if !reading {
                // What it says meanwhile lies unread.
                self.heard = now;
            }
            let room = session.has_room(&self.wire, self.window);
            let silence = self.wire.patience.map(|patience| self.heard + patience);
            let blocked = self.blocked_since.map(|since| since + MQTT_WRITE_WITHIN);
            let alarm = [silence, blocked, resume].into_iter().flatten().min();
            tokio::select! {
                biased;
                order = &mut *ordered => {
                    let Ok(reply) = order else {
                        return End::Lost("replaced");
                    };
                    self.wire.goodbye(Goodbye::TakenOver);
                    return End::TakenOver(reply);
                }
                () = self.shutdown.ended() => {
                    self.wire.goodbye(Goodbye::ShuttingDown);
                    return End::Lost("shutting down");
                }
                moved = self.io.transfer(&mut self.wire.out, reading) => match moved {
                    Ok(Moved::Written) => self.blocked_since = None,
                    Ok(Moved::Read(count)) => {
                        self.blocked_since = None;
                        self.shared.counters.bytes_received.add(count as u64);
                        let bytes = self.io.read_bytes(count).to_vec();
                        self.io.adapt(count);
                        if let Err(end) = self.take(&bytes, session).await {
                            return end;
                        }
                    }
                    Ok(Moved::Closed) => return End::Lost("closed"),
                    Err(_) => return End::Lost("broken"),
                },
                ready = session.wait(), if room => {
                    if ready.is_err() {
                        return End::Lost("the router is gone");
                    }
                }
                _ = system.changed(), if session.wants_system() => {
                    session.tell_system(&mut self.wire, false, &self.shared, now_ms());
                }
                _ = self.generation.changed() => match self.shared.identity.account(&self.account.name) {
                    Some(account) if account.has_secret_of(&self.account) => {
                        self.account = account;
                        self.bucket.change(allowance(&self.account, &self.shared));
                        session.judge_again(&self.account, &self.shared).await;
                        session.will = session.will.take().filter(|will| {
                            judge(&will.message, &self.account, &self.payer, &self.shared).is_ok()
                        });
                    }
                    _ => {
                        session.will = None;
                        self.wire.goodbye(Goodbye::NotAuthorized);
                        return End::Lost("its account or its password is gone");
                    }
                },
                () = sleep_until(alarm.unwrap_or(now)), if alarm.is_some() => {
                    let now = Instant::now();
                    if blocked.is_some_and(|at| at <= now) {
                        self.shared.counters.too_slow.up();
                        return End::Lost("too slow");
                    }
                    if silence.is_some_and(|at| at <= now) {
                        self.wire.goodbye(Goodbye::KeepAlive);
                        return End::Lost("silent");
                    }
                }
            }
        }
    }

    /// Does what the bytes ask for.
    async fn take(&mut self, mut bytes: &[u8], session: &mut Session) -> Result<(), End> {
        let mut published = Vec::new();
        let now = now_ms();
        let mut answered = 0;
        let result = loop {
            if bytes.is_empty() {
                break Ok(());
            }
            answered += 1;
            if answered % REQUESTS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            let request = match self.wire.receive(bytes, now) {
                Ok((taken, request)) => {
                    bytes = &bytes[taken..];
                    request
                }
                Err(violation) => {
                    self.shared.counters.violations.up();
                    tracing::debug!(user = self.account.name, %violation, "connection closed");
                    break Err(End::Lost("protocol violation"));
                }
            };
            let Some(request) = request else { break Ok(()) };
            self.heard = Instant::now();
            self.shared.counters.packets_received.up();
            self.bucket.spend(weight(&request));
            if let Err(end) = self.answer(request, session, &mut published).await {
                break Err(end);
            }
        };
        // Before the acknowledgements, which are still in the buffer.
        self.shared.router.publish(published).await;
        result
    }

    async fn answer(
        &mut self,
        request: Request,
        session: &mut Session,
        published: &mut Vec<Message>,
    ) -> Result<(), End> {
        let shared = &*self.shared;
        let sent = match request {
            Request::Connect(_) => return Err(End::Lost("connected twice")),
            Request::Publish(mut message, id) => {
                session.counters.published.up();
                message.publisher = session.serial;
                let answer = judge(&message, &self.account, &self.payer, shared).and_then(|()| {
                    let kept = if message.retain { shared.retained.keep(&message) } else { Ok(()) };
                    published.push(message);
                    kept.map_err(|_| No::Quota)
                });
                if let Err(no) = answer {
                    shared.counters.publish_refused.up(no);
                }
                id.map_or(Ok(()), |id| self.wire.acknowledge(id, answer))
            }
            Request::Received(id) => {
                session.received(id);
                Ok(())
            }
            Request::Subscribe(id, wishes, identifier) => {
                // What this client published before comes before its subscription.
                shared.router.publish(std::mem::take(published)).await;
                let system = wishes.iter().any(|wish| wish.filter.starts_with('$'));
                let answers = session.subscribe(wishes, identifier, &self.account, shared).await;
                for no in answers.iter().filter_map(|answer| answer.err()) {
                    shared.counters.subscribe_refused.up(no);
                }
                let sent = self.wire.subscribed(id, &answers);
                if system {
                    session.tell_system(&mut self.wire, true, shared, now_ms());
                }
                sent
            }
            Request::Unsubscribe(id, filters) => {
                let existed = session.unsubscribe(&filters, shared).await;
                self.wire.unsubscribed(id, &existed)
            }
            Request::Ping => self.wire.pong(),
            Request::Disconnect { with_will, expiry } => {
                if let Some(expiry) = expiry
                    && session.expiry != 0
                {
                    session.expiry = expiry;
                }
                return Err(End::Farewell { with_will });
            }
        };
        sent.map_err(|_| End::Lost("its packets are too small for the answer"))
    }

    /// The end of the connection: what becomes of the session and the will.
    async fn part(
        &mut self,
        end: End,
        mut session: Session,
        key: &Key,
        number: u64,
        ordered: oneshot::Receiver<HandOver>,
    ) {
        let why = match &end {
            End::Farewell { .. } => "farewell",
            End::TakenOver(_) => "taken over",
            End::Lost(why) => why,
        };
        tracing::debug!(user = %key.0, client = ?key.1, why, "disconnected");
        if let End::Farewell { with_will: false } = end {
            session.will = None;
        }
        let will = match end {
            End::TakenOver(reply) => self.hand_over(session, reply),
            _ => match self.shared.sessions.release(key, number, session, &self.shared) {
                Ok(will) => will,
                // Just now somebody else has come, and asks for it.
                Err(session) => match ordered.await {
                    Ok(reply) => self.hand_over(*session, reply),
                    Err(_) => session.end(&self.shared),
                },
            },
        };
        if let Some(will) = will {
            self.shared.publish_will(will).await;
        }
        let _ = timeout(FAREWELL_WITHIN, flush(&mut self.io, &mut self.wire)).await;
    }

    /// Gives the session to the connection that has come for it. Returns a will that is due now.
    fn hand_over(&self, mut session: Session, reply: HandOver) -> Option<Will> {
        if session.expiry == 0 {
            let will = session.end(&self.shared);
            let _ = reply.send(None);
            return will;
        }
        // A delayed one goes with the session: it is not due while the client is back.
        let due = session.will.take_if(|will| will.delay == 0);
        if let Err(Some(session)) = reply.send(Some(session)) {
            return due.or(session.end(&self.shared));
        }
        due
    }
}

/// What a request costs of the allowance: each filter is work.
fn weight(request: &Request) -> f64 {
    match request {
        Request::Subscribe(_, wishes, _) => wishes.len() as f64,
        Request::Unsubscribe(_, filters) => filters.len() as f64,
        _ => 1.0,
    }
}

/// A client's allowance of packets: a second's worth at once, and then as many as time brings.
struct Bucket {
    per_second: Option<f64>,
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: Option<NonZeroU32>) -> Self {
        let per_second = per_second.map(|rate| f64::from(rate.get()));
        Self { per_second, left: per_second.unwrap_or(0.0), filled: Instant::now() }
    }

    /// Another allowance, from now on.
    fn change(&mut self, per_second: Option<NonZeroU32>) {
        let per_second = per_second.map(|rate| f64::from(rate.get()));
        if per_second != self.per_second {
            (self.per_second, self.left) = (per_second, per_second.unwrap_or(0.0));
        }
    }

    fn spend(&mut self, weight: f64) {
        self.left -= weight;
    }

    /// When to read on; `None` is now.
    fn resume(&mut self, now: Instant) -> Option<Instant> {
        let per_second = self.per_second?;
        let passed = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.left = (self.left + passed * per_second).min(per_second);
        (self.left < 0.0).then(|| now + Duration::from_secs_f64(-self.left / per_second))
    }
}

impl Shared {
    /// Publishes a will.
    pub async fn publish_will(&self, will: Will) {
        let mut message = will.message;
        message.expires_ms = will.expiry.map(|seconds| now_ms() + u64::from(seconds) * 1000);
        if message.retain && self.retained.keep(&message).is_err() {
            self.counters.publish_refused.up(No::Quota);
        }
        self.router.publish(vec![message]).await;
    }
}
