//! Who asks: the holder of a token, somebody on this machine, or a stranger.
//!
//! Everything passes here before it is looked at. What an operation then demands is in [`allowed`]; an
//! operation that demands nothing is open to strangers.
//!
//! [`allowed`]: super::allowed

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use poem::Request;
use poem::http::uri::Authority;
use poem::http::{HeaderMap, Method, Uri, Version, header};
use vigia_kit::audit::Audit;
use vigia_kit::config::ConfigError;
use vigia_kit::stamp::Stamp;
use vigia_kit::tokens::{Scope, Tokens};
use vigia_protocol::time::Micros;

use crate::api::problem::Problem;
use crate::api::rates::{Rates, Who};
use crate::limits::BODY_BYTES;

/// The way in.
#[derive(Debug)]
pub struct Access {
    tokens: Mutex<Taken>,
    rates: Mutex<Rates>,
    /// Whether only this machine reaches the listener.
    is_local: bool,
    clock: fn() -> Micros,
    audit: Arc<Audit>,
}

/// The tokens, as their file was when it was last looked at.
#[derive(Debug)]
struct Taken {
    path: PathBuf,
    seen: Stamp,
    tokens: Tokens,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The holder of a token of this name.
    Holder(String, Scope),
    /// Somebody on this machine, without a token.
    Local,
    /// Nobody known.
    Stranger,
}

/// What is seen of a request at the door.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// From where.
    pub peer: Option<IpAddr>,
    /// Its target, which HTTP/2 also puts the host's name in.
    pub uri: &'a Uri,
    /// Whether a body may follow of which nothing tells: only HTTP/2 allows that.
    pub is_open_ended: bool,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

impl<'a> Knock<'a> {
    /// Of this request.
    pub fn of(request: &'a Request) -> Self {
        Self {
            peer: request.remote_addr().as_socket_addr().map(SocketAddr::ip),
            uri: request.original_uri(),
            is_open_ended: request.version() == Version::HTTP_2
                && !matches!(*request.method(), Method::GET | Method::HEAD),
            headers: request.headers(),
        }
    }

    /// Whether it was addressed to this machine. A page of somebody else's, whose name was made to
    /// lead here after it was loaded (DNS rebinding), is told from a local client by nothing else.
    fn names_this_machine(&self) -> bool {
        let named = match self.headers.get(header::HOST) {
            Some(host) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
            None => self.uri.authority().cloned(),
        };
        named.is_some_and(|named| {
            let host = named.host().trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        })
    }
}

impl Access {
    /// To a listener at this address, with the tokens of this file; a file that is not there has none.
    /// `clock` says when tokens expire; refused tokens are noted in `audit`.
    ///
    /// # Errors
    /// One sentence about what is wrong with the file.
    pub fn open(
        path: &Path,
        listener: SocketAddr,
        clock: fn() -> Micros,
        audit: Arc<Audit>,
    ) -> Result<Self, ConfigError> {
        let seen = Stamp::of(path);
        let taken = Taken { path: path.to_owned(), seen, tokens: read(path)? };
        Ok(Self {
            tokens: Mutex::new(taken),
            rates: Mutex::default(),
            is_local: listener.ip().is_loopback(),
            clock,
            audit,
        })
    }

    /// Lets a request pass, and says who asks.
    ///
    /// # Errors
    /// If it is one too many, or too large.
    pub fn admit(&self, knock: &Knock<'_>) -> Result<Caller, Problem> {
        let caller = self.caller(knock);
        let who = match &caller {
            Caller::Holder(name, _) => Who::Holder(name.clone()),
            Caller::Local => Who::Local,
            Caller::Stranger => Who::at(knock.peer),
        };
        lock(&self.rates).take(who, Instant::now()).map_err(Problem::too_many)?;
        if caller == Caller::Stranger && knock.headers.contains_key(header::AUTHORIZATION) {
            let peer = knock.peer.map_or_else(String::new, |peer| peer.to_string());
            self.audit.note_failure("api-refused", &[("peer", &peer), ("path", &knock.uri.path())]);
        }
        check_body(knock)?;
        Ok(caller)
    }

    /// A token that opens nothing is no better than none, and on this machine worse: who shows one
    /// means to be somebody.
    fn caller(&self, knock: &Knock<'_>) -> Caller {
        if knock.headers.contains_key(header::AUTHORIZATION) {
            let holder = bearer(knock.headers).and_then(|shown| self.holder(shown));
            return holder.unwrap_or(Caller::Stranger);
        }
        let is_local = self.is_local
            && knock.peer.is_some_and(|peer| peer.to_canonical().is_loopback())
            && knock.names_this_machine();
        if is_local { Caller::Local } else { Caller::Stranger }
    }

    fn holder(&self, shown: &str) -> Option<Caller> {
        let mut taken = lock(&self.tokens);
        taken.look();
        let (name, scope) = taken.tokens.holder(shown, (self.clock)())?;
        Some(Caller::Holder(name.to_string(), scope))
    }
}

impl Taken {
    /// Reads the file again if it has changed. With one that is wrong, the tokens stay as they are.
    fn look(&mut self) {
        let now = Stamp::of(&self.path);
        if now == self.seen {
            return;
        }
        self.seen = now;
        match read(&self.path) {
            Ok(tokens) => {
                tracing::info!(tokens = tokens.iter().count(), "the API's tokens were read again");
                self.tokens = tokens;
            }
            Err(error) => tracing::error!(%error, "the API's tokens stay as they were"),
        }
    }
}

fn read(path: &Path) -> Result<Tokens, ConfigError> {
    match path.try_exists() {
        Ok(false) => Ok(Tokens::default()),
        _ => Tokens::load(path),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands behind `Authorization: Bearer`, if it stands there once.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, shown) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| shown.trim())
}

/// A body says how long it is, and is not too long. Most requests have none and say nothing.
fn check_body(knock: &Knock<'_>) -> Result<(), Problem> {
    let Some(length) = knock.headers.get(header::CONTENT_LENGTH) else {
        let has_none =
            !knock.is_open_ended && !knock.headers.contains_key(header::TRANSFER_ENCODING);
        return has_none.then_some(()).ok_or_else(|| {
            Problem::bad_request(
                "a body without Content-Length, expected it to be there".to_owned(),
            )
        });
    };
    let fits = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
    if fits.is_some_and(|length| length <= BODY_BYTES) {
        return Ok(());
    }
    Err(Problem::too_large(format!("the body is too large, expected at most {BODY_BYTES} bytes")))
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse;
    use vigia_kit::tokens::{BearerToken, Moment, Token};
    use vigia_kit::users::UserName;

    use super::*;

    const LOCAL: &str = "127.0.0.1:8080";

    fn access(listener: &str) -> (Access, BearerToken, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let bearer = BearerToken::random();
        let mut tokens = Tokens::default();
        let token = Token {
            secret: bearer.hash(),
            scope: Scope::Operate,
            created: Moment(Micros(0)),
            expires: None,
        };
        tokens.insert(UserName::new("one").unwrap(), token).unwrap();
        tokens.save(&path).unwrap();
        let audit = Arc::new(Audit::open(dir.path()).unwrap());
        let access = Access::open(&path, listener.parse().unwrap(), || Micros(0), audit).unwrap();
        (access, bearer, dir)
    }

    fn headers(host: &str, authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    fn admit(access: &Access, peer: &str, headers: &HeaderMap) -> Result<Caller, u16> {
        let peer: SocketAddr = peer.parse().unwrap();
        let knock = Knock {
            peer: Some(peer.ip()),
            uri: &Uri::from_static("/x"),
            is_open_ended: false,
            headers,
        };
        access.admit(&knock).map_err(|problem| problem.into_response().status().as_u16())
    }

    fn caller(access: &Access, peer: &str, host: &str, authorization: Option<&str>) -> Caller {
        admit(access, peer, &headers(host, authorization)).unwrap()
    }

    #[test]
    fn without_a_token_only_this_machine_at_a_listener_of_this_machine_is_known() {
        let (local, ..) = access(LOCAL);
        let (open, ..) = access("0.0.0.0:8080");
        let (six, ..) = access("[::1]:8080");
        for host in ["127.0.0.1:8080", "localhost", "LocalHost:1", "[::1]:8080", "127.9.9.9"] {
            assert_eq!(caller(&local, "127.0.0.1:5000", host, None), Caller::Local, "{host}");
            assert_eq!(caller(&six, "[::1]:5000", host, None), Caller::Local, "{host}");
            // Through a NAT, all the world has a local address.
            assert_eq!(caller(&open, "127.0.0.1:5000", host, None), Caller::Stranger, "{host}");
        }
        assert_eq!(caller(&local, "192.0.2.7:5000", "localhost", None), Caller::Stranger);
        for host in ["plant.example:8080", "127.0.0.1.evil.example", "192.0.2.7", ""] {
            assert_eq!(caller(&local, "127.0.0.1:5000", host, None), Caller::Stranger, "{host}");
        }
    }

    #[test]
    fn a_token_that_opens_nothing_makes_a_stranger_also_here() {
        let (local, bearer, _dir) = access(LOCAL);
        let says = |text: &str| caller(&local, "127.0.0.1:5000", "localhost", Some(text));
        let known = Caller::Holder("one".to_owned(), Scope::Operate);
        assert_eq!(says(&format!("Bearer {}", bearer.expose())), known);
        assert_eq!(says(&format!("bearer {}", bearer.expose())), known);
        for wrong in
            ["", "Bearer", "Bearer x", &format!("Basic {}", bearer.expose()), bearer.expose()]
        {
            assert_eq!(says(wrong), Caller::Stranger, "{wrong}");
        }
        let mut twice = headers("localhost", Some(&format!("Bearer {}", bearer.expose())));
        twice.append(header::AUTHORIZATION, "Bearer y".parse().unwrap());
        assert_eq!(admit(&local, "127.0.0.1:5000", &twice), Ok(Caller::Stranger));
    }

    #[test]
    fn a_body_is_small_and_says_its_length() {
        let (local, ..) = access(LOCAL);
        let status = |name, value: &str| {
            let mut headers = headers("localhost", None);
            headers.insert(name, value.parse().unwrap());
            admit(&local, "127.0.0.1:5000", &headers).map(|_| ())
        };
        assert_eq!(status(header::CONTENT_LENGTH, &BODY_BYTES.to_string()), Ok(()));
        assert_eq!(status(header::CONTENT_LENGTH, &(BODY_BYTES + 1).to_string()), Err(413));
        assert_eq!(status(header::CONTENT_LENGTH, "many"), Err(413));
        assert_eq!(status(header::TRANSFER_ENCODING, "chunked"), Err(400));
    }
}
