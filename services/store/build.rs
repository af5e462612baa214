//! Finds the page's chart library: the Apache ECharts that the crate `charming` carries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let manifest = crate_manifest("charming");
    let assets = manifest.with_file_name("src").join("asset");
    let library = fs::read_dir(&assets)
        .unwrap_or_else(|error| panic!("{}: {error}", assets.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| is_library(path))
        .unwrap_or_else(|| panic!("{} has no echarts-*.min.js", assets.display()));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("echarts.js");
    fs::copy(&library, out).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("echarts-") && name.ends_with(".min.js")
}

/// Where cargo has unpacked a crate of this workspace's lock file.
fn crate_manifest(name: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").expect("cargo sets it");
    let target = env::var("TARGET").expect("cargo sets it");
    let metadata = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &target])
        .output()
        .expect("cargo runs");
    let words = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "cargo metadata: {words}");
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let found = packages.iter().find(|package| package["name"] == name);
    let path = found.and_then(|package| package["manifest_path"].as_str());
    path.unwrap_or_else(|| panic!("the lock file has no {name}")).into()
}
