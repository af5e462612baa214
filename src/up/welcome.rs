//! Where to look, once everything listens.

use std::env;
use std::io;

use vigia_kit::site::{Role, Site};

use super::demo::Demo;
use crate::addresses::{Addresses, Bound};
use crate::init::{INSPECTOR, inspector_password};
use crate::table;

/// Prints it; on standard error if standard output is for JSON.
///
/// # Errors
/// What the file system says.
pub fn print(site: &Site, bound: &Bound, demo: Option<&Demo>, json: bool) -> io::Result<()> {
    let Bound { sensor, mqtt, api } = bound;
    let url = site.config.store.url(*api);
    let dir = site.dir().display();
    let vigia = program();
    let mut text = format!(
        "Vigia is up.

  live page   {url}/
  Swagger UI  {url}/docs
  ledger      {vigia} ledger --site {dir}
  sensors     {sensor}
  MQTT        {mqtt}
"
    );
    let password = inspector_password(site);
    // Not there when the user was removed or has another password.
    if password.exists() {
        text.push_str(&format!(
            "              mosquitto_sub -h {host} -p {port} -u {INSPECTOR} -P \"$(cat {password})\" -t 'vigia/v1/sensor/+' -q 1\n",
            host = mqtt.ip(),
            port = mqtt.port(),
            password = password.display(),
        ));
    }
    if site.has(Role::Modbus) {
        let modbus = Addresses::read(site).modbus.unwrap_or(site.config.modbus.listen);
        text.push_str(&format!(
            "  Modbus      {modbus}, for SCADA: {vigia} modbus map --site {dir}\n"
        ));
    }
    if let Some(demo) = demo {
        let Demo { count, rate, devices, .. } = demo;
        text.push_str(&format!(
            "  demo        {count} simulated sensors, {rate} readings/s each{}\n",
            if *devices { ", and 2 Modbus devices" } else { "" }
        ));
    }
    text.push_str("\nCtrl-C stops everything.\n");
    if json {
        eprint!("{text}");
        return Ok(());
    }
    table::print(&text)
}

/// What people type to run this program again: as they did, if that was a path.
fn program() -> String {
    env::args().next().filter(|typed| typed.contains('/')).unwrap_or_else(|| "vigia".to_owned())
}
