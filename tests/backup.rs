//! `vigia store backup` and `restore`: what they make, and what they refuse.

#[allow(dead_code)]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use support::{TestSite, command, eventually, mode};
use vigia_protocol::time::Micros;
use vigia_store::store::{Store, Unsynced};

/// A store that runs by itself, without a broker.
struct Running(Child);

impl Running {
    fn of(site: &TestSite) -> Self {
        let mut command = command(&["store", "--site", site.arg()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the store takes requests", || {
            site.path("data/store/backup.sock").exists().then_some(())
        });
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn stored_in(site: &TestSite) -> u64 {
    open(&site.path("data/store/store.redb")).unwrap().instance()
}

fn open(path: &Path) -> anyhow::Result<Store> {
    Store::open(path, Unsynced::Kernel, None, Micros(0))
}

/// A site whose store has been opened once.
fn site_with_store() -> TestSite {
    let site = TestSite::new();
    site.vigia(&["user", "list"]).succeeded();
    fs::create_dir_all(site.path("data/store")).unwrap();
    stored_in(&site);
    site
}

fn path(site: &TestSite, name: &str) -> String {
    site.path(name).to_str().unwrap().to_owned()
}

#[test]
fn a_running_store_is_backed_up_privately_and_nothing_is_overwritten() {
    let site = TestSite::new();
    let file = path(&site, "backup");
    let refused = site.vigia(&["store", "backup", &file]);
    assert!(refused.refused_with(64).contains("no store to back up"), "{refused:?}");
    let running = Running::of(&site);
    let made = site.vigia(&["store", "backup", &file]);
    assert!(made.succeeded().contains("0 readings"), "{made:?}");
    assert_eq!(mode(Path::new(&file)), 0o600);
    let before = fs::read(&file).unwrap();
    let refused = site.vigia(&["store", "backup", &file]);
    assert!(refused.refused_with(64).contains("overwrites nothing"), "{refused:?}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let nowhere = site.vigia(&["store", "backup", &path(&site, "not/there")]);
    assert!(nowhere.refused_with(69).contains("no backup was made"), "{nowhere:?}");
    let refused = site.vigia(&["store", "restore", &file]);
    assert!(refused.refused_with(64).contains("runs, expected"), "{refused:?}");
    drop(running);
    assert!(site.vigia(&["audit", "show"]).succeeded().contains("store-backed-up"));
    let left = fs::read_dir(site.path("")).unwrap().flatten();
    let partial = left.filter(|entry| entry.file_name().to_string_lossy().contains("partial"));
    assert_eq!(partial.count(), 0);
}

#[test]
fn a_stopped_store_is_backed_up_and_restored_as_another_and_the_old_file_is_kept() {
    let site = site_with_store();
    let file = path(&site, "backup");
    site.vigia(&["store", "backup", &file]).succeeded();
    let old = stored_in(&site);
    let restored = site.vigia(&["store", "restore", &file]);
    let new = stored_in(&site);
    assert_ne!(new, old);
    assert!(restored.succeeded().contains(&format!("{new:016x}")), "{restored:?}");
    let aside = site.path(&format!("data/store/store.before-{new:016x}.redb"));
    assert_eq!(open(&aside).unwrap().instance(), old);
    assert_eq!(mode(&site.path("data/store/store.redb")), 0o600);
    assert!(site.vigia(&["audit", "show"]).succeeded().contains("store-restored"));
    // Once more: the backup is still one.
    site.vigia(&["store", "restore", &file]).succeeded();
}

#[test]
fn what_is_no_backup_of_this_node_is_not_restored() {
    let site = site_with_store();
    let file = path(&site, "backup");
    let before = stored_in(&site);
    fs::write(&file, "a text").unwrap();
    let refused = site.vigia(&["store", "restore", &file]);
    assert!(refused.refused_with(64).contains("cannot be read as a backup"), "{refused:?}");
    let store = path(&site, "data/store/store.redb");
    let refused = site.vigia(&["store", "restore", &store]);
    assert!(refused.refused_with(64).contains("is not a backup"), "{refused:?}");
    let other = TestSite::with(&["--node", "other"]);
    fs::remove_file(&file).unwrap();
    site.vigia(&["store", "backup", &file]).succeeded();
    let refused = other.vigia(&["store", "restore", &file]);
    assert!(refused.refused_with(64).contains("expected one of other"), "{refused:?}");
    assert_eq!(stored_in(&site), before);
    assert!(!site.path("data/store/store.restored").exists());
}

#[test]
fn a_backup_is_not_served_as_it_is() {
    let site = site_with_store();
    let file = path(&site, "backup");
    site.vigia(&["store", "backup", &file]).succeeded();
    let error = open(Path::new(&file)).unwrap_err().to_string();
    assert!(error.contains("vigia store restore"), "{error}");
}

#[test]
fn a_store_is_adopted_only_where_there_is_a_journal() {
    let site = TestSite::new();
    let refused = site.vigia(&["broker", "adopt-store", "0123456789abcdef"]);
    assert!(refused.refused_with(64).contains("no journal yet"), "{refused:?}");
    assert_eq!(site.vigia(&["broker", "adopt-store", "x"]).code, 64);
}
