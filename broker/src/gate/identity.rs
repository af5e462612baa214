//! Who a client of the MQTT port is: its name and secret against the file of accounts.
//!
//! A client is told one thing about every refusal, except that there was no time for it. What differs
//! costs time, so every refused password costs one argon2 check, whether its user has an account or not
//! (see [`Passwords`]). A secret of 32 random bytes that is right neither waits for them nor is ever
//! locked out: nobody guesses it, and a stranger behind a role's address must not be able to stop the
//! pipeline.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::watch;
use vigia_kit::clock;
use vigia_kit::config::ConfigError;
use vigia_kit::secret_hash::SecretHash;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::stamp::Stamp;
use vigia_kit::users::Users;

use super::account::Account;
use super::lockout::{Lockout, Who};
use super::passwords::Passwords;
use crate::limits::USERS_CHECK;

/// What a client says and shows of itself.
#[derive(Clone, Copy, Default)]
pub struct Claim<'a> {
    /// Its user name.
    pub user: Option<&'a str>,
    /// Its password.
    pub password: Option<&'a [u8]>,
    /// The name that its certificate proves.
    pub certificate: Option<&'a str>,
}

/// Why a client was refused. The audit log says so, the client is told less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not authorized")]
pub enum Refused {
    /// There is no such account.
    UnknownUser,
    /// The password is not the account's.
    WrongSecret,
    /// It failed too often of late.
    LockedOut,
    /// The user name is not the certificate's.
    CertificateMismatch,
    /// It showed neither a password nor a certificate, or a password of nobody.
    NothingShown,
    /// Too many passwords wait for their check.
    Busy,
}

impl Refused {
    /// The reason, for the audit log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown user",
            Self::WrongSecret => "wrong secret",
            Self::LockedOut => "locked out",
            Self::CertificateMismatch => "the certificate is another user's",
            Self::NothingShown => "no password and no certificate",
            Self::Busy => "too many logins at a time",
        }
    }
}

type Accounts = HashMap<String, Arc<Account>>;

/// Everybody who may come in.
#[derive(Debug)]
pub struct Identity {
    path: PathBuf,
    opened: Stamp,
    accounts: RwLock<Accounts>,
    generation: watch::Sender<u64>,
    lockout: Arc<Mutex<Lockout>>,
    passwords: Passwords,
    /// What the passwords of unknown users are checked against.
    nobody: SecretHash,
}

impl Identity {
    /// Reads the file of accounts.
    ///
    /// # Errors
    /// One sentence about what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        // The stamp first: a change in between is seen as one.
        let opened = Stamp::of(path);
        Ok(Self {
            path: path.to_owned(),
            opened,
            accounts: RwLock::new(read(path)?),
            generation: watch::Sender::new(0),
            lockout: Arc::default(),
            passwords: Passwords::new(),
            nobody: SecretHash::of_password(&clock::random::<32>()),
        })
    }

    /// The account of this name, if there is one now.
    pub fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A number that changes whenever the accounts may have.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Finds out who a client is.
    ///
    /// A certificate alone opens the account of its name. A password is checked whenever one is shown,
    /// and a certificate beside it must be the same user's.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn authenticate(
        &self,
        from: IpAddr,
        claim: Claim<'_>,
    ) -> Result<Arc<Account>, Refused> {
        let user = match (claim.user, claim.certificate) {
            (Some(user), Some(proven)) if user != proven => {
                return Err(Refused::CertificateMismatch);
            }
            (Some(user), _) | (None, Some(user)) => user,
            (None, None) => return Err(Refused::NothingShown),
        };
        match (claim.password, claim.certificate) {
            (Some(password), _) => self.check(from, user, password).await,
            (None, Some(_)) => self.account(user).ok_or(Refused::UnknownUser),
            (None, None) => Err(Refused::NothingShown),
        }
    }

    async fn check(
        &self,
        from: IpAddr,
        user: &str,
        password: &[u8],
    ) -> Result<Arc<Account>, Refused> {
        let who = Who::new(user, from);
        let account = self.account(user);
        let secret = account.as_ref().and_then(|account| account.secret.as_ref());
        let hash = match secret {
            Some(hash) if self.is_known(&who, user, hash, password) => {
                self.lockout().succeeded(&who);
                return account.ok_or(Refused::UnknownUser);
            }
            Some(hash @ SecretHash::Argon2(_)) => hash.clone(),
            _ => self.nobody.clone(),
        };
        let right = self.check_slowly(from, user, hash, password).await?;
        match account {
            Some(account) if right => Ok(account),
            Some(_) => Err(Refused::WrongSecret),
            None => Err(Refused::UnknownUser),
        }
    }

    /// Whether the password is right and that is found out at once.
    fn is_known(&self, who: &Who, user: &str, hash: &SecretHash, password: &[u8]) -> bool {
        match hash {
            SecretHash::Fast(_) => hash.matches(password),
            SecretHash::Argon2(_) => {
                self.admit(who).is_ok() && self.passwords.was_right(user, hash, password)
            }
        }
    }

    /// Checks a password of a person, or one that is wrong anyway, when its turn has come.
    async fn check_slowly(
        &self,
        from: IpAddr,
        user: &str,
        hash: SecretHash,
        password: &[u8],
    ) -> Result<bool, Refused> {
        let who = Who::new(user, from);
        self.admit(&who)?;
        let turn = self.passwords.turn(from).await.ok_or(Refused::Busy)?;
        // Those before it may have been its own.
        self.admit(&who)?;
        let lockout = self.lockout.clone();
        // A client that goes away ends neither its turn nor the count of its failures.
        let check = turn.check(hash.clone(), password, move |right| {
            let mut lockout = lockout.lock().unwrap_or_else(PoisonError::into_inner);
            match right {
                true => lockout.succeeded(&who),
                false => lockout.failed(who, Instant::now()),
            }
        });
        let right = check.await.ok_or(Refused::Busy)?;
        if right {
            self.passwords.remember(user, hash, password);
        }
        Ok(right)
    }

    fn admit(&self, who: &Who) -> Result<(), Refused> {
        match self.lockout().is_locked(who, Instant::now()) {
            true => Err(Refused::LockedOut),
            false => Ok(()),
        }
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again whenever it has changed, until the end. With one that is wrong, the accounts
    /// stay as they are.
    pub async fn watch(&self, mut shutdown: Shutdown) {
        let mut seen = self.opened;
        loop {
            tokio::select! {
                () = shutdown.ended() => return,
                () = tokio::time::sleep(USERS_CHECK) => self.look(&mut seen),
            }
        }
    }

    fn look(&self, seen: &mut Stamp) {
        let now = Stamp::of(&self.path);
        if now == *seen {
            return;
        }
        *seen = now;
        match read(&self.path) {
            Ok(accounts) => {
                tracing::info!(accounts = accounts.len(), "the MQTT accounts were read again");
                *self.accounts.write().unwrap_or_else(PoisonError::into_inner) = accounts;
                // Who has got a new password need not wait for it.
                self.lockout().clear();
                self.passwords.forget();
                self.generation.send_modify(|generation| *generation += 1);
            }
            Err(error) => {
                tracing::error!(%error, "the MQTT accounts stay as they were");
            }
        }
    }
}

fn read(path: &Path) -> Result<Accounts, ConfigError> {
    let users = Users::load(path)?;
    let accounts = users.iter().map(|(name, user)| Arc::new(Account::new(name, user)));
    Ok(accounts.map(|account| (account.name.clone(), account)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;

    use futures_util::future;
    use tempfile::TempDir;
    use vigia_kit::site::Password;
    use vigia_kit::users::{User, UserName};

    use super::*;
    use crate::limits::{FREE_FAILURES, PASSWORDS_WAITING_PER_ADDRESS, WRONG_PASSWORD_PAUSE};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
    const MARIA: &[u8] = b"correct horse";

    /// Accounts: the role `verify`, the person `maria`, and `robot`, which has a certificate only.
    struct Gate {
        dir: TempDir,
        users: Users,
        role: Password,
        identity: Identity,
    }

    fn user(secret: Option<SecretHash>) -> User {
        User { secret, publish: vec![], subscribe: vec![], messages_per_second: None }
    }

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    impl Gate {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let role = Password::random();
            let mut users = Users::default();
            users.insert(name("verify"), user(Some(SecretHash::of_random(&role))));
            users.insert(name("maria"), user(Some(SecretHash::of_password(MARIA))));
            users.insert(name("robot"), user(None));
            users.save(&dir.path().join("users.toml")).unwrap();
            let identity = Identity::open(&dir.path().join("users.toml")).unwrap();
            Self { dir, users, role, identity }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("users.toml")
        }

        async fn says(&self, from: IpAddr, claim: Claim<'_>) -> Result<String, Refused> {
            let account = self.identity.authenticate(from, claim).await;
            account.map(|account| account.name.clone())
        }

        async fn password(&self, user: &str, password: &[u8]) -> Result<String, Refused> {
            self.says(HERE, shown(Some(user), Some(password), None)).await
        }

        fn lock(&self, user: &str) {
            let (who, now) = (Who::new(user, HERE), Instant::now());
            (0..FREE_FAILURES + 40).for_each(|_| self.identity.lockout().failed(who, now));
        }

        /// Whether a failure is remembered; forgets it.
        fn forget(&self, user: &str) -> bool {
            let (who, now) = (Who::new(user, HERE), Instant::now());
            let mut lockout = self.identity.lockout();
            (0..FREE_FAILURES).for_each(|_| lockout.failed(who, now));
            let remembered = lockout.is_locked(&who, now);
            lockout.succeeded(&who);
            remembered
        }
    }

    fn shown<'a>(
        user: Option<&'a str>,
        password: Option<&'a [u8]>,
        certificate: Option<&'a str>,
    ) -> Claim<'a> {
        Claim { user, password, certificate }
    }

    #[tokio::test]
    async fn a_name_and_its_password_open_an_account_and_nothing_else_does() {
        let gate = Gate::new();
        let role = gate.role.0.as_bytes();
        assert_eq!(gate.password("verify", role).await.as_deref(), Ok("verify"));
        assert_eq!(gate.password("maria", MARIA).await.as_deref(), Ok("maria"));
        for (user, password, refused) in [
            ("verify", MARIA, Refused::WrongSecret),
            ("maria", role, Refused::WrongSecret),
            ("maria", b"".as_slice(), Refused::WrongSecret),
            ("robot", b"".as_slice(), Refused::WrongSecret),
            ("nobody", MARIA, Refused::UnknownUser),
            ("", MARIA, Refused::UnknownUser),
            ("MARIA", MARIA, Refused::UnknownUser),
        ] {
            assert_eq!(gate.password(user, password).await, Err(refused), "{user}");
            assert!(gate.forget(user), "{user}: a failure was not counted");
        }
    }

    #[tokio::test]
    async fn who_shows_nothing_is_nobody() {
        let gate = Gate::new();
        let password = Some(MARIA);
        for claim in
            [Claim::default(), shown(Some("maria"), None, None), shown(None, password, None)]
        {
            assert_eq!(gate.says(HERE, claim).await, Err(Refused::NothingShown));
        }
    }

    #[tokio::test]
    async fn a_certificate_opens_the_account_of_its_name_only() {
        let gate = Gate::new();
        let (maria, robot) = (Some("maria"), Some("robot"));
        let cases = [
            (shown(None, None, robot), Ok("robot")),
            (shown(robot, None, robot), Ok("robot")),
            (shown(maria, None, maria), Ok("maria")),
            (shown(maria, Some(MARIA), maria), Ok("maria")),
            (shown(None, Some(MARIA), maria), Ok("maria")),
            (shown(maria, Some(MARIA), robot), Err(Refused::CertificateMismatch)),
            (shown(Some(""), None, robot), Err(Refused::CertificateMismatch)),
            (shown(maria, Some(b"wrong"), maria), Err(Refused::WrongSecret)),
            (shown(robot, Some(b""), robot), Err(Refused::WrongSecret)),
            (shown(None, None, Some("nobody")), Err(Refused::UnknownUser)),
        ];
        for (number, (claim, expected)) in cases.into_iter().enumerate() {
            let found = gate.says(HERE, claim).await;
            assert_eq!(found.as_deref().map_err(|refused| *refused), expected, "case {number}");
        }
    }

    #[tokio::test]
    async fn a_person_is_locked_out_at_one_address_and_a_role_never() {
        let gate = Gate::new();
        for user in ["maria", "nobody", "verify", "robot"] {
            gate.lock(user);
            let refused = gate.password(user, b"guess").await;
            assert_eq!(refused, Err(Refused::LockedOut), "{user}");
        }
        assert_eq!(gate.password("maria", MARIA).await, Err(Refused::LockedOut));
        let there = gate.says(THERE, shown(Some("maria"), Some(MARIA), None)).await;
        assert_eq!(there.as_deref(), Ok("maria"));
        let role = gate.role.0.as_bytes();
        assert_eq!(gate.password("verify", role).await.as_deref(), Ok("verify"));
        assert!(!gate.forget("verify"), "success did not clear");
        let certificate = gate.says(HERE, shown(None, None, Some("robot"))).await;
        assert_eq!(certificate.as_deref(), Ok("robot"));
    }

    #[tokio::test]
    async fn people_wait_for_one_another_and_not_too_many_do() {
        let gate = Gate::new();
        let turn = gate.identity.passwords.turn(THERE).await.unwrap();
        let mut others: Vec<_> = (0..PASSWORDS_WAITING_PER_ADDRESS)
            .map(|_| Box::pin(gate.password("maria", MARIA)))
            .collect();
        for other in &mut others {
            assert_eq!(future::poll_immediate(other).await, None);
        }
        assert_eq!(gate.password("maria", MARIA).await, Err(Refused::Busy));
        let role = gate.role.0.as_bytes();
        assert_eq!(gate.password("verify", role).await.as_deref(), Ok("verify"));
        drop(turn);
        for found in future::join_all(others).await {
            assert_eq!(found.as_deref(), Ok("maria"));
        }
    }

    #[tokio::test]
    async fn a_password_that_was_right_does_not_wait_again() {
        let mut gate = Gate::new();
        assert_eq!(gate.password("maria", MARIA).await.as_deref(), Ok("maria"));
        let turn = gate.identity.passwords.turn(THERE).await.unwrap();
        assert_eq!(gate.password("maria", MARIA).await.as_deref(), Ok("maria"));
        let wrong = Box::pin(gate.password("maria", b"wrong"));
        assert!(future::poll_immediate(wrong).await.is_none(), "a guess has to wait");
        gate.lock("maria");
        assert_eq!(gate.password("maria", MARIA).await, Err(Refused::LockedOut));
        drop(turn);

        // Another hash, even of the same password, is not what it was checked against.
        gate.users.get_mut("maria").unwrap().secret = Some(SecretHash::of_password(MARIA));
        gate.users.save(&gate.path()).unwrap();
        let mut seen = gate.identity.opened;
        gate.identity.look(&mut seen);
        let _turn = gate.identity.passwords.turn(THERE).await.unwrap();
        let again = Box::pin(gate.password("maria", MARIA));
        assert!(future::poll_immediate(again).await.is_none(), "it is checked anew");
    }

    #[tokio::test]
    async fn after_a_wrong_password_none_is_checked_for_a_while() {
        let gate = Gate::new();
        assert_eq!(gate.password("maria", b"wrong").await, Err(Refused::WrongSecret));
        let begun = Instant::now();
        assert_eq!(gate.password("maria", MARIA).await.as_deref(), Ok("maria"));
        assert!(begun.elapsed() >= WRONG_PASSWORD_PAUSE);
    }

    #[tokio::test]
    async fn guesses_that_wait_are_not_checked_once_their_user_is_locked_out() {
        let gate = Gate::new();
        let turn = gate.identity.passwords.turn(THERE).await.unwrap();
        let guesses = (0..PASSWORDS_WAITING_PER_ADDRESS).map(|_| gate.password("maria", b"guess"));
        let lock = async {
            gate.lock("maria");
            drop(turn);
        };
        // The guesses come first, to their wait; then the lock.
        let (refused, ()) = future::join(future::join_all(guesses), lock).await;
        assert!(refused.iter().all(|found| *found == Err(Refused::LockedOut)), "{refused:?}");
    }

    #[tokio::test]
    async fn accounts_change_with_the_file_and_stay_when_it_is_wrong() {
        let mut gate = Gate::new();
        let mut seen = gate.identity.opened;
        let mut generation = gate.identity.generation();
        let mut look = |gate: &Gate| {
            gate.identity.look(&mut seen);
            generation.has_changed().unwrap().then(|| *generation.borrow_and_update())
        };
        assert_eq!(look(&gate), None);
        let before = gate.identity.account("maria").unwrap();

        gate.lock("maria");
        gate.users.remove("robot");
        gate.users.get_mut("maria").unwrap().secret = Some(SecretHash::of_password(b"another"));
        gate.users.save(&gate.path()).unwrap();
        assert_eq!(look(&gate), Some(1));
        assert_eq!(look(&gate), None);
        assert!(gate.identity.account("robot").is_none());
        assert!(!gate.identity.account("maria").unwrap().has_secret_of(&before));
        assert!(before.has_secret_of(&before));
        assert_eq!(gate.password("maria", b"another").await.as_deref(), Ok("maria"));
        assert_eq!(gate.password("maria", MARIA).await, Err(Refused::WrongSecret));

        fs::write(gate.path(), "[maria]\nsecret = \"no hash\"\n").unwrap();
        assert_eq!(look(&gate), None);
        fs::remove_file(gate.path()).unwrap();
        assert_eq!(look(&gate), None);
        assert_eq!(gate.password("maria", b"another").await.as_deref(), Ok("maria"));

        gate.users.save(&gate.path()).unwrap();
        assert_eq!(look(&gate), Some(2));
    }

    #[tokio::test]
    async fn the_watch_ends_with_the_process() {
        let gate = Gate::new();
        let (switch, shutdown) = Shutdown::new();
        switch.end();
        gate.identity.watch(shutdown).await;
    }

    #[test]
    fn clients_are_told_one_thing_and_the_audit_log_another() {
        let all = [
            Refused::UnknownUser,
            Refused::WrongSecret,
            Refused::LockedOut,
            Refused::CertificateMismatch,
            Refused::NothingShown,
            Refused::Busy,
        ];
        assert!(all.iter().all(|refused| refused.to_string() == "not authorized"));
        let mut reasons = all.map(Refused::reason).to_vec();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), all.len());
    }

    #[test]
    fn a_wrong_file_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let error = Identity::open(&dir.path().join("users.toml")).unwrap_err();
        assert!(error.to_string().contains("users.toml"), "{error}");
    }
}
