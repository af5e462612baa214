//! Somebody who knows the passwords of MQTT accounts, but no key of an arrow.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::timeout;
use vigia_kit::bus::{BusError, BusLogin, Consumer, Producer};
use vigia_kit::site::{Password, Role, Site};
use vigia_protocol::keys::Secret;
use vigia_protocol::stage::{SEAL_BYTES, StageKey};
use vigia_protocol::topic::Arrow;

use super::Scene;
use crate::wait;

/// What its connections are called, after their account.
const PURPOSE: &str = "insider";
/// The user for people, as `vigia init` makes it.
const INSPECTOR: &str = "inspector";
/// Messages recorded of each arrow.
const RECORDED: usize = 8;
/// A journal speaks every second; and the broker takes what is published.
const HEARD_WITHIN: Duration = Duration::from_secs(20);
/// What is refused is told this soon; complaints are spaced.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// Genuine messages, by arrow.
pub type Recorded = BTreeMap<Arrow, Vec<Vec<u8>>>;

/// Whose account may write the arrow.
const fn writer(arrow: Arrow) -> Role {
    match arrow {
        Arrow::Raw | Arrow::Journal => Role::Broker,
        Arrow::Verified => Role::Verify,
        Arrow::Text => Role::Transform,
        Arrow::Stored => Role::Store,
    }
}

/// The accounts that may read the arrow.
const fn readers(arrow: Arrow) -> &'static [&'static str] {
    match arrow {
        Arrow::Raw => &["verify"],
        Arrow::Verified => &["transform"],
        Arrow::Text => &["store", "alert", "modbus", INSPECTOR],
        Arrow::Stored => &["broker"],
        Arrow::Journal => &["store"],
    }
}

/// What the log says of a message whose seal does not fit.
const fn complaint(arrow: Arrow) -> &'static str {
    match arrow {
        Arrow::Raw => "not the broker's message; dropped",
        Arrow::Verified => "not verify's message; dropped",
        Arrow::Stored => "not the store's report; dropped",
        Arrow::Text | Arrow::Journal => STORE_COMPLAINT,
    }
}

/// The store says it only now and then, with their number so far.
const STORE_COMPLAINT: &str = "dropped a message that is not from its arrow's writer";

impl Scene {
    fn accounts() -> impl Iterator<Item = &'static str> {
        Role::ALL.into_iter().map(Role::name).chain([INSPECTOR])
    }

    fn login(&self, user: &str) -> anyhow::Result<BusLogin> {
        let site = Site::open(self.site.path())?;
        let password = match Role::ALL.into_iter().find(|role| role.name() == user) {
            Some(role) => site.secrets(role)?.password,
            None => {
                let file = self.site.file(&format!("keys/{user}/password"));
                let text =
                    fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
                Password(text.trim().to_owned())
            }
        };
        let address = site.config.bus_address();
        Ok(BusLogin { address, user: user.to_owned(), password, tls: None, status: None })
    }

    /// Listens to every arrow with the account of a reader.
    ///
    /// # Errors
    /// If too little comes.
    pub async fn records_every_arrow(&mut self) -> anyhow::Result<Recorded> {
        let mut recorded = Recorded::new();
        for arrow in Arrow::ALL {
            let login = self.login(readers(arrow)[0])?;
            let mut consumer = Consumer::look(&login, PURPOSE, &[arrow.filter()]).await?;
            let messages = recorded.entry(arrow).or_default();
            while messages.len() < RECORDED {
                let next = timeout(HEARD_WITHIN, consumer.receive()).await;
                let next = next.with_context(|| format!("nothing comes on {}", arrow.name()))??;
                messages.push(next.payload().to_vec());
                consumer.acknowledge(&next).await?;
            }
        }
        self.say(&format!("{RECORDED} messages of each arrow are recorded"));
        Ok(recorded)
    }

    /// Every account asks for every arrow that is not its own to read.
    ///
    /// # Errors
    /// If one is granted it.
    pub async fn hears_nothing_of_others(&mut self) -> anyhow::Result<()> {
        let before = self.refused("subscribe").await?;
        let mut asked = 0;
        for user in Self::accounts() {
            let login = self.login(user)?;
            for arrow in Arrow::ALL.into_iter().filter(|arrow| !readers(*arrow).contains(&user)) {
                asked += 1;
                match Consumer::look(&login, PURPOSE, &[arrow.filter()]).await {
                    Ok(_) => bail!("the account {user} may read {}", arrow.name()),
                    Err(BusError::Unreachable(_) | BusError::Gone) => {}
                    Err(other) => return Err(other.into()),
                }
            }
        }
        let refused = self.refused("subscribe").await? - before;
        let words =
            format!("{asked} subscriptions to others' arrows: the gate counts {refused} refused");
        ensure!(refused >= asked, "{words}");
        self.saw(words);
        Ok(())
    }

    /// Every account publishes genuine messages on every arrow that is not its own to write.
    ///
    /// # Errors
    /// If the gate does not refuse each.
    pub async fn publishes_without_permission(
        &mut self,
        recorded: &Recorded,
    ) -> anyhow::Result<()> {
        let before = self.refused("publish").await?;
        let mut published = 0;
        for user in Self::accounts() {
            for (arrow, messages) in recorded {
                if writer(*arrow).name() != user {
                    published += messages.len() as u64;
                    self.publish(user, *arrow, messages).await?;
                }
            }
        }
        let refused = self.refused("publish").await? - before;
        let words =
            format!("{published} messages on others' arrows: the gate counts {refused} refused");
        ensure!(refused >= published, "{words}");
        self.saw(words);
        Ok(())
    }

    /// With the account of each arrow's writer: genuine messages with a byte changed, sealed with another key,
    /// and those of other arrows. Returns how many of them the store has to drop.
    ///
    /// # Errors
    /// If the arrow's reader does not say that it drops them.
    pub async fn forges_with_permission(&mut self, recorded: &Recorded) -> anyhow::Result<u64> {
        let mut for_store = 0;
        for arrow in Arrow::ALL {
            let forged = self.forged(arrow, recorded)?;
            let words = complaint(arrow);
            let before = self.system.said(words);
            self.publish(writer(arrow).name(), arrow, &forged).await?;
            if words == STORE_COMPLAINT {
                for_store += forged.len() as u64;
                continue;
            }
            let what = || format!("the log says {} times more: {words}", forged.len());
            let said = wait::until(TOLD_WITHIN, what, async || {
                self.listen()?;
                Ok(Some(self.system.said(words) - before).filter(|said| *said >= forged.len()))
            })
            .await?;
            let name = arrow.name();
            self.saw(format!(
                "{} forged messages on {name}: the log says {said} times: {words}",
                forged.len()
            ));
        }
        Ok(for_store)
    }

    fn forged(&mut self, arrow: Arrow, recorded: &Recorded) -> anyhow::Result<Vec<Vec<u8>>> {
        let wrong = StageKey::new(Secret::new([0x5a; 32]));
        let topic = arrow.topic(&self.site.config()?.node);
        let mut forged = Vec::new();
        for message in &recorded[&arrow] {
            let unsealed = &message[..message.len() - SEAL_BYTES];
            let mut changed = message.clone();
            changed[self.random.below(unsealed.len())] ^= 1;
            forged.extend([changed, wrong.seal(&topic, unsealed.to_vec())]);
        }
        let others = recorded.iter().filter(|(other, _)| **other != arrow);
        forged.extend(others.flat_map(|(_, messages)| messages).cloned());
        Ok(forged)
    }

    /// Waits until the store says that it has dropped so many messages; to be asked, it is sent more.
    ///
    /// # Errors
    /// If it does not.
    pub async fn store_drops(&mut self, forged: u64) -> anyhow::Result<()> {
        let junk = [vec![0x5a; 2 * SEAL_BYTES]];
        let what = || format!("the store says that it has dropped {forged} messages");
        let dropped = wait::until(TOLD_WITHIN, what, async || {
            self.publish(writer(Arrow::Text).name(), Arrow::Text, &junk).await?;
            self.listen()?;
            let told = self.system.newest_number(STORE_COMPLAINT, "dropped=");
            Ok(told.filter(|dropped| *dropped >= forged))
        })
        .await?;
        self.saw(format!(
            "{forged} forged messages on text and journal: the store says that it dropped {dropped}"
        ));
        Ok(())
    }

    /// The same with genuine messages once more, which nobody can know for copies but by their positions.
    ///
    /// # Errors
    /// If they cannot be published.
    pub async fn plays_messages_again(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        for (arrow, messages) in recorded {
            self.publish(writer(*arrow).name(), *arrow, messages).await?;
        }
        self.saw(format!("{RECORDED} messages of every arrow played again"));
        Ok(())
    }

    /// Publishes, and waits until the gate has answered for each.
    async fn publish(
        &mut self,
        user: &str,
        arrow: Arrow,
        messages: &[Vec<u8>],
    ) -> anyhow::Result<()> {
        let topic = arrow.topic(&self.site.config()?.node);
        let mut producer = Producer::connect(&self.login(user)?, PURPOSE).await?;
        for message in messages {
            producer.publish(&topic, message.clone()).await?;
        }
        while producer.settled() < producer.sent() {
            let settling = timeout(HEARD_WITHIN, producer.settling()).await;
            settling.with_context(|| format!("{user} gets no answer on {}", arrow.name()))??;
        }
        Ok(())
    }

    /// How many messages or subscriptions the gate says it has refused.
    async fn refused(&self, what: &str) -> anyhow::Result<u64> {
        let address = self.site.addresses().context("the site has no addresses")?.metrics;
        let page = self.api.text(&format!("http://{address}/metrics")).await?;
        let family = format!("vigia_gate_{what}_refused_total{{");
        let lines = page.lines().filter(|line| line.starts_with(&family));
        let count =
            |line: &str| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok());
        lines.map(|line| count(line).with_context(|| format!("no number in {line:?}"))).sum()
    }
}
