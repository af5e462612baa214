//! What is in `grafana/`: dashboards, and the queries in them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file below `grafana/`.
pub fn path(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(part)
}

/// All dashboards, by their file's name.
pub fn dashboards() -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(path("dashboards")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&fs::read(file).unwrap()).unwrap())
    };
    files.into_iter().map(read).collect()
}

/// The list at this place, which must be one.
#[track_caller]
pub fn list<'a>(value: &'a Value, place: &str) -> &'a [Value] {
    value.pointer(place).and_then(Value::as_array).unwrap_or_else(|| panic!("{place}: {value}"))
}

/// The text at this place, which must be one.
#[track_caller]
pub fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{place}: {value}"))
}

/// A query of a dashboard.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Dashboard and panel.
    pub place: String,
    /// PromQL, with Grafana's variables in it.
    pub expr: String,
    /// Whether it is about one moment.
    pub instant: bool,
    /// Whether there need not be anything to see.
    pub may_be_empty: bool,
}

/// All queries of panels and annotations.
pub fn queries() -> Vec<Asked> {
    let mut all = Vec::new();
    for (file, board) in dashboards() {
        for panel in list(&board, "/panels") {
            for target in list(panel, "/targets") {
                all.push(Asked {
                    place: format!("{file}, {}", text(panel, "/title")),
                    expr: text(target, "/expr").to_owned(),
                    instant: target["instant"] == true,
                    may_be_empty: false,
                });
            }
        }
        for annotation in list(&board, "/annotations/list") {
            if annotation["builtIn"] != 1 {
                all.push(Asked {
                    place: format!("{file}, annotation {}", text(annotation, "/name")),
                    expr: text(annotation, "/expr").to_owned(),
                    instant: false,
                    // Of something new that is missing, which on most days there is not.
                    may_be_empty: text(annotation, "/expr").starts_with("delta("),
                });
            }
        }
    }
    all
}
