//! What is done to Modbus devices.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use vigia_kit::site::Role;

use super::Scene;
use super::faults::REPLACED_WITHIN;
use crate::plant::{Plant, now};
use crate::polled::Counted;
use crate::wait;

/// After a fault a device is left alone for as long as that lasted, at most, and its readings travel.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// What the role still holds is delivered so soon.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);

impl Scene {
    fn plant(&mut self) -> anyhow::Result<&mut Plant> {
        self.plant.as_mut().context("the drill's settings name no plant")
    }

    /// From now on the device misbehaves like this, as `vigia modbus simulate` names it.
    ///
    /// # Errors
    /// If it cannot be told.
    pub async fn device_does(&mut self, name: &str, fault: &str) -> anyhow::Result<()> {
        self.plant()?.order(name, fault).await?;
        self.say(&format!("Modbus device {name}: {fault}"));
        Ok(())
    }

    /// The device's fault is over. `answers_again` waits until that is seen.
    ///
    /// # Errors
    /// If it cannot be told.
    pub async fn device_is_mended(&mut self, name: &str) -> anyhow::Result<()> {
        self.device_does(name, "none").await
    }

    /// Waits until a good reading is stored that the device gave after its fault.
    ///
    /// # Errors
    /// If there is none.
    pub async fn answers_again(&mut self, name: &str) -> anyhow::Result<()> {
        let (sensor, mended) = self.plant()?.last_fault(name)?;
        let what = || format!("Modbus device {name} gives good readings again");
        let good = wait::until(ANSWERS_WITHIN, what, async || {
            self.listen()?;
            let newest = self.api.newest_polled(sensor).await.ok();
            Ok(newest.filter(|newest| newest.trouble.is_none() && newest.time > mended))
        });
        let after = (good.await?.time - mended) as f64 / 1e6;
        self.say(&format!("Modbus device {name}: good again {after:.1} s after its fault"));
        Ok(())
    }

    /// Ends the polling: the modbus role stops in order and starts again without a map. What it has taken, it delivers.
    ///
    /// # Errors
    /// If it does not.
    pub(super) async fn plant_leaves(&mut self) -> anyhow::Result<()> {
        let address = self.site.addresses().and_then(|addresses| addresses.modbus_metrics);
        let page = format!("http://{}/metrics", address.context("modbus has no page of numbers")?);
        // Asked after the answer came: what it counts was taken before.
        let text = self.api.text(&page).await?;
        let counted = Counted {
            asked: now(),
            durable: numbers(&text, "vigia_modbus_spooled_total"),
            left_out: numbers(&text, "vigia_modbus_left_out_total").values().sum(),
        };
        let Self { plant, site, .. } = self;
        plant.as_mut().context("the drill has no plant")?.leaves(site, counted)?;
        let old = self.system.role(Role::Modbus)?;
        old.signal(Signal::TERM)?;
        let what = || "modbus runs again, without a map".to_owned();
        wait::until(REPLACED_WITHIN, what, async || Ok(self.system.replacement(Role::Modbus, old)))
            .await?;
        let what = || "modbus has delivered what it held".to_owned();
        wait::until(DELIVERED_WITHIN, what, async || {
            let text = self.api.text(&page).await.unwrap_or_default();
            // Everything is counted or nothing is: a page without the server's numbers is none.
            let is_page = text.contains("vigia_modbus_server_requests_total");
            let held: u64 = numbers(&text, "vigia_modbus_held").values().sum();
            Ok((is_page && held == 0).then_some(()))
        })
        .await?;
        self.say("Modbus devices are not polled any more, and everything taken is delivered");
        Ok(())
    }
}

/// A metric of every device, by their names.
fn numbers(page: &str, metric: &str) -> BTreeMap<String, u64> {
    let number = |line: &str| {
        let rest = line.strip_prefix(metric)?.strip_prefix("{device=\"")?;
        let (device, number) = rest.split_once("\"} ")?;
        Some((device.to_owned(), number.parse().ok()?))
    };
    page.lines().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_read_for_each_device_and_no_other_metric() {
        let page = "# TYPE vigia_modbus_held gauge\nvigia_modbus_held{device=\"pump\"} 7\n\
                    vigia_modbus_held_bytes{device=\"pump\"} 9\nvigia_modbus_held{device=\"sensor 21\"} 0\n";
        let expected = [("pump".to_owned(), 7), ("sensor 21".to_owned(), 0)];
        assert_eq!(numbers(page, "vigia_modbus_held"), expected.into());
    }
}
