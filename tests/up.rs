//! `vigia up`: what dies is started again, and nothing outlives the supervisor.

#[allow(dead_code)]
mod support;

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;
use support::up::{Up, send};
use support::{TestSite, eventually};

fn is_role(pid: i32) -> bool {
    // A zombie that nobody has reaped yet has an empty command line.
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.windows(12).any(|w| w == b"--supervised"))
}

#[test]
fn a_role_that_is_killed_is_started_again_and_the_others_live_on() {
    let site = TestSite::new();
    let mut up = Up::start(&site);
    let before = up.all_pids();
    let verify = up.pid("verify", None);
    send(verify, Signal::KILL);
    let again = up.pid("verify", Some(verify));
    let after: Vec<i32> =
        up.all_pids().into_iter().map(|pid| if pid == again { verify } else { pid }).collect();
    assert_eq!(after, before);
    assert_eq!(up.state().unwrap()["roles"]["verify"]["restarts"], 1);

    let all = up.all_pids();
    assert_eq!(up.signal(Signal::TERM), Some(0));
    assert!(!all.into_iter().any(is_role));
    assert!(up.state().is_none(), "up.json must not name processes that are gone");
}

#[test]
fn every_role_says_whether_it_is_well_and_so_does_the_broker_of_one_that_is_not() {
    let site = TestSite::with(&["--tls"]);
    let up = Up::start(&site);
    let is_well = |role: &str| site.vigia(&["health", role]).code == 0;
    for role in ["broker", "verify", "transform", "store", "alert", "modbus"] {
        eventually(&format!("{role} is well"), || is_well(role).then_some(()));
    }
    // Asking has taken no connection away from a role.
    assert!(["verify", "transform", "alert", "modbus"].into_iter().all(is_well));
    let verify = up.pid("verify", None);
    send(verify, Signal::STOP);
    eventually("verify is silent", || (!is_well("verify")).then_some(()));
    send(verify, Signal::CONT);
    eventually("verify is well again", || is_well("verify").then_some(()));
}

#[test]
fn the_second_supervisor_of_a_site_is_refused() {
    let site = TestSite::new();
    let up = Up::start(&site);
    up.all_pids();
    let ended = site.vigia(&["up"]);
    assert!(ended.refused_with(64).contains("another 'vigia up'"), "{ended:?}");
}

#[test]
fn roles_end_with_their_supervisor_and_the_next_one_waits_for_that() {
    let site = TestSite::new();
    let mut first = Up::start(&site);
    let orphans = first.all_pids();
    assert_eq!(first.signal(Signal::KILL), None);
    let mut second = Up::start(&site);
    eventually("the orphans' end", || (!orphans.iter().any(|&pid| is_role(pid))).then_some(()));
    eventually("other processes", || {
        let state = second.state().filter(|state| state["up"] == second.process.id())?;
        (state["roles"].as_object()?.len() == 6).then_some(())
    });
    assert_eq!(second.signal(Signal::INT), Some(0));
}

#[test]
fn a_port_in_use_is_a_clear_refusal() {
    let site = TestSite::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let good = fs::read_to_string(site.path("vigia.toml")).unwrap();
    for key in ["sensors", "mqtt", "api"] {
        let begin = format!("{key} = ");
        let line = good.lines().find(|line| line.starts_with(&begin)).unwrap();
        let taken = good.replace(line, &format!("{begin}\"{address}\""));
        fs::write(site.path("vigia.toml"), taken).unwrap();
        let ended = site.vigia(&["up"]);
        assert_eq!(ended.code, 69, "{key}: {ended:?}");
        let sentence = ended.err.lines().last().unwrap();
        assert!(
            sentence.starts_with("vigia: ") && sentence.contains(&address),
            "{key}: {sentence}"
        );
    }
}

#[test]
fn without_the_sensors_program_a_demo_says_how_to_build_it() {
    let site = TestSite::new();
    let ended = site.vigia(&["up", "--demo", "1", "--sensor-binary", "/nowhere/vigia-sensor"]);
    let sentence = ended.refused_with(69);
    assert!(sentence.contains("/nowhere/vigia-sensor") && sentence.contains("make build"));
}
