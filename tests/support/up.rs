//! A running site.

use std::fs;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{TestSite, command, eventually};

/// `vigia up`; killed when it is dropped.
pub struct Up<'a> {
    site: &'a TestSite,
    pub process: Child,
}

impl<'a> Up<'a> {
    pub fn start(site: &'a TestSite) -> Self {
        let mut command = command(&["up", "--site", site.arg()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { site, process }
    }

    /// Who runs, by `run/up.json`.
    pub fn state(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.site.path("run/up.json")).ok()?).ok()
    }

    /// The process of a role, once it has one other than `known`.
    pub fn pid(&self, role: &str, known: Option<i32>) -> i32 {
        eventually(&format!("a process of {role}"), || {
            let pid = self.state()?["roles"][role]["pid"].as_i64()?;
            i32::try_from(pid).ok().filter(|pid| Some(*pid) != known)
        })
    }

    pub fn all_pids(&self) -> Vec<i32> {
        ["broker", "verify", "transform", "store", "alert", "modbus"]
            .map(|role| self.pid(role, None))
            .to_vec()
    }

    /// Sends it to the supervisor; its exit code.
    pub fn signal(&mut self, signal: Signal) -> Option<i32> {
        send(self.process.id().cast_signed(), signal);
        self.process.wait().unwrap().code()
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}
